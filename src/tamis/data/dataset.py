"""Tables with external ids, the event log, and both as one data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import repeat
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.data.context import EventContext
from tamis.data.ids import id_text, ids_of, one_id
from tamis.data.values import plain_frame
from tamis.runtime import Bool, Float32, Int32, Int64
from tamis.schema import Behaviour

_ID = "__id__"
UNKNOWN = -1
"""The row number of a user or item that is not in its table."""


@dataclass(frozen=True, eq=False)
class Table:
    """A table of users or items: external ids and attributes.

    External ids are text, as `tamis.data.id_text` reads them: 1, 1.0, "1" and " 1 " are one id. Row
    numbers are int32 positions in the table. An id is converted to a row once, on input, by `rows`,
    and back by `ids`.
    """

    name: str
    """"users" or "items", for messages."""
    ids: pl.Series
    """(N,) unique text ids, in row order."""
    frame: pl.DataFrame = field(repr=False)
    """(N, columns) attributes in row order, without the id column."""

    def __post_init__(self) -> None:
        """Brings the attributes to the types that the stages read (`plain_types`)."""
        object.__setattr__(self, "frame", plain_frame(self.frame))

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def _index(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.ids.to_list())}

    def row(self, external: object) -> int:
        """The row of an external id of any type; UNKNOWN (-1) if it is not in the table."""
        if isinstance(external, str) and (row := self._index.get(external)) is not None:
            return row
        text = one_id(external)
        return UNKNOWN if text is None else self._index.get(text, UNKNOWN)

    def rows(self, external: pl.Series | NDArray[Any] | Sequence[object] | object) -> Int32:
        """(n,) rows of external ids (n,) of any type; UNKNOWN (-1) for ids not in the table.

        A bare id counts as a sequence of one.
        """
        is_text = isinstance(external, pl.Series) and external.dtype == pl.String
        series = cast("pl.Series", external) if is_text else ids_of(external)
        rows = self._joined(series)
        if is_text and (rows == UNKNOWN).any():  # as they are written, else as ids are read
            lost = np.flatnonzero(rows == UNKNOWN)
            rows[lost] = self._joined(id_text(series.gather(lost), self.name, ()))
        return rows

    def rows_of_texts(self, ids: Sequence[str]) -> Int32:
        """(n,) rows of ids as the table writes them; UNKNOWN (-1) for others.

        For lists of some hundred ids, of which `rows` would make a join.
        """
        return np.fromiter(map(self._index.get, ids, repeat(UNKNOWN)), np.int32, len(ids))

    def part(self, rows: Int32 | Int64) -> Table:
        """The rows (m,) of the table as a table of their own."""
        return Table(self.name, self.ids.gather(rows), self.frame[rows])

    def _joined(self, ids: pl.Series) -> Int32:
        left = pl.DataFrame({"id": ids}, schema={"id": pl.String})
        right = pl.DataFrame({"id": self.ids, "row": np.arange(len(self), dtype=np.int32)})
        joined = left.join(right, on="id", how="left", maintain_order="left")
        return joined["row"].fill_null(UNKNOWN).to_numpy().astype(np.int32)

    def write(self, path: Path) -> None:
        """Writes one Parquet file: the ids as column `_ID`, then the attributes."""
        pl.DataFrame([self.ids.alias(_ID), *self.frame]).write_parquet(path)

    @classmethod
    def read(cls, name: str, path: Path) -> Table:
        """Reads what `write` wrote."""
        frame = pl.read_parquet(path)
        return cls(name, frame[_ID], frame.drop(_ID))


@dataclass(frozen=True, eq=False)
class Events:
    """The event log as arrays (n,), sorted by time; equal times keep the order of the file."""

    user: Int32
    """Rows of `Dataset.users`."""
    item: Int32
    """Rows of `Dataset.items`."""
    behaviour: NDArray[np.uint8]
    """Positions in `Dataset.behaviours`."""
    time: Int64
    """Time of the event, ms since 1970 UTC."""
    arrival: Int64
    """Time when the event reached the log, ms since 1970 UTC; by default `time`."""
    value: Float32
    """Rating, seconds watched or price; NaN if there is none."""
    request: Int64
    """Number of the request that showed the item; -1 if unknown."""
    position: NDArray[np.int16]
    """Place in the slate, from 1; 0 if unknown."""
    context: EventContext | None = None
    """The device, city, place … of the request; None where the project declares no such column."""
    weights: Mapping[str, Float32] = field(default_factory=dict[str, Float32])
    """Columns (n,) of sample weights by name, finite and at least 0."""

    def __len__(self) -> int:
        return len(self.user)

    def take(self, where: NDArray[np.bool_] | NDArray[np.intp] | slice) -> Events:
        """The events selected by a mask, positions or a slice."""
        others = ("context", "weights")
        columns = {name: column[where] for name, column in vars(self).items() if name not in others}
        return Events(
            **columns,
            context=None if self.context is None else self.context.take(where),
            weights={name: column[where] for name, column in self.weights.items()},
        )


@dataclass(frozen=True, eq=False)
class Follows:
    """The authors whom users follow."""

    user: Int32
    """(n,) rows of `Dataset.users`."""
    author: pl.Series
    """(n,) the author, as a text."""
    time: Int64
    """(n,) since when, ms since 1970 UTC; (0,) if the table has no times."""

    def __len__(self) -> int:
        return len(self.user)

    def take(self, where: Bool) -> Follows:
        """The rows where `where` (n,) is true."""
        time = self.time[where] if len(self.time) else self.time
        return Follows(self.user[where], self.author.filter(pl.Series(where)), time)

    def as_of(self, time: int) -> Follows:
        """The rows known at `time` (ms): those from before it, or all if the table has no times."""
        return self.take(self.time < time) if len(self.time) else self


@dataclass(frozen=True, eq=False)
class Dataset:
    """What is known at one moment: users, items, and the events that had arrived."""

    users: Table
    items: Table
    events: Events
    behaviours: tuple[Behaviour, ...]
    follows: Follows | None = None
    """The authors whom users follow; None where no table of them is declared."""

    def code(self, behaviour: str) -> int:
        """The code of a behaviour in `events.behaviour`; ValueError if it is not declared."""
        return [b.name for b in self.behaviours].index(behaviour)

    @cached_property
    def positive(self) -> Bool:
        """(n,) bool: events of a positive behaviour."""
        return np.array([b.positive for b in self.behaviours])[self.events.behaviour]

    @cached_property
    def seen(self) -> Bool:
        """(n,) bool: events after which the user has seen the item (all but impressions)."""
        return np.array([not b.impression for b in self.behaviours])[self.events.behaviour]

    @cached_property
    def has_impressions(self) -> bool:
        """Whether the log has impressions."""
        return not bool(self.seen.all())

    def as_of(self, time: int) -> Dataset:
        """The data known at `time` (ms): only events that arrived strictly before it."""
        follows = None if self.follows is None else self.follows.as_of(time)
        known = self.events.take(self.events.arrival < time)
        return replace(self, events=known, follows=follows)

    @property
    def end(self) -> int:
        """The earliest time (ms) at which all events are known; 0 without events."""
        return int(self.events.arrival.max()) + 1 if len(self.events) else 0
