"""Judges a new version against the serving one, by what neither has learnt from.

Both answer the same queries at one moment, with the histories and statistics as of it; the serving
version with its channels and models as they are. Slates are judged by what the users chose later,
predictions by labelled rows of users and items that both versions know.

Of a log with impressions, users could choose only what they were shown, and that was mostly what
the serving version would show again: whole slates of another version hold items about which the log
says nothing. So each version's ranked candidates are also reduced to the items that the user was
shown or chose later, and the first ten of these are judged (condensed lists, Sakai 2007). An item
that a version does not find stays a miss; what it ranks above these items only whole slates tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tamis.cascade import (
    Candidates,
    Context,
    FormerRows,
    Hydrate,
    Queries,
    Replay,
    context_before,
    tasks_of,
)
from tamis.data import UNKNOWN, Dataset, Ragged
from tamis.evaluate import Interval, mean, ndcg, paired_bootstrap, scored_blocks
from tamis.features import Histories, History, OnlineStatistics
from tamis.jobs._version_data import hydrate_of, in_rows_of
from tamis.runtime import Int32, Int64
from tamis.schema import TaskConfig
from tamis.service import Parts
from tamis.train import auc, xauc

SLATE = 10
BATCH = 256
USERS = 2_000
"""Most users whose slates are judged."""
ROWS = 300_000
"""Most labelled rows, about, on which predictions are judged."""


@dataclass(frozen=True)
class SlateComparison:
    """NDCG@10 of both versions."""

    new: float
    serving: float
    difference: Interval
    """Of new − serving, over users."""
    users: int
    random: float = 0.0
    """NDCG@10 that a random order of the serving version's list has on average; 0: the lists are
    slates."""


class SlateComparisons(NamedTuple):
    """The slates of both versions, and their order of what was shown."""

    slates: SlateComparison
    shown: SlateComparison | None
    """Of the ranked candidates that the user was shown; None of a log without impressions."""


@dataclass(frozen=True)
class TaskComparison:
    """Predictions of one task by both versions, on the same rows."""

    rows: int
    positives: float
    auc: float
    """XAUC of tasks that are not binary; NaN where all labels are equal."""
    auc_error: float
    """Standard error (Hanley and McNeil 1982), the larger one of both versions."""
    serving_auc: float
    calibration: float | None
    """Predicted ÷ observed, of binary tasks; calibrated on other rows."""
    serving_calibration: float | None
    rarer: float | None = None
    """Rows of the rarer class of a binary task; None for others."""
    calibration_error: float | None = None
    """Relative standard error of `calibration`, over queries."""


@dataclass(frozen=True)
class VersionComparison:
    """The quality of both versions, and how it was measured."""

    ndcg: SlateComparison | None
    """None where no user that both know chose an item later."""
    tasks: Mapping[str, TaskComparison] = field(default_factory=dict[str, TaskComparison])
    protocol: Mapping[str, str] = field(default_factory=dict[str, str])
    shown: SlateComparison | None = None
    """The order of the items that users were shown; None of a log without impressions."""

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


@dataclass(eq=False)
class Judge:
    """Compares two versions at one moment.

    Args:
        data: the project's data; `parts` of the new version have its rows.
        parts: of the new version, as of `cut`.
        serving: parts of the serving version.
        rows: the serving version's rows of the users and items of `data`.
        cut: the moment, ms.
        until: end of the time whose events count as chosen, ms.
        seed: of samples and intervals.
    """

    data: Dataset
    parts: Parts
    serving: Parts
    rows: FormerRows
    cut: int
    until: int
    seed: int

    def __post_init__(self) -> None:
        known = in_rows_of(self.serving, self.data)
        self._known = known
        before = known.as_of(self.cut)
        statistics = OnlineStatistics.of(before, recipes=self.serving.space.recipes)
        self._then = replace(self.serving, histories=Histories.of(before), statistics=statistics)

    def slates(self, users: Int32 | None = None) -> SlateComparisons | None:
        """NDCG@10 of both versions for users who chose an item later; None without any.

        users: rows among which they are; None: all.
        """
        chosen, positives = self._positives(users)
        if not len(chosen):
            return None
        context = context_before(self.data, chosen, np.full(len(chosen), self.cut, np.int64))
        shown = self._shown(chosen, positives) if self.data.has_impressions else None
        every = [
            self._lists(self.parts, chosen, context, shown),
            self._lists(self._then, self.rows.users[chosen], context, shown),
        ]
        whole = self._compared([one.slates for one in every], positives)
        if shown is None:
            return SlateComparisons(whole, None)
        reduced = self._compared([one.shown.matrix(SLATE) for one in every], positives)
        random = mean(random_ndcg(every[1].shown, positives, SLATE))
        return SlateComparisons(whole, replace(reduced, random=random))

    def _lists(
        self, parts: Parts, users: Int32, context: Context | None, shown: Ragged | None
    ) -> _Lists:
        """What a version, which has rows `users`, would show them."""
        cascade, slates, ranked = parts.cascade(), list[Int32](), list[Candidates]()
        for at in range(0, len(users), BATCH):
            here = slice(at, at + BATCH)
            part = None if context is None else context.take(here)
            times = np.full(len(users[here]), self.cut, np.int64)
            queries = cascade.retrieval.with_exclusions(parts.queries(users[here], times, part))
            outcome = cascade.run(queries, SLATE)
            slate, best = outcome.slate.matrix(SLATE), outcome.ranked
            if parts is not self.parts:
                slate, best = self._in_our_rows(slate), self._ranked_in_our_rows(best)
            slates.append(slate)
            if shown is not None:
                ranked.append(condensed(best, shown, at))
        return _Lists(np.concatenate(slates), join_queries(ranked))

    def _compared(self, lists: Sequence[Int32], positives: Ragged) -> SlateComparison:
        """NDCG@10 of the lists (Q, 10) of the new version and of the serving one."""
        ours, theirs = (ndcg(one, positives, SLATE) for one in lists)
        difference = paired_bootstrap(ours, theirs, seed=self.seed)
        return SlateComparison(mean(ours), mean(theirs), difference, len(positives))

    def _positives(self, users: Int32 | None) -> tuple[Int32, Ragged]:
        """Users that both versions know, and the items that each chose later."""
        events = self.data.events
        later = self.data.positive & (events.time >= self.cut) & (events.arrival >= self.cut)
        later &= (events.time < self.until) & (events.item != UNKNOWN)
        later &= (events.user != UNKNOWN) & (self.rows.users[events.user] != UNKNOWN)
        if users is not None:
            later &= np.isin(events.user, users)
        chosen, query = np.unique(events.user[later], return_inverse=True)
        item = events.item[later]
        if not len(chosen):
            return chosen, Ragged.empty(0)
        times = np.full(len(chosen), self.cut, np.int64)
        retrieval = self.parts.cascade().retrieval
        exclude = retrieval.with_exclusions(self.parts.queries(chosen, times)).exclude
        free = ~exclude.contains(query, item)
        query, item = query[free], item[free]
        kept = np.unique(query)
        if len(kept) > USERS:
            kept = np.sort(np.random.default_rng(self.seed).choice(kept, USERS, replace=False))
        number = np.full(len(chosen), -1, np.int64)
        number[kept] = np.arange(len(kept))
        inside = number[query] >= 0
        positives = Ragged.from_pairs(number[query[inside]], item[inside], len(kept))
        return chosen[kept], positives

    def _shown(self, users: Int32, positives: Ragged) -> Ragged:
        """The items that each of the users was shown, or chose, in the time that is judged."""
        events = self.data.events
        later = (events.time >= self.cut) & (events.time < self.until) & (events.item != UNKNOWN)
        later &= np.isin(events.user, users)
        query = np.searchsorted(users, events.user[later])
        every = Ragged.from_pairs(query, events.item[later], len(users))
        return Ragged.union([every, positives])

    def _ranked_in_our_rows(self, ranked: Candidates) -> Candidates:
        return replace(ranked, item=self._in_our_rows(ranked.item))

    def _in_our_rows(self, items: Int32) -> Int32:
        """Item rows of the serving version as rows of the data; -1 for those that are gone."""
        ours = np.full(len(self.serving.items) + 1, UNKNOWN, np.int32)
        known = np.flatnonzero(self.rows.items != UNKNOWN)
        ours[self.rows.items[known]] = known
        return ours[items]

    def predictions(self, replay: Replay, hydrate: Hydrate) -> dict[str, TaskComparison]:
        """Metrics of the predictions for labelled rows of users and items that both know.

        hydrate: makes the rows of the new version.
        """
        user = self.rows.users[replay.queries.user[replay.candidates.query]]
        both = (user != UNKNOWN) & (self.rows.items[replay.candidates.item] != UNKNOWN)
        at = np.flatnonzero(both)[-ROWS:]
        if not len(at):
            return {}
        common = replace(
            replay,
            candidates=replay.candidates.take(at),
            labels=replay.labels[at],
            weights=None,
        )
        ours = _scores(common, hydrate, self.parts.rank)
        theirs = _scores(
            in_rows(common, self.rows), hydrate_of(self.serving, self._known), self.serving.rank
        )
        return {
            task.name: _compared(task, common.labels[:, t], ours[task.name], theirs[task.name])
            for t, task in enumerate(tasks_of(self.parts.config))
        }


class _Lists(NamedTuple):
    """Lists of one version, a row or a query per user, in the rows of the data."""

    slates: Int32
    """(Q, 10)."""
    shown: Candidates
    """Ranked candidates that the user was shown; empty of a log without impressions."""


def join_queries(parts: Sequence[Candidates]) -> Candidates:
    """The candidates of queries that follow one another, without columns."""
    sizes = [np.diff(part.indptr) for part in parts]
    indptr = np.concatenate([[0], *sizes]).cumsum().astype(np.int64)
    items = [part.item for part in parts]
    return Candidates(indptr, np.concatenate([np.zeros(0, np.int32), *items]), {})


def random_ndcg(lists: Candidates, positives: Ragged, k: int) -> NDArray[np.float64]:
    """(Q,) the NDCG@k that random orders of the lists have on average: each of n places holds one
    of r positives with probability r / n."""
    sizes = np.diff(lists.indptr)
    found = np.bincount(
        lists.query, weights=positives.contains(lists.query, lists.item), minlength=len(sizes)
    )
    discounts = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, k + 2)))])
    gains = found / np.maximum(sizes, 1) * discounts[np.minimum(sizes, k)]
    ideal = discounts[np.minimum(np.diff(positives.indptr), k)]
    return gains / np.maximum(ideal, discounts[1])


def condensed(ranked: Candidates, shown: Ragged, first: int = 0) -> Candidates:
    """The ranked candidates that the list of `shown` of their query holds, in their order.

    first: number in `shown` of the first query.
    """
    inside = shown.contains(ranked.query + first, ranked.item) & (ranked.item != UNKNOWN)
    return ranked.take(np.flatnonzero(inside))


def _scores(replay: Replay, hydrate: Hydrate, ranker: Any) -> dict[str, NDArray[np.float32]]:
    """{prediction: (n,)} in the order of the rows."""
    parts: list[Mapping[str, NDArray[np.float32]]] = [
        block.scores["rank"] for block in scored_blocks(replay, hydrate, {"rank": ranker})
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _compared(
    task: TaskConfig,
    label: NDArray[np.float32],
    ours: NDArray[np.float32],
    theirs: NDArray[np.float32],
) -> TaskComparison:
    known = ~np.isnan(label)
    label, ours, theirs = label[known], ours[known], theirs[known]
    binary = task.kind == "binary"
    measure = auc if binary else xauc
    positives = float((label > 0.5).sum()) if binary else float(len(label))
    found, former = measure(label, ours), measure(label, theirs)
    others = len(label) - positives if binary else positives
    observed = float(label.sum())
    return TaskComparison(
        rows=len(label),
        positives=positives,
        auc=found,
        auc_error=max(auc_error(area, positives, others) for area in (found, former)),
        serving_auc=former,
        calibration=float(ours.sum()) / observed if binary and observed else None,
        serving_calibration=float(theirs.sum()) / observed if binary and observed else None,
        rarer=min(positives, others) if binary else None,
    )


def auc_error(area: float, positives: float, negatives: float) -> float:
    """The standard error of an AUC (Hanley and McNeil 1982); NaN without rows of both classes."""
    if positives < 1 or negatives < 1:
        return float("nan")
    one, two = area / (2 - area), 2 * area**2 / (1 + area)
    spread = area * (1 - area) + (positives - 1) * (one - area**2)
    spread += (negatives - 1) * (two - area**2)
    return sqrt(max(spread, 0.0) / (positives * negatives))


def in_rows(replay: Replay, rows: FormerRows) -> Replay:
    """Labelled rows in the row numbers of a former version; what it does not know is left out of
    the histories, and its users and items must be known."""
    queries = replay.queries
    user = rows.users[queries.user]
    item = rows.items[replay.candidates.item]
    return replace(
        replay,
        queries=Queries(
            user,
            queries.time,
            _history(queries.history, rows.items),
            Ragged.empty(len(queries)),
            queries.context,
        ),
        candidates=replace(replay.candidates, item=item),
    )


def _history(history: History, rows: Int32) -> History:
    item = np.where(history.item >= 0, rows[history.item], UNKNOWN).astype(np.int32)
    kept = item != UNKNOWN
    places: Int64 = np.concatenate([[0], np.cumsum(kept)]).astype(np.int64)
    first, last = int(history.indptr[0]), int(history.indptr[-1])
    kept[:first] = kept[last:] = False
    return History(
        indptr=places[history.indptr] - places[first],
        item=item[kept],
        behaviour=history.behaviour[kept],
        time=history.time[kept],
        value=history.value[kept],
    )


def taken(replay: Replay, queries: Sequence[int] | Int64) -> Replay:
    """The labelled rows of some queries; the others have none."""
    kept = np.flatnonzero(np.isin(replay.candidates.query, queries))
    weights = None if replay.weights is None else replay.weights[kept]
    return replace(
        replay,
        candidates=replay.candidates.take(kept),
        labels=replay.labels[kept],
        weights=weights,
    )
