"""Layout of model inputs: named ranges of the fused embedding table, and columns of a batch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.schema import Side


@dataclass(frozen=True)
class TableRange:
    """One feature's rows [start, start + size) of the fused embedding table.

    Row `start` is padding (a missing value; its vector stays zero), row `start + 1` is "unseen".
    """

    name: str
    start: int
    size: int
    spare: int = 0
    """The last rows, which are kept free for ids that come after the fit."""


@dataclass(frozen=True)
class IdColumn:
    """Columns [first, first + width) of the id matrix: one feature, pooled where width > 1."""

    name: str
    side: Side
    table: str
    first: int
    width: int = 1
    pooling: str = "mean"
    """As of a `VarLenSparseFeat`."""
    ragged: bool = False
    """True for a VarLenSparseFeat, even of width 1."""


@dataclass(frozen=True)
class DenseColumn:
    """Columns [first, first + width) of the dense matrix."""

    name: str
    side: Side
    first: int
    width: int = 1
    moving: bool = False
    """The value changes with time, as an item's counts do, so that it cannot be computed once and
    kept with a version."""


@dataclass(frozen=True)
class Layout:
    """The shape of a batch: `ids` int32 (B, W) fused-table rows, `dense` float32 (B, D)."""

    tables: tuple[TableRange, ...]
    ids: tuple[IdColumn, ...]
    dense: tuple[DenseColumn, ...]

    @property
    def n_rows(self) -> int:
        """Number of rows of the fused table."""
        return max((t.start + t.size for t in self.tables), default=0)

    @property
    def id_width(self) -> int:
        """W, the number of id columns."""
        return max((c.first + c.width for c in self.ids), default=0)

    @property
    def dense_width(self) -> int:
        """D, the number of dense columns."""
        return max((c.first + c.width for c in self.dense), default=0)

    @cached_property
    def table(self) -> dict[str, TableRange]:
        """The tables by name."""
        return {t.name: t for t in self.tables}

    def grown_rows(self, former: Layout) -> NDArray[np.int64] | None:
        """(former.n_rows,) the row here of each row of the fused table of a former layout, whose
        tables may have been smaller; None where the layouts differ in anything else."""
        same = former.ids == self.ids and former.dense == self.dense
        if not same or [t.name for t in former.tables] != [t.name for t in self.tables]:
            return None
        if any(old.size > new.size for old, new in zip(former.tables, self.tables, strict=True)):
            return None
        rows = np.empty(former.n_rows, np.int64)
        for old, new in zip(former.tables, self.tables, strict=True):
            rows[old.start : old.start + old.size] = np.arange(new.start, new.start + old.size)
        return rows

    def to_dict(self) -> dict[str, Any]:
        """The layout as values of JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Layout:
        """The layout that `to_dict` described."""
        return cls(
            tables=tuple(
                TableRange(t["name"], t["start"], t["size"], t.get("spare", 0))
                for t in data["tables"]
            ),
            ids=tuple(IdColumn(**_sided(c)) for c in data["ids"]),
            dense=tuple(DenseColumn(**_sided(c)) for c in data["dense"]),
        )


def _sided(column: dict[str, Any]) -> dict[str, Any]:
    return {**column, "side": Side(column["side"])}
