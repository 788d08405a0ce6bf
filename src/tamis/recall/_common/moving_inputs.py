"""Inputs of the user side that change with time: context, declared histories and statistics.

The same code makes them for training examples, as of each example's moment, and for requests.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from tamis.cascade import Queries, event_before
from tamis.data import CITY, Context, Dataset, Table
from tamis.features import (
    FeatureSpace,
    Histories,
    History,
    IdHistory,
    OnlineStatistics,
    Recipe,
    Statistics,
    UserStatistics,
)
from tamis.runtime import Float32, Int32, Int64
from tamis.schema import read_json, reading
from tamis.train import Order

log = logging.getLogger("tamis.recall")
FILE = "moving.json"


class Moving(NamedTuple):
    """The inputs of Q users at their times."""

    ids: Int32
    """(Q, w) rows of the model's fused table."""
    dense: Float32
    """(Q, d) numbers."""


@dataclass(frozen=True, eq=False)
class StatisticsAtEnd:
    """The users' statistics at the end of a log: for a channel without a service's counters."""

    values: Float32
    """(U + 1, S); the last row is of an unknown user."""

    def users(self, user: Int32, time: Int64) -> Float32:
        """(n, S) of n users, whatever the time."""
        unknown = len(self.values) - 1
        return self.values[np.where((user >= 0) & (user < unknown), user, unknown)]


@dataclass(frozen=True, eq=False)
class SharedStatistics:
    """The users' statistics from counters that others update, by this model's own recipe."""

    counters: OnlineStatistics
    recipe: Recipe

    def users(self, user: Int32, time: Int64) -> Float32:
        """(n, S) of n users as of n times (ms)."""
        return self.counters.users_by(self.recipe, user, time)


@dataclass(eq=False)
class MovingInputs:
    """Encodes the moving inputs of one fitted model.

    The columns follow those of the fixed inputs (`SideInputs`): context, histories of attributes of
    items, histories of items' ids; statistics are the last numbers.
    """

    space: FeatureSpace
    offset: int
    """Row of the model's fused table at which the tables of `space` start."""
    histories: tuple[IdHistory, ...]
    statistics: UserStatistics | None
    """Counters of the users; None: statistics are no inputs."""

    def __call__(
        self, user: Int32, time: Int64, history: History, context: Context | None
    ) -> Moving:
        """The inputs of Q users (rows, -1 for unknown ones) at their times (ms).

        history: of each user, as of the time. context: of each request; None: nothing is known.
        """
        block = self.space.moving_user_inputs(user, time, history, self.statistics, context)
        ids = [block.ids + np.int32(self.offset)]
        for lookup in self.histories:
            rows = np.empty((len(user), lookup.width), np.int32)
            lookup.write(history, rows)
            ids.append(rows)
        return Moving(np.concatenate(ids, axis=1), block.dense)

    def of(self, queries: Queries) -> Moving:
        """The inputs of queries."""
        return self(queries.user, queries.time, queries.history, queries.context)

    @property
    def reads(self) -> tuple[str, ...]:
        """The parts of a request's context that are inputs, as `BaseChannel.reads` names them."""
        columns = ("city" if name == CITY else name for name in self.space.context_columns)
        return (*columns, "place") if self.space.reads_place else tuple(columns)

    def update_items(self, items: Table, rows: Int32) -> None:
        """Takes up new and changed items, whose attributes histories hold."""
        self.space.update_items(items, rows)

    def use(self, statistics: OnlineStatistics) -> None:
        """Reads the users' statistics from these counters, which a service keeps up to date.

        Counters of other windows or behaviours than those of the fit are not used; this is logged.
        """
        recipes = self.space.recipes
        if self.statistics is None or recipes is None:
            return
        theirs, ours = statistics.recipes.user, recipes.user
        if (theirs.windows, theirs.behaviours) != (ours.windows, ours.behaviours):
            log.warning(
                "a recall channel was fitted with statistics of %s over %s, and the version counts "
                "%s over %s: the channel uses the statistics of its fit. Train the whole version",
                ours.behaviours, ours.windows, theirs.behaviours, theirs.windows,
            )  # fmt: skip
            return
        self.statistics = SharedStatistics(statistics, ours)

    def save(self, directory: Path, users: int, end: int) -> None:
        """Writes the space, the histories, and the statistics of all users as of `end` (ms)."""
        self.space.save(directory)
        saved = {
            "offset": self.offset,
            "histories": [h.to_dict() for h in self.histories],
            "statistics": self.statistics is not None,
        }
        (directory / FILE).write_text(json.dumps(saved, indent=1), encoding="utf-8")
        if self.statistics is not None:
            np.save(directory / "user_statistics.npy", at_end(self.statistics, users, end).values)

    @classmethod
    def load(cls, directory: Path, n_items: int, start: int, first: int) -> MovingInputs:
        """Opens what `save` wrote, memory-mapped.

        Args:
            n_items: number of items.
            start, first: padding row of the table of the histories' items, and the number of rows
                before that of item 0.
        """
        file = directory / FILE
        saved = read_json(file, offset=int, histories=list, statistics=bool)
        space = FeatureSpace.load(directory)
        with reading(file):
            histories = [IdHistory.stored(h, n_items, start, first) for h in saved["histories"]]
            statistics = None
            if saved["statistics"]:
                values = np.load(directory / "user_statistics.npy", mmap_mode="r")
                statistics = StatisticsAtEnd(values)
        return cls(space, int(saved["offset"]), tuple(histories), statistics)


def at_end(statistics: UserStatistics, users: int, end: int) -> StatisticsAtEnd:
    """The statistics of all users and of an unknown one as of `end` (ms)."""
    rows = np.arange(users + 1, dtype=np.int32)
    rows[-1] = -1
    return StatisticsAtEnd(statistics.users(rows, np.full(users + 1, end, np.int64)))


@dataclass(eq=False)
class MomentInputs:
    """The moving inputs of training examples: users at moments of a log.

    The context of a moment is that of the like itself where the log has impressions, that is, where
    events carry the context of the request that they answer; otherwise the context of the user's
    last event before, which is also what evaluation reads.
    """

    inputs: MovingInputs
    data: Dataset
    likes: NDArray[np.int64]
    """(n,) rows of the events that are likes."""
    _histories: Histories = field(init=False)
    _source: NDArray[np.int64] | None = field(init=False)

    def __post_init__(self) -> None:
        self._histories = Histories.of(self.data)
        events = self.data.events
        if events.context is None or not self.inputs.space.reads_context:
            self._source = None
        elif self.data.has_impressions:
            self._source = self.likes
        else:
            self._source = event_before(self.data, events.user[self.likes], events.time[self.likes])

    def __call__(self, like: NDArray[np.int64]) -> Moving:
        """The inputs of the users of the likes at these places (B,) in `likes`, at their times."""
        event = self.likes[like]
        events = self.data.events
        user, time = events.user[event], events.time[event]
        context = None
        if self._source is not None and events.context is not None:
            context = events.context.at(self._source[like])
        return self.inputs(user, time, self._histories.at(user, time), context)


@dataclass(frozen=True, eq=False)
class ItemMoments:
    """Statistics of the items at a few times of a log, and at its end.

    An item's vector is computed before the requests that it serves. Training does the same: the
    likes are divided into periods, and the items' statistics of a batch, whose examples lie in one
    period, are those at the period's start.
    """

    starts: Int64
    """(P,) first time (ms) of each period, ascending."""
    values: Float32
    """(P + 1, I, S) statistics at each start; the last at the end of the log."""
    unknown: Float32
    """(1, S) statistics at the end of the log of an item without events."""

    @classmethod
    def of(cls, space: FeatureSpace, statistics: Statistics, times: Int64, end: int) -> ItemMoments:
        """Of the times (n,) of the likes of a log that ends at `end`."""
        ordered = np.unique(times)
        count = max(1, min(PERIODS, len(ordered)))
        starts = np.unique(np.quantile(times, np.arange(count) / count, method="lower"))
        starts = starts.astype(np.int64)
        read = [space.item_statistics(statistics, int(t)) for t in (*starts, end)]
        unknown = space.item_statistics(statistics, end, np.array([-1], np.int32))
        return cls(starts, np.stack(read), unknown)

    def period(self, times: Sequence[int] | Int64) -> Int64:
        """(n,) the period of each time; the first one for earlier times."""
        return np.maximum(np.searchsorted(self.starts, times, side="right") - 1, 0)


PERIODS = 8
"""Most periods of `ItemMoments`."""


def batches_by_period(period: Int64, batch_size: int, generator: torch.Generator) -> Order:
    """Batches of examples that lie in one period each, in random order.

    period: (n,) the period of each example.
    """
    shuffled = torch.randperm(len(period), generator=generator).numpy()
    rows = shuffled[np.argsort(period[shuffled], kind="stable")]
    sizes = np.bincount(period)
    ends = np.cumsum(sizes)
    begins = [np.arange(end - size, end, batch_size) for end, size in zip(ends, sizes, strict=True)]
    bounds = np.append(np.concatenate(begins), len(rows))
    order = torch.randperm(len(bounds) - 1, generator=generator).numpy()
    parts = [rows[bounds[b] : bounds[b + 1]] for b in order]
    return Order(
        torch.from_numpy(np.concatenate(parts)), [0, *np.cumsum(np.diff(bounds)[order]).tolist()]
    )
