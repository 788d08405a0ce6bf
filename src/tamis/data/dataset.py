"""The nouns of the data: ids, tables, the event log, and all of them as one data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.runtime import Bool, Float32, Int32, Int64
from tamis.schema import Behaviour

_ID = "__id__"
UNKNOWN = -1
"""The row number of a user or item that is not in its table."""


@dataclass(frozen=True, eq=False)
class Table:
    """Users or items: external ids and their attributes; row numbers are positions in it.

    External ids are text (as in the file); row numbers are int32. The two never mix: an id becomes
    a row once, at the edge, by `rows`, and turns back by `ids`.
    """

    name: str
    ids: pl.Series
    """(N,) unique text ids, in row order."""
    frame: pl.DataFrame = field(repr=False)
    """(N, columns) attributes in row order, without the id column."""

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def _index(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.ids.to_list())}

    def row(self, external: object) -> int:
        """The row of one external id, UNKNOWN (-1) where it is not in the table."""
        return self._index.get(str(external), UNKNOWN)

    def rows(self, external: pl.Series | Sequence[object]) -> Int32:
        """(N,) rows of external ids, -1 where not in the table; vectorised by a join."""
        series = (
            external if isinstance(external, pl.Series) else pl.Series(list(map(str, external)))
        )
        left = pl.DataFrame({"id": series.cast(pl.String)})
        right = pl.DataFrame({"id": self.ids, "row": np.arange(len(self), dtype=np.int32)})
        joined = left.join(right, on="id", how="left", maintain_order="left")
        return joined["row"].fill_null(UNKNOWN).to_numpy().astype(np.int32, copy=False)

    def write(self, path: Path) -> None:
        """One Parquet file: the ids as column `_ID`, then the attributes, if there are any."""
        pl.DataFrame([self.ids.alias(_ID), *self.frame]).write_parquet(path)

    @classmethod
    def read(cls, name: str, path: Path) -> Table:
        frame = pl.read_parquet(path)
        return cls(name, frame[_ID], frame.drop(_ID))


@dataclass(frozen=True, eq=False)
class Events:
    """What people did, as a structure of arrays sorted stably by event time.

    Times are milliseconds since 1970 UTC. `arrival` is when the event reached the log
    (arrival >= time is usual; equal where the log has no arrival column).
    """

    user: Int32
    item: Int32
    behaviour: NDArray[np.uint8]
    """Position in `Dataset.behaviours`."""
    time: Int64
    arrival: Int64
    value: Float32
    """Rating, seconds watched, price …; NaN where there is none."""
    request: Int64
    """The request that showed the item; -1 where unknown."""
    position: NDArray[np.int16]
    """1-based place in the slate; 0 where unknown."""

    def __len__(self) -> int:
        return len(self.user)

    def take(self, where: NDArray[np.bool_] | NDArray[np.intp] | slice) -> Events:
        """The selected events, in their order."""
        return Events(**{name: column[where] for name, column in vars(self).items()})


@dataclass(frozen=True, eq=False)
class Dataset:
    """Everything that is known at one moment: the two tables and the events that had arrived."""

    users: Table
    items: Table
    events: Events
    behaviours: tuple[Behaviour, ...]

    def code(self, behaviour: str) -> int:
        """The code of a behaviour's name in `events.behaviour`."""
        return [b.name for b in self.behaviours].index(behaviour)

    @cached_property
    def positive(self) -> Bool:
        """(n,) which events are of a positive behaviour."""
        return np.array([b.positive for b in self.behaviours])[self.events.behaviour]

    @cached_property
    def weight(self) -> Float32:
        """(n,) the interest value r of each event (its behaviour's weight)."""
        weights = np.array([b.weight for b in self.behaviours], dtype=np.float32)
        return weights[self.events.behaviour]

    @cached_property
    def seen(self) -> Bool:
        """(n,) events after which an item counts as seen by the user (all but impressions)."""
        return np.array([not b.impression for b in self.behaviours])[self.events.behaviour]

    @cached_property
    def has_impressions(self) -> bool:
        """Whether the log says what was shown."""
        return not bool(self.seen.all())

    def as_of(self, time: int) -> Dataset:
        """What was known at `time` (ms): events that had arrived strictly before it."""
        return replace(self, events=self.events.take(self.events.arrival < time))

    @property
    def end(self) -> int:
        """The first moment (ms) at which every event of this data set counts as known."""
        return int(self.events.arrival.max()) + 1 if len(self.events) else 0
