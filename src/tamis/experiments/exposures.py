"""Who took part in an experiment: the arm and the first answer of each unit, from the answers.

Answers are read once. What metrics need of them later is written to temporary files, some 30 bytes
per answer, so that memory depends on the number of units alone. There units stand as 64-bit hashes
of their ids.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import IO, Any, Literal, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.data import HashIndex, Labels, Table
from tamis.runtime import Bool, Int32, Int64

COMPACTED = 500_000
"""Rows of exposures that are gathered before those of one unit are joined."""
READ = 200_000
"""Rows that are read from a temporary file at once."""
_ANSWERS = np.dtype(
    [("unit", "u8"), ("time", "i8"), ("came", "i8"), ("inside", "?"), ("shown", "i2"),
     ("degraded", "?"), ("took", "f4")]
)  # fmt: skip
_VALUES = np.dtype(
    [("unit", "u8"), ("time", "i8"), ("came", "i8"), ("inside", "?"), ("code", "i4")]
)


@dataclass(frozen=True)
class ArmComparison:
    """Which answers of an experiment are compared."""

    experiment: str
    unit: Literal["user", "session"]
    arms: tuple[str, ...]
    since: int
    """Time (ms) from which its answers count."""
    until: int
    """Time (ms) before which answers and events count."""
    before: int = 0
    """Milliseconds before a unit's first answer in which covariates are counted."""

    def schema(self, slate: Literal["none", "count", "items"] = "items") -> pl.Schema:
        """The fields of answers that are read. To read slates takes most of the time: `slate` says
        whether nothing of them is needed, or their length alone."""
        place = {"none": None, "count": pl.Null(), "items": pl.String()}[slate]
        slates = {} if place is None else {"slate": pl.List(pl.List(place))}
        arms = pl.Struct({self.experiment: pl.String()})
        return pl.Schema(
            {
                "recommendation_id": pl.String(),
                "user_id": pl.String(),
                "session_id": pl.String(),
                "time": pl.Int64(),
                **slates,
                "took_ms": pl.Float32(),
                "degraded": pl.List(pl.String()),
                "arms": arms,
                "request": pl.Struct({"arms": arms}),
            }
        )


@dataclass(frozen=True, eq=False)
class UnitRows:
    """What happened to units (n,): events, answers, or values that answers showed; as it came."""

    unit: Int32
    time: Int64
    came: Int64
    """The latest time of arrival up to here, which never decreases."""
    of: Mapping[str, NDArray[Any]]
    """The other columns (n,)."""

    def __len__(self) -> int:
        return len(self.unit)

    def take(self, where: slice | Bool) -> UnitRows:
        """Some of them."""
        others = {name: column[where] for name, column in self.of.items()}
        return UnitRows(self.unit[where], self.time[where], self.came[where], others)


class InTime:
    """Blocks of rows, handed out in turns that end at moments."""

    def __init__(self, blocks: Iterable[UnitRows]) -> None:
        self._blocks = iter(blocks)
        self._rest: UnitRows | None = None

    def before(self, moment: int) -> Iterator[UnitRows]:
        """The rows that came before a moment (ms), and were not handed out yet."""
        while (block := self._next()) is not None:
            cut = int(np.searchsorted(block.came, moment))
            if cut:
                yield block.take(slice(0, cut))
            if cut < len(block):
                self._rest = block.take(slice(cut, None))
                return

    def _next(self) -> UnitRows | None:
        rest, self._rest = self._rest, None
        return next(self._blocks, None) if rest is None else rest


@dataclass(frozen=True, eq=False)
class Units:
    """The units (U,) of a comparison, in the order of their first answers."""

    ids: pl.Series
    arm: Int32
    """Positions in `ArmComparison.arms`."""
    first: Int64
    """Time (ms) of the first answer of the experiment."""
    users: pl.Series
    """The user of each unit's first answer; null where none was named."""
    several: int = 0
    """Units that were seen in several arms; they are left out."""
    overridden: int = 0
    """Answers whose request chose the arm; they do not count."""
    oldest: int | None = None
    """Time (ms) of the oldest answer that the journal holds; None: it holds none."""

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, ids: pl.Series) -> Int32:
        """(n,) units of ids; −1 for others and for null."""
        found = self._index.get_all(ids.fill_null(""))
        return np.where(ids.is_null().to_numpy(), np.int32(-1), found)

    @cached_property
    def _index(self) -> HashIndex:
        return HashIndex(self.ids)

    @cached_property
    def _hashes(self) -> tuple[NDArray[np.uint64], Int64]:
        hashes = self.ids.hash().to_numpy()
        order = np.argsort(hashes)
        return hashes[order], order

    def of_hashes(self, hashes: NDArray[np.uint64]) -> Int32:
        """(n,) units of hashes of ids; −1 for others."""
        return _found(*self._hashes, hashes)


def _found(known: NDArray[np.uint64], row: Int64, wanted: NDArray[np.uint64]) -> Int32:
    """(n,) `row` of each of `wanted` in `known`, ascending; −1 for others."""
    if not len(known):
        return np.full(len(wanted), -1, np.int32)
    at = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return np.where(known[at] == wanted, row[at], -1).astype(np.int32)


@dataclass(frozen=True, eq=False)
class ItemValues:
    """The values of an item column, for metrics of different values in answers."""

    items: Table
    labels: Labels


class Exposures:
    """The answers of a comparison; `with` reads them, and deletes the temporary files at its end.

    Args:
        comparison: which answers count.
        blocks: all answers, with the fields of `ArmComparison.schema`; without slates, answers
            show 0 items.
        keep: whether metrics read fields of answers, which are then kept.
        values: item column → its values, for metrics that count them.
    """

    def __init__(
        self,
        comparison: ArmComparison,
        blocks: Iterable[pl.DataFrame],
        *,
        keep: bool = True,
        values: Mapping[str, ItemValues] | None = None,
    ) -> None:
        self._comparison = comparison
        self._values = dict(values or {})
        self._answers = _File(_ANSWERS) if keep else None
        self._of_values = {column: _File(_VALUES) for column in self._values}
        self._sessions: list[NDArray[np.uint64]] = []
        """(2, n) hashes of answers and of their sessions."""
        self._came = 0
        self._overridden, self._oldest = 0, None
        self._blocks = blocks
        self.units: Units
        """Known once the answers were read."""

    def __enter__(self) -> Self:
        try:
            parts = _Parts()
            for block in self._blocks:
                parts.add(self._read(block))
            self.units = self._units(parts.joined())
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Deletes the temporary files."""
        for file in (self._answers, *self._of_values.values()):
            if file is not None:
                file.close()

    def answers(self) -> Iterator[UnitRows]:
        """The answers of the units, before the first one of the experiment, too."""
        yield from () if self._answers is None else self._replayed(self._answers)

    def values(self, column: str) -> Iterator[UnitRows]:
        """The values of an item column in these answers."""
        yield from self._replayed(self._of_values[column])

    def units_of(self, events: pl.DataFrame) -> Int32:
        """(n,) the unit of each event, by its user, or by the answer that showed the item; −1 for
        others."""
        if self._comparison.unit == "user":
            return self.units.rows(events["user_id"])
        answer = events["recommendation_id"]
        found = _found(*self._answered, answer.hash().to_numpy())
        return np.where(answer.is_null().to_numpy(), np.int32(-1), found)

    @cached_property
    def _answered(self) -> tuple[NDArray[np.uint64], Int64]:
        """Hashes of answers, ascending, and their units."""
        both = np.concatenate([np.zeros((2, 0), np.uint64), *self._sessions], axis=1)
        units = self.units.of_hashes(both[1])
        order = np.argsort(both[0])
        return both[0][order], units[order].astype(np.int64)

    def _read(self, block: pl.DataFrame) -> pl.DataFrame:
        """The exposures of a block; what metrics need of its answers goes to the files."""
        design, name = self._comparison, self._comparison.experiment
        unit = pl.col("user_id")
        if design.unit == "session":
            unit = pl.when(pl.col("session_id") != "").then("session_id")
        codes = {arm: code for code, arm in enumerate(design.arms)}
        block = block.with_columns(
            unit=unit,
            arm=pl.col("arms").struct.field(name).replace_strict(
                codes, default=-1, return_dtype=pl.Int32
            ),
            forced=pl.col("request").struct.field("arms").struct.field(name).is_not_null(),
        )  # fmt: skip
        if len(block) and self._oldest is None:
            self._oldest = block["time"][0]
        self._overridden += int(block["forced"].sum())
        block = block.filter(
            pl.col("unit").is_not_null()
            & ~pl.col("forced")
            & (pl.col("time") >= design.since - design.before)
            & (pl.col("time") < design.until)
        )
        inside = (pl.col("arm").fill_null(-1) >= 0) & (pl.col("time") >= design.since)
        block = block.with_columns(inside=inside)
        self._keep(block)
        return block.filter("inside").select("unit", "arm", "time", user="user_id")

    def _keep(self, block: pl.DataFrame) -> None:
        if not len(block):
            return
        time = block["time"].to_numpy()
        came = np.maximum.accumulate(np.maximum(time, self._came))
        self._came = int(came[-1])
        inside, unit = block["inside"].to_numpy(), block["unit"].hash().to_numpy()
        if self._comparison.unit == "session":
            pairs = np.stack([block["recommendation_id"].hash().to_numpy(), unit])
            self._sessions.append(pairs[:, inside])
        if self._answers is not None:
            shown = np.zeros(len(block), np.uint32)
            if "slate" in block.columns:
                shown = block["slate"].list.len().fill_null(0).to_numpy()
            self._answers.write(
                unit=unit,
                time=time,
                came=came,
                inside=inside,
                shown=np.minimum(shown, 32_767),
                degraded=block["degraded"].list.len().fill_null(0).to_numpy() > 0,
                took=block["took_ms"].fill_null(0.0).to_numpy(),
            )
        for column, values in self._values.items():
            slate = block["slate"].list.eval(pl.element().list.first())
            at = np.repeat(np.arange(len(block)), slate.list.len().fill_null(0).to_numpy())
            row = values.items.rows(slate.explode(empty_as_null=False, keep_nulls=False))
            at, row = at[row >= 0], row[row >= 0]
            count = np.diff(values.labels.indptr)[row]
            at, start = np.repeat(at, count), np.repeat(values.labels.indptr[:-1][row], count)
            within = np.arange(len(at)) - np.repeat(np.cumsum(count) - count, count)
            self._of_values[column].write(
                unit=unit[at],
                time=time[at],
                came=came[at],
                inside=inside[at],
                code=values.labels.code[start + within],
            )

    def _replayed(self, file: _File) -> Iterator[UnitRows]:
        for rows in file.read():
            unit = self.units.of_hashes(rows["unit"])
            known = unit >= 0
            rows = rows[known]
            others = {name: rows[name] for name in rows.dtype.names or ()}
            yield UnitRows(unit[known], rows["time"], rows["came"], others)

    def _units(self, found: pl.DataFrame) -> Units:
        alone = found.filter(pl.col("low") == pl.col("high")).sort("time", "unit")
        return Units(
            alone["unit"],
            alone["low"].to_numpy().astype(np.int32),
            alone["time"].to_numpy().astype(np.int64),
            alone["user"],
            len(found) - len(alone),
            self._overridden,
            self._oldest,
        )


class _Parts:
    """Exposures by unit, joined from time to time: first time, lowest and highest arm, user."""

    def __init__(self) -> None:
        self._parts: list[pl.DataFrame] = []
        self._size = self._joined = 0

    def add(self, exposures: pl.DataFrame) -> None:
        """Takes exposures: unit, arm, time, user."""
        arm = pl.col("arm")
        part = exposures.with_columns(low=arm, high=arm).drop("arm")
        self._parts.append(_by_unit(part))
        self._size += len(self._parts[-1])
        if self._size > COMPACTED + 2 * self._joined:
            self._parts = [self.joined()]
            self._size = self._joined = len(self._parts[0])

    def joined(self) -> pl.DataFrame:
        """One row per unit."""
        if not self._parts:
            types = {"unit": pl.String, "time": pl.Int64, "low": pl.Int32, "high": pl.Int32}
            return pl.DataFrame(schema={**types, "user": pl.String})
        return _by_unit(pl.concat(self._parts))


def _by_unit(exposures: pl.DataFrame) -> pl.DataFrame:
    return exposures.group_by("unit").agg(
        pl.col("time").min(), pl.col("low").min(), pl.col("high").max(), pl.col("user").first()
    )


class _File:
    """Rows in a temporary file, which is gone once it is closed."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype
        self._file: IO[bytes] = tempfile.TemporaryFile(prefix="tamis-")  # noqa: SIM115

    def write(self, **columns: NDArray[Any]) -> None:
        """Appends rows."""
        rows = np.empty(len(next(iter(columns.values()))), self._dtype)
        for name, column in columns.items():
            rows[name] = column
        self._file.write(rows.tobytes())

    def close(self) -> None:
        """Deletes the file."""
        self._file.close()

    def read(self) -> Iterator[NDArray[Any]]:
        """All rows, some at a time."""
        self._file.seek(0)
        while content := self._file.read(READ * self._dtype.itemsize):
            yield np.frombuffer(content, self._dtype)
