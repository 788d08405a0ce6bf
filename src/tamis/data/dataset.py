"""The event log as arrays, and tables and log as one data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.data.context import CITY, EventContext, Texts
from tamis.data.table import Table
from tamis.runtime import Bool, Float32, Int32, Int64
from tamis.schema import Behaviour, ProjectConfig


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

    @classmethod
    def none(cls, config: ProjectConfig) -> Events:
        """The log of a project without any event."""
        c = config.events
        named = [*c.context, *([CITY] if c.city else [])]
        nowhere = np.zeros(0, np.float32) if c.latitude else None
        texts = {name: Texts.of(pl.Series(name, [], pl.String)) for name in named}
        context = EventContext(texts, nowhere, nowhere) if texts or c.latitude else None
        return cls(
            user=np.zeros(0, np.int32),
            item=np.zeros(0, np.int32),
            behaviour=np.zeros(0, np.uint8),
            time=np.zeros(0, np.int64),
            arrival=np.zeros(0, np.int64),
            value=np.zeros(0, np.float32),
            request=np.zeros(0, np.int64),
            position=np.zeros(0, np.int16),
            context=context,
        )

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
