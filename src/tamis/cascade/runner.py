"""Runs queries through the stages, checks the result of each stage, keeps what the trace needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from tamis.cascade.arrangement import Slates
from tamis.cascade.budgets import StageBudgets
from tamis.cascade.candidates import Candidates
from tamis.cascade.fallbacks import Fallbacks, listed_candidates
from tamis.cascade.guard import Guard
from tamis.cascade.insertion import with_all_inserted, with_inserted
from tamis.cascade.known_rows import KnownRows
from tamis.cascade.merge import merge
from tamis.cascade.order import RECALL_ORDER, CandidateOrder
from tamis.cascade.protocols import (
    Channel,
    Filter,
    ReadsColumns,
    ReportsDegraded,
    Reranker,
    Scorer,
)
from tamis.cascade.query import Queries, Recalled
from tamis.cascade.reranking import arrange
from tamis.data import Ragged
from tamis.features import Rows
from tamis.runtime import Bool, Float32
from tamis.schema import CascadeConfig, StageError


class Hydrator(Protocol):
    """Turns candidates into model inputs; the same code for replays and requests."""

    def __call__(self, queries: Queries, candidates: Candidates) -> Rows: ...


Fuse = Callable[[Candidates, Mapping[str, Float32]], Float32]
"""(candidates, their predictions) → the value (n,) that orders them."""

Factors = Callable[[Queries, Candidates], Float32]
"""(queries, candidates) → the factor (n,) by which a request boosts each one's value."""


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
    slates: Slates
    degraded: list[str] = field(default_factory=list[str])
    """What failed and was left out."""
    seconds: dict[str, float] = field(default_factory=dict[str, float])
    excluded: Mapping[str, Ragged] = field(default_factory=dict[str, Ragged])
    """For each filter that can list them: the items that no channel could recall."""
    rows: Rows | None = None
    """The ranker's inputs, of the candidates `preranked`; None where they failed."""

    @property
    def slate(self) -> Candidates:
        """The candidates that are shown."""
        return self.slates.candidates


@dataclass(eq=False)
class Retrieval:
    """Recall, merge and filters: from queries to the candidates that may be shown."""

    config: CascadeConfig
    channels: Mapping[str, Channel]
    filters: Mapping[str, Filter]
    fallbacks: Fallbacks | None = None
    """What a request is answered with where its channels fail; None: an empty list."""
    known: KnownRows | None = None
    """Rows that stages without `update_items` or `update_users` know, while a version serves; None:
    there are no new ones."""

    def candidates(self, queries: Queries) -> tuple[Queries, Candidates]:
        """For replays: the queries with their exclusions, and the candidates after the filters.

        A failing channel raises, because a model must not be trained on degraded recall.
        """
        queries = self.with_exclusions(queries)
        recalled = self.recall(queries, Guard(), StageTimer())
        return queries, self.filter(queries, recalled)[1]

    def recall(self, queries: Queries, guard: Guard, clock: StageTimer) -> Candidates:
        """The merged lists of all channels, without those that failed or were left out, where
        `guard` lets it."""
        found: dict[str, Recalled] = {}
        for name, channel in self.channels.items():
            quota = self.config.channels[name].quota
            asked = self.asked(channel, queries)
            listed = guard(f"recall:{name}", partial(channel.recall, asked, quota), None)
            if listed is not None:
                found[name] = listed
            clock.lap(f"recall:{name}")
        empty = Candidates(np.zeros(len(queries) + 1, np.int64), np.zeros(0, np.int32))
        merged = guard("merge", partial(self.merge, found), empty, timed=False) if found else empty
        if guard.degrade and not len(merged) and len(found) < len(self.channels):
            merged = self._fallback(queries, guard, merged)
        clock.lap("merge")
        return merged

    def asked(self, stage: object, queries: Queries) -> Queries:
        """The queries as a stage gets them."""
        return queries if self.known is None else self.known.for_stage(stage, queries)

    def _fallback(self, queries: Queries, guard: Guard, none: Candidates) -> Candidates:
        """The candidates of the first fallback that has any; `none` without fallbacks."""
        if self.fallbacks is None:
            return none
        for name, rows in self.fallbacks.lists(queries):
            items = guard("fallback", rows, none.item, timed=False)
            limit = self.config.prerank_keep
            listed = listed_candidates(queries, items, self.channels, limit)
            if len(listed):
                guard.notes.append(f"recall: channels failed and no other found items; {name}")
                return listed
        return none

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

    def filter(
        self, queries: Queries, recalled: Candidates, guard: Guard | None = None
    ) -> tuple[dict[str, Bool], Candidates]:
        """{filter: (n,) True where it removed the candidate}, and the candidates that all keep.

        A filter that fails removes nothing, where `guard` lets it.
        """
        guard = guard or Guard()
        removed: dict[str, Bool] = {}
        keep = np.ones(len(recalled), dtype=bool)
        for name, rule in self.filters.items():
            keep_of = partial(_kept, name, rule, self.asked(rule, queries), recalled)
            stays = guard(f"filter:{name}", keep_of, None, timed=False)
            if stays is not None:
                removed[name] = keep & ~stays
                keep &= stays
        return removed, recalled if keep.all() else recalled.take(np.flatnonzero(keep))

    def with_exclusions(self, queries: Queries) -> Queries:
        """Adds the items that filters can list in advance, so that quotas are spent on others."""
        return _without(queries, self.exclusions(queries, Guard()))

    def exclusions(self, queries: Queries, guard: Guard) -> dict[str, Ragged]:
        """{filter: the items that it lists in advance}, of those that can list them."""
        found: dict[str, Ragged] = {}
        for name, rule in self.filters.items():
            listed = partial(rule.excluded, self.asked(rule, queries))
            excluded = guard(f"filter:{name}", listed, None, timed=False)
            if excluded is not None:
                found[name] = excluded
        return found


def _without(queries: Queries, excluded: Mapping[str, Ragged]) -> Queries:
    return queries.excluding(Ragged.union([queries.exclude, *excluded.values()]))


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
    budgets: StageBudgets = field(default_factory=StageBudgets)
    """The stages' time budgets, and counts of what failed or was left out."""

    @property
    def config(self) -> CascadeConfig:
        return self.retrieval.config

    def run(
        self, queries: Queries, n: int, *, degrade: bool = False, boost: Factors | None = None
    ) -> Outcome:
        """Answers every query with at most `n` items.

        Args:
            boost: factors on the value that orders the candidates, before re-rank; the column
                `boost` keeps them.
            degrade: what a failing stage does. False: its error is raised, as in an evaluation.
                True, for requests: the answer does without it and names it in `degraded`, and
                stages have time budgets. A channel, a filter or a re-rank rule is left out, and
                where no channel finds an item they are replaced by popular items; the ranker is
                replaced by the order of pre-rank, and both by that of recall.
        """
        clock, guard = StageTimer(), Guard(degrade, self.budgets)
        excluded = self.retrieval.exclusions(queries, guard)
        queries = _without(queries, excluded)
        recalled = self.retrieval.recall(queries, guard, clock)
        recalled = with_inserted(self.rerank, queries, recalled, guard)
        removed, kept = self.retrieval.filter(queries, recalled, guard)
        clock.lap("filter")
        rows = guard("features", partial(self._gathered, queries, kept), None)
        clock.lap("features")
        preranked, kept, rows = self._prerank(queries, kept, rows, guard)
        clock.lap("prerank")
        if rows is not None and not rows.gathered:  # pre-rank has read some of the columns alone
            rows = guard("features:rank", rows.gather, None)
            clock.lap("features")
        ranked = self._rank(queries, preranked, rows, guard)
        if boost is not None:
            ranked = boosted(ranked, boost(queries, ranked))
        clock.lap("rank")
        slates = arrange(self.rerank, queries, ranked, n, guard, self.retrieval.known)
        clock.lap("rerank")
        return Outcome(
            queries=queries,
            recalled=recalled,
            removed=removed,
            kept=kept,
            preranked=preranked,
            ranked=ranked,
            slates=slates,
            degraded=guard.notes,
            seconds=clock.seconds,
            excluded=excluded,
            rows=rows,
        )

    def rearranged(self, outcome: Outcome, n: int, boost: Factors | None = None) -> Slates:
        """The slates that this cascade makes of the ranked candidates of another one, from which
        its fusion, its order and its re-rank rules differ; for requests, as `run` with `degrade`.
        """
        guard, queries, ranked = (
            Guard(degrade=True, budgets=self.budgets),
            outcome.queries,
            outcome.ranked,
        )
        if ranked.predictions:  # without the ranker, both are in the order of pre-rank
            work = partial(self._fused, "rank", queries, ranked, ranked.predictions, guard.notes)
            valued = guard("rank", work, None)
            if valued is not None:
                ranked = ranked.with_columns(value=valued.value)
                ranked = ranked.take(ranked.best("value", len(ranked)))
                if boost is not None:
                    ranked = boosted(ranked, boost(queries, ranked))
        slates = arrange(self.rerank, queries, ranked, n, guard, self.retrieval.known)
        outcome.degraded.extend(note for note in guard.notes if note not in outcome.degraded)
        return slates

    def remember(self, outcome: Outcome) -> None:
        """Keeps the slate of a request without failures: if all channels fail later, it is shown
        again."""
        fallbacks = self.retrieval.fallbacks
        if fallbacks is not None and not outcome.degraded:
            fallbacks.remember(outcome.queries, outcome.slate)

    def rank_values(self, queries: Queries, candidates: Candidates) -> Float32:
        """(n,) the ranker's fused value of any candidates, such as those that pre-rank removed."""
        rows = self.hydrate(queries, candidates)
        return self._valued("rank", self.rank, queries, candidates, rows, []).value

    def _gathered(self, queries: Queries, candidates: Candidates) -> Rows:
        """The candidates' inputs, of which those are gathered that the next scorer reads."""
        rows, scorer = self.hydrate(queries, candidates), self.prerank or self.rank
        names = scorer.reads(rows.layout) if isinstance(scorer, ReadsColumns) else None
        return rows.gather(names)

    def _prerank(
        self, queries: Queries, kept: Candidates, rows: Rows | None, guard: Guard
    ) -> tuple[Candidates, Candidates, Rows | None]:
        """The candidates that pre-rank keeps, all with its scores, and the rows of the kept ones.

        rows: None where the features failed.
        """
        scorer, value = self.prerank, None
        if scorer is None:
            return kept, kept, rows
        if rows is not None:
            inputs = rows

            def prerank() -> Float32:
                wide = inputs if self.widen is None else self.widen(queries, kept, inputs)
                return self._valued("prerank", scorer, queries, kept, wide, guard.notes).value

            value = guard("prerank", prerank, None)
        kept = kept.with_columns(prerank=_recall_order(kept) if value is None else value)
        index = with_all_inserted(kept, kept.best("prerank", self.config.prerank_keep))
        return kept.take(index), kept, None if rows is None else rows.select(index)

    def _rank(
        self, queries: Queries, candidates: Candidates, rows: Rows | None, guard: Guard
    ) -> Candidates:
        """The candidates, best first; by pre-rank, or by recall, where the ranker failed."""
        valued = None
        if rows is not None:
            work = partial(self._valued, "rank", self.rank, queries, candidates, rows, guard.notes)
            valued = guard("rank", work, None)
        if valued is None:
            value = candidates.columns.get("prerank")
            value = _recall_order(candidates) if value is None else value
            ranked = candidates.with_columns(value=value)
            return ranked.take(ranked.best("value", len(ranked)))
        ranked = candidates.with_predictions(valued.predictions).with_columns(value=valued.value)
        if self.order.channels or self.config.cold_start == "recall":
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
        # `isinstance` of a protocol is slow: only scorers that may have the property are asked
        if hasattr(scorer, "degraded") and isinstance(scorer, ReportsDegraded):
            degraded.extend(f"{stage}: {note}" for note in scorer.degraded)
        return self._fused(stage, queries, candidates, scores, degraded)

    def _fused(
        self,
        stage: str,
        queries: Queries,
        candidates: Candidates,
        scores: Mapping[str, Float32],
        degraded: list[str],
    ) -> _Valued:
        """The values of predictions, by the fusion and the order."""
        value = _checked(f"{stage} fusion", self.fusion(candidates, scores), len(candidates))
        broken = int((~np.isfinite(value)).sum())
        if broken:
            degraded.append(f"{stage}: {broken} candidates have no finite score and rank last")
            value = np.where(np.isfinite(value), value, -np.inf).astype(np.float32)
        order = self._cold_start(queries, candidates, self.order(candidates, value))
        return _Valued(dict(scores), value, order)

    def order_text(self, queries: Queries) -> str:
        """What orders the candidates of one query, in words."""
        return RECALL_ORDER if self._by_recall(queries)[0] else self.order.text

    def _by_recall(self, queries: Queries) -> Bool:
        """(Q,) whether recall orders the candidates: queries without any history, where the ranker
        has learnt nothing of such users (`cold_start = "recall"`)."""
        if self.config.cold_start == "rank":
            return np.zeros(len(queries), np.bool_)
        return np.diff(queries.history.indptr) == 0

    def _cold_start(self, queries: Queries, candidates: Candidates, score: Float32) -> Float32:
        """The score, or 1 ÷ the place in recall's list for queries that recall orders."""
        unknown = self._by_recall(queries)[candidates.query]
        if not unknown.any():
            return score
        return np.where(unknown, _recall_order(candidates), score).astype(np.float32)


def with_factors(value: Float32, factor: Float32) -> Float32:
    """(n,) values multiplied by `factor` (n,), all above 0.

    A negative value is divided, so that a factor above 1 always raises; -inf stays last.
    """
    return np.where(value < 0, value / factor, value * factor).astype(np.float32)


def boosted(ranked: Candidates, factor: Float32) -> Candidates:
    """The candidates, best first, with their `value` multiplied by the factors of the request."""
    value = with_factors(np.asarray(ranked.columns["value"], np.float32), factor)
    ranked = ranked.with_columns(value=value, boost=factor)
    return ranked.take(ranked.best("value", len(ranked)))


def _kept(name: str, rule: Filter, queries: Queries, recalled: Candidates) -> Bool:
    """(n,) the mask of a filter, with its shape checked."""
    stays = rule.keep(queries, recalled)
    if stays.shape != (len(recalled),):
        raise StageError(
            f"filter {name} returned mask {stays.shape} for {(len(recalled),)} candidates"
        )
    return stays


def _recall_order(candidates: Candidates) -> Float32:
    """(n,) 1 ÷ the place in recall's list."""
    if not len(candidates):  # a list that no channel made has no column of places
        return np.zeros(0, np.float32)
    place = np.asarray(candidates.columns["recall"], np.float64)
    return (1 / place).astype(np.float32)


class _Valued(NamedTuple):
    """What a scorer says of the candidates, each (n,)."""

    predictions: dict[str, Float32]
    fused: Float32
    """The fusion of the predictions."""
    value: Float32
    """What orders them: the fused value, combined with channels where the order says so."""


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
