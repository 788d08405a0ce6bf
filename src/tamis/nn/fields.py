"""A layout's id features as vectors: (B, W) ids → (B, F, dim), one vector per feature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from tamis.nn.embedding import FusedEmbedding, PoolPlan


class FieldColumn(Protocol):
    """What is read of `tamis.features.IdColumn`."""

    @property
    def name(self) -> str: ...
    @property
    def table(self) -> str: ...
    @property
    def first(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def pooling(self) -> str: ...


class FieldTable(Protocol):
    """What is read of `tamis.features.TableRange`."""

    @property
    def name(self) -> str: ...
    @property
    def start(self) -> int: ...
    @property
    def size(self) -> int: ...


class FieldLayout(Protocol):
    """What is read of `tamis.features.Layout` (this room lies below that one)."""

    @property
    def tables(self) -> Sequence[FieldTable]: ...
    @property
    def ids(self) -> Sequence[FieldColumn]: ...


def pad_rows(layout: FieldLayout) -> list[int]:
    """The padding row of every feature's range."""
    return [t.start for t in layout.tables]


def fused_table(
    layout: FieldLayout,
    dim: int,
    *,
    init_std: float = 0.01,
    zero_columns: int = 0,
    generator: torch.Generator | None = None,
) -> FusedEmbedding:
    """The fused embedding of a layout, its pad rows zero."""
    n_rows = max((t.start + t.size for t in layout.tables), default=0)
    return FusedEmbedding(n_rows, dim, pad_rows(layout), init_std, zero_columns, generator)


class FieldPooling(nn.Module):
    """Turns a batch's ids into one vector per feature, pooled; a feature without any id is zero.

    Args:
        layout: the batch's layout.
        columns: names of the id features wanted, in the order wanted; None = all.
    """

    def __init__(self, layout: FieldLayout, columns: Sequence[str] | None = None) -> None:
        super().__init__()
        known = {c.name: c for c in layout.ids}
        chosen = [known[name] for name in columns] if columns is not None else list(layout.ids)
        start = {t.name: t.start for t in layout.tables}
        width = max((c.first + c.width for c in layout.ids), default=0)
        places = [k for c in chosen for k in range(c.first, c.first + c.width)]
        field = [f for f, c in enumerate(chosen) for _ in range(c.width)]
        self.fields = [c.name for c in chosen]
        self._places = None if places == list(range(width)) else torch.tensor(places)
        self._plan = PoolPlan(
            torch.tensor(field, dtype=torch.long),
            torch.tensor([c.pooling == "mean" for c in chosen], dtype=torch.bool),
            torch.tensor([start[chosen[f].table] for f in field], dtype=torch.long),
        )
        self._max = any(c.pooling == "max" and c.width > 1 for c in chosen)
        self._is_max = [c.pooling == "max" for c in chosen]

    def forward(self, table: FusedEmbedding, ids: Tensor) -> Tensor:
        """float32 (B, F, dim) of `ids` int32 (B, W); `dim` is the table's, tail included."""
        vectors, rest = self.split(table, ids)
        return vectors if not table.zero_columns else torch.cat([vectors, rest], -1)

    def split(self, table: FusedEmbedding, ids: Tensor) -> tuple[Tensor, Tensor]:
        """The same as two: (B, F, dim − zero_columns) and the rest (B, F, zero_columns)."""
        plan = self._plan.to(ids.device)
        if self._places is not None:
            ids = ids[:, self._places.to(ids.device)]
        if not self._max:
            return table.pooled(ids, plan)
        tail = table.zero_columns
        return self._by_field(table(ids), ids, plan).split([table.dim - tail, tail], -1)  # type: ignore[return-value]

    def plan_of(self, first: int, last: int) -> PoolPlan:
        """The plan of id columns `first` … `last` alone, whole features, fields numbered from 0."""
        field = self._plan.field[first:last]
        low, high = (int(field[0]), int(field[-1]) + 1) if len(field) else (0, 0)
        return PoolPlan(field - low, self._plan.mean[low:high], self._plan.pad[first:last])

    def _by_field(self, vectors: Tensor, ids: Tensor, plan: PoolPlan) -> Tensor:
        """Pools (B, W, dim) when some feature takes the maximum of its ids' vectors."""
        out, present = [], ids != plan.pad  # (B, W)
        for f, is_max in enumerate(self._is_max):
            mine = plan.field == f
            v, m = vectors[:, mine], present[:, mine].unsqueeze(-1)
            if is_max:
                top = v.masked_fill(~m, -torch.inf).amax(1)
                out.append(top.masked_fill(~m.any(1), 0.0))
            else:
                count = m.sum(1).clamp(min=1) if bool(plan.mean[f]) else 1
                out.append((v * m).sum(1) / count)
        return torch.stack(out, 1)
