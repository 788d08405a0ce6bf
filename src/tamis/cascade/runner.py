"""Runs queries through the stages, checks the result of each stage, keeps what the trace needs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from tamis.cascade.candidates import Candidates
from tamis.cascade.merge import merge
from tamis.cascade.order import CandidateOrder
from tamis.cascade.protocols import Channel, Filter, ReportsDegraded, Reranker, Scorer
from tamis.cascade.query import Queries, Recalled
from tamis.data import Ragged
from tamis.features import Rows
from tamis.runtime import Bool, Float32
from tamis.schema import CascadeConfig, StageError

log = logging.getLogger("tamis.cascade")


class Hydrator(Protocol):
    """Turns candidates into model inputs; the same code for replays and requests."""

    def __call__(self, queries: Queries, candidates: Candidates) -> Rows: ...


Fuse = Callable[[Candidates, Mapping[str, Float32]], Float32]
"""(candidates, their predictions) → the value (n,) that orders them."""


class Widen(Protocol):
    """Adds inputs to rows: the vectors of a channel."""

    def __call__(self, queries: Queries, candidates: Candidates, rows: Rows) -> Rows: ...


@dataclass(eq=False)
class Outcome:
    """The result of a batch of queries: the candidates after every stage."""

    queries: Queries
    recalled: Candidates
    """After the merge."""
    removed: dict[str, Bool]
    """For each filter: (n,) True where it removed the candidate of `recalled`."""
    kept: Candidates
    """After the filters; with the column `prerank` where the cascade has a pre-ranker."""
    preranked: Candidates
    ranked: Candidates
    """Best first by `value`, with the predictions of the tasks; with the column `fused` where the
    value is combined with channels."""
    slate: Candidates
    degraded: list[str] = field(default_factory=list[str])
    """What failed and was left out."""
    seconds: dict[str, float] = field(default_factory=dict[str, float])


@dataclass(eq=False)
class Retrieval:
    """Recall, merge and filters: from queries to the candidates that may be shown."""

    config: CascadeConfig
    channels: Mapping[str, Channel]
    filters: Mapping[str, Filter]

    def candidates(self, queries: Queries) -> tuple[Queries, Candidates]:
        """For replays: the queries with their exclusions, and the candidates after the filters.

        A failing channel raises, because a model must not be trained on degraded recall.
        """
        queries = self.with_exclusions(queries)
        recalled = self.recall(queries, None, StageTimer())
        return queries, self.filter(queries, recalled)[1]

    def recall(self, queries: Queries, degraded: list[str] | None, clock: StageTimer) -> Candidates:
        """The merged lists of all channels.

        The error of a failing channel is added to `degraded`; it is raised where that is None.
        """
        found: dict[str, Recalled] = {}
        for name, channel in self.channels.items():
            try:
                found[name] = channel.recall(queries, self.config.channels[name].quota)
            except Exception as error:
                if degraded is None:
                    raise
                log.exception("recall channel %s failed", name)
                degraded.append(f"recall:{name}: {type(error).__name__}: {error}")
            clock.lap(f"recall:{name}")
        if not found:  # every channel failed: `degraded` says why the answer is empty
            return Candidates(np.zeros(len(queries) + 1, np.int64), np.zeros(0, np.int32))
        merged = self.merge(found)
        clock.lap("merge")
        return merged

    def merge(self, found: Mapping[str, Recalled]) -> Candidates:
        """Merges the lists of some or all channels by their quotas and weights."""
        channels = self.config.channels
        return merge(
            found,
            quotas={name: c.quota for name, c in channels.items()},
            weights={name: c.weight for name, c in channels.items()},
            method=self.config.merge.method,
            normalise=self.config.merge.normalise,
            limit=self.config.merge.limit,
            fallback=[name for name, c in channels.items() if c.fallback],
        )

    def filter(self, queries: Queries, recalled: Candidates) -> tuple[dict[str, Bool], Candidates]:
        """{filter: (n,) True where it removed the candidate}, and the candidates that all keep."""
        removed: dict[str, Bool] = {}
        keep = np.ones(len(recalled), dtype=bool)
        for name, rule in self.filters.items():
            stays = rule.keep(queries, recalled)
            if stays.shape != keep.shape:
                raise StageError(
                    f"filter {name} returned mask {stays.shape} for {keep.shape} candidates"
                )
            removed[name] = keep & ~stays
            keep &= stays
        return removed, recalled if keep.all() else recalled.take(np.flatnonzero(keep))

    def with_exclusions(self, queries: Queries) -> Queries:
        """Adds the items that filters can list in advance, so that quotas are spent on others."""
        lists = [queries.exclude]
        for rule in self.filters.values():
            excluded = rule.excluded(queries)
            if excluded is not None:
                lists.append(excluded)
        return queries.excluding(Ragged.union(lists))


@dataclass(eq=False)
class Cascade:
    """The assembled stages. A batch of Q queries runs as one; a request is a batch of one."""

    retrieval: Retrieval
    hydrate: Hydrator
    prerank: Scorer | None
    rank: Scorer
    fusion: Fuse
    rerank: Mapping[str, Reranker]
    widen: Widen | None = None
    """Adds the vectors of a recall channel for a pre-ranker that reads them."""
    order: CandidateOrder = field(default_factory=CandidateOrder)
    """What the fused value is combined with, in pre-rank and rank."""

    @property
    def config(self) -> CascadeConfig:
        return self.retrieval.config

    def run(self, queries: Queries, n: int) -> Outcome:
        """Answers every query with at most `n` items."""
        clock = StageTimer()
        degraded: list[str] = []
        queries = self.retrieval.with_exclusions(queries)
        recalled = self.retrieval.recall(queries, degraded, clock)
        removed, kept = self.retrieval.filter(queries, recalled)
        clock.lap("filter")
        rows = self.hydrate(queries, kept)
        clock.lap("features")
        preranked, kept, rows = self._prerank(queries, kept, rows, degraded)
        clock.lap("prerank")
        ranked = self._rank(queries, preranked, rows, degraded)
        clock.lap("rank")
        slate = arrange(self.rerank, queries, ranked, n)
        clock.lap("rerank")
        return Outcome(
            queries, recalled, removed, kept, preranked, ranked, slate, degraded, clock.seconds
        )

    def rank_values(self, queries: Queries, candidates: Candidates) -> Float32:
        """(n,) the ranker's fused value of any candidates, such as those that pre-rank removed."""
        rows = self.hydrate(queries, candidates)
        return self._valued("rank", self.rank, queries, candidates, rows, []).value

    def _prerank(
        self, queries: Queries, kept: Candidates, rows: Rows, degraded: list[str]
    ) -> tuple[Candidates, Candidates, Rows]:
        if self.prerank is None:
            return kept, kept, rows
        inputs = rows if self.widen is None else self.widen(queries, kept, rows)
        valued = self._valued("prerank", self.prerank, queries, kept, inputs, degraded)
        kept = kept.with_columns(prerank=valued.value)
        index = kept.best("prerank", self.config.prerank_keep)
        return kept.take(index), kept, rows.select(index)

    def _rank(
        self, queries: Queries, candidates: Candidates, rows: Rows, degraded: list[str]
    ) -> Candidates:
        valued = self._valued("rank", self.rank, queries, candidates, rows, degraded)
        ranked = candidates.with_predictions(valued.predictions).with_columns(value=valued.value)
        if self.order.channels:
            ranked = ranked.with_columns(fused=valued.fused)
        return ranked.take(ranked.best("value", len(ranked)))

    def _valued(
        self,
        stage: str,
        scorer: Scorer,
        queries: Queries,
        candidates: Candidates,
        rows: Rows,
        degraded: list[str],
    ) -> _Valued:
        """A scorer's predictions and values; pre-rank and rank share one fusion and one order."""
        scores = {
            task: _checked(f"{stage} task {task}", score, len(candidates))
            for task, score in scorer.score_rows(rows).items()
        }
        value = _checked(f"{stage} fusion", self.fusion(candidates, scores), len(candidates))
        if isinstance(scorer, ReportsDegraded):
            degraded.extend(f"{stage}: {note}" for note in scorer.degraded)
        broken = int((~np.isfinite(value)).sum())
        if broken:
            degraded.append(f"{stage}: {broken} candidates have no finite score and rank last")
            value = np.where(np.isfinite(value), value, -np.inf).astype(np.float32)
        order = self._cold_start(queries, candidates, self.order(candidates, value))
        return _Valued(scores, value, order)

    def _cold_start(self, queries: Queries, candidates: Candidates, score: Float32) -> Float32:
        """The score, or 1 ÷ the place in recall's list for queries without any history where the
        ranker has learnt nothing of such users (`cold_start = "recall"`)."""
        if self.config.cold_start == "rank":
            return score
        unknown = (np.diff(queries.history.indptr) == 0)[candidates.query]
        if not unknown.any():
            return score
        place = np.asarray(candidates.columns["recall"], dtype=np.float32)
        return np.where(unknown, 1 / place, score).astype(np.float32)


class _Valued(NamedTuple):
    """What a scorer says of the candidates, each (n,)."""

    predictions: dict[str, Float32]
    fused: Float32
    """The fusion of the predictions."""
    value: Float32
    """What orders them: the fused value, combined with channels where the order says so."""


def arrange(
    rules: Mapping[str, Reranker], queries: Queries, ranked: Candidates, n: int
) -> Candidates:
    """The slates: the first `n` candidates of each query after the re-rank rules, in their order.

    `ranked` holds the candidates best first, with the column `value`. Raises StageError where a
    rule adds, drops or repeats candidates.
    """
    slate = ranked
    for name, rule in rules.items():
        order, note = rule.arrange(queries, slate, n)
        if not np.array_equal(np.sort(order), np.arange(len(slate))):
            raise StageError(f"re-rank rule {name} must return a permutation of its candidates")
        if len(queries) > 1 and not np.array_equal(slate.query[order], slate.query):
            raise StageError(f"re-rank rule {name} moved candidates from one query to another")
        slate = slate.with_columns(**{f"rerank:{name}": note}).take(order)
    place = np.arange(len(slate)) - np.repeat(slate.indptr[:-1], np.diff(slate.indptr))
    return slate.take(np.flatnonzero(place < n))


class StageTimer:
    """Measures the seconds of each stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = perf_counter()

    def lap(self, name: str) -> None:
        """Adds the time since the last call to stage `name`."""
        now = perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._last
        self._last = now


def _checked(stage: str, score: NDArray[np.generic], n: int) -> Float32:
    if score.shape != (n,):
        raise StageError(f"{stage} returned {score.shape} scores for {n} candidates")
    return score.astype(np.float32, copy=False)
