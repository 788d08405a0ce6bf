"""An open version that answers requests: external ids in, an explained slate out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, NamedTuple
from uuid import uuid4

import numpy as np

from tamis.bundle import Kind, Manifest, Version, Versions
from tamis.cascade import (
    HIDDEN,
    Cascade,
    Context,
    GivenOrder,
    Outcome,
    Queries,
    ReadsContext,
    StageBudgets,
    Trace,
    interleaved,
    rank_given,
    seed_of,
    trace,
)
from tamis.data import CITY, MISSING, UNKNOWN, Ragged, one_id
from tamis.experiments import Running
from tamis.runtime import Int32
from tamis.schema import ConfigError, ExperimentConfig, RequestError, reading
from tamis.service import registry
from tamis.service.answer import Answer, Place, Reason, WhyNot, title_of, titles_of, unknown_item
from tamis.service.arms import ArmCascades, ArmChange, check_interleaving
from tamis.service.assembly import STORED_CONFIG, Parts
from tamis.service.clock import Clock, system_clock
from tamis.service.deltas import AppliedDeltas
from tamis.service.effort import candidate_counts, lowered
from tamis.service.online import bind, remember
from tamis.service.ranking import Ranking, RemovedItem, ranked_items
from tamis.service.rehearsal import rehearse
from tamis.service.request import RankRequest, Request
from tamis.service.request_boost import request_boost
from tamis.service.request_diversity import diversified
from tamis.service.request_filter import RequestCondition, filtered, request_filter
from tamis.service.request_pins import pinned
from tamis.service.similar import Similar, SimilarList
from tamis.service.views import Views

Moment = tuple[int, Literal["request", "now", "data"]]
"""A time in ms and where it is from."""

CLOCK_DIFFERENCE = 60_000
"""Milliseconds that a client's clock, and the way to the service, may put a request before an event
that the service has taken: it is answered for the time after that event."""


class Answered(NamedTuple):
    """An answer, and what an explanation of it needs."""

    answer: Answer
    request: Request
    cascade: Cascade
    """The stages that answered, a condition of the request included."""
    outcome: Outcome
    excluded: Mapping[str, Int32]
    """Why items could not be in the answer, filters apart → their rows."""
    new_ids: Callable[[Int32], Mapping[int, str]]
    """Of item rows (n,), those that came after the version was made → their ids."""
    id_of: Callable[[int], str]
    """The id of an item row."""
    effort: float = 1.0
    """Share of the candidates that the answer is made of."""


class Recommender:
    """Answers requests from one version. Opening one checks its files (`Version.check`) and maps
    them into memory; a version is never changed.

    Args:
        version: the version to open.
        clock: gives "now", the default time of a request where the project has `clock = "now"`.
        store: address of the journal that the views will follow; "" for the project's own.

    Raises VersionError where the version is damaged.
    """

    def __init__(self, version: Version, clock: Clock = system_clock, store: str = "") -> None:
        self._version = version
        self._hold = version.hold()
        self._clock = clock
        self.store = store
        self.parts = Parts.open(version)
        bind(self.parts, version)
        own = store in ("", self.parts.config.journal.store)
        position = version.manifest.journal_position if own else None
        self.views = Views(self.parts, version.manifest.data_until, position)
        """What changes while the version serves; a `LiveRecommender` keeps it up to date."""
        self.deltas = AppliedDeltas(version, self.parts, self.views)
        """What incremental updates have changed in the version; `catch_up` applies what is new."""
        with reading(version.path / STORED_CONFIG):
            self.cascade = self.parts.cascade()
        self.arms = ArmCascades(
            self.parts, self.cascade, version.path, self._follow, self.parts.release
        )
        """The cascade as arms of experiments change it."""

    @classmethod
    def open(
        cls,
        project: Path | str,
        kind: Kind = Kind.SERVING,
        clock: Clock = system_clock,
        store: str = "",
    ) -> Recommender:
        """The current version of a project. Raises VersionError where there is none."""
        registry.look_in(project)  # a project's own stages lie beside its tamis.toml
        return cls(Versions(Path(project)).current(kind), clock, store)

    @property
    def version(self) -> str:
        """Name of the version."""
        return self._version.name

    @property
    def project(self) -> Path:
        """The project's folder."""
        return self._version.path.parent.parent  # PROJECT/versions/NAME

    @property
    def versions_folder(self) -> Path:
        """The folder of all versions of the project."""
        return self._version.path.parent

    @property
    def manifest(self) -> Manifest:
        """The manifest of the version: kind, data range, settings, metrics."""
        return self._version.manifest

    def recommend(
        self,
        request: Request | object = None,
        n: int | None = None,
        *,
        effort: float = 1.0,
        **fields: Any,
    ) -> Answer:
        """The slate for one request.

            recommender.recommend(Request.of(user_id=42, n=10, explain=True))
            recommender.recommend(42, 10, explain=True)      # the same

        Args:
            request: a `Request`, or the external id of a user.
            n: number of items, where `request` is a user id.
            effort: share of the candidates that the answer is made of, above 0; below 1 it takes
                less time, and `degraded` says so.
            fields: further fields of `Request`, where `request` is a user id.

        Raises RequestError where a field is wrong, `why_not` names no item of this version, or
        `time` is before the end of the version's data or before an event that came since: models
        and statistics know everything up to then, so an answer for an earlier time would use later
        events.
        """
        if not isinstance(request, Request):
            request = Request.of(user_id=request, n=n, **fields)
        return self.answer(request, effort).answer

    def answer(
        self,
        request: Request,
        effort: float = 1.0,
        arms: Sequence[ArmChange] = (),
        against: Sequence[ArmChange] | None = None,
    ) -> Answered:
        """As `recommend`, with what an explanation of the answer needs later.

        Args:
            arms: what the arms of experiments change for this request; see `ArmCascades`.
            against: the arms of the other ranking of an interleaved slate; None: the slate is not
                interleaved. `teams` of the answer then has 0 for places that `arms` filled, else 1.
        """
        start = perf_counter()
        user_id = one_id(request.user_id)
        row = self.views.user_row(user_id)
        explained = None if request.why_not is None else self._item(request.why_not)
        time, clock = self._moment(request)
        context = self._context(request)
        cascade = self.arms.of(arms)
        boost, rules = request_boost(request.boost, self.parts, request.values)
        if request.filter:
            rules.append(request_filter(request, self.parts))
        n = cascade.config.slate if request.n is None else request.n

        def asked(cascade: Cascade) -> Cascade:
            """The cascade with what the request says of stages."""
            cascade = diversified(cascade, request.diversity)
            cascade = filtered(cascade, rules[-1]) if request.filter else cascade
            cascade = pinned(cascade, request.pins, n, self.parts, self.version)
            return lowered(cascade, effort, n)

        cascade = asked(cascade)
        recommendation_id = request.recommendation_id or uuid4().hex
        excluded = self._excluded(request.exclude_item_ids, row, time)
        queries = self._query(row, excluded, time, context)
        outcome = cascade.run(
            replace(queries, seed=seed_of(recommendation_id)),
            n,
            degrade=True,
            boost=boost,
        )
        teams: list[int] = []
        if against is not None:
            other = asked(self.arms.of(against)).rearranged(outcome, n, boost)
            seed = int(seed_of(recommendation_id)[0])
            outcome, teams = interleaved(outcome, other, n, seed)
        took = (perf_counter() - start) * 1000
        failed = () if request.dry_run else self._remember(outcome)
        answer = Answer(
            recommendation_id=recommendation_id,
            version=self.version,
            user_id=user_id,
            known=row != UNKNOWN,
            time=time,
            clock=clock,
            items=self._places(cascade, outcome, request.explain),
            took_ms=round(took, 3),
            degraded=(
                *([] if effort >= 1 else [f"load: made of {effort:.0%} of the candidates"]),
                *outcome.degraded,
                *failed,
                *self._unread(context, rules),
            ),
            delta=0 if self.deltas.state is None else self.deltas.state.number,
            broken_rules=tuple(map(str, outcome.slates.broken())),
            why_not=None
            if explained is None
            else self._why_not(cascade, outcome, explained, row, time),
            session_id=request.session_id,
            scene=request.scene,
            teams=tuple(map(str, teams)),
            seconds=outcome.seconds,
            candidates=candidate_counts(outcome),
            removed={name: int(np.count_nonzero(m)) for name, m in outcome.removed.items()},
        )
        items = self.views.items
        ids = (items.new_ids, items.table.id_of)
        return Answered(answer, request, cascade, outcome, excluded, *ids, effort)

    def check_arms(
        self, name: str, design: ExperimentConfig, running: Sequence[Running] = ()
    ) -> None:
        """Raises ConfigError where this version cannot have an arm of an experiment, alone or with
        one of the experiments that run in other layers."""
        own = {arm: ArmChange(name, arm, d.cascade) for arm, d in design.arms.items() if d.cascade}
        for arm, change in own.items():
            if design.arms[arm].version in ("", self.version):
                self.arms.of([change])
        if design.interleaving:
            for arm in design.arms:
                check_interleaving(self.arms.of([own[arm]] if arm in own else []))
        for other in running:
            if other.name == name or other.design.layer == design.layer:
                continue
            for arm, declared in other.design.arms.items():
                theirs = ArmChange(other.name, arm, declared.cascade)
                for change in own.values():
                    _check_apart(change, theirs)
                    if declared.cascade and declared.version in ("", self.version):
                        self.arms.of(sorted([change, theirs]))

    def _follow(self, stages: Sequence[object]) -> None:
        """Stages of arms take up new rows from now on, and first those since the version."""
        changed = (self.views.users.since_version(), self.views.items.since_version())
        self.parts.follow(stages, *changed)

    def _remember(self, outcome: Outcome) -> list[str]:
        """Keeps what later requests need of an answer; what failed."""
        self.cascade.remember(outcome)
        return remember(self.parts.channels, outcome)

    def warm_up(self) -> None:
        """Answers for a user of the version and for an unknown one, explains the answers, also what
        they lack, orders given items, and rehearses events, so that the first ones are as fast as
        later ones: code is compiled, files are mapped. Nothing is remembered, and the times of the
        stages do not count."""
        slate, cascade = (
            self.parts.config.cascade.slate,
            replace(self.cascade, budgets=StageBudgets()),
        )
        for row in {UNKNOWN, min(len(self.parts.users), 1) - 1}:
            now, user = self.now(), None if row == UNKNOWN else self.parts.users.id_of(row)
            outcome = cascade.run(self._query(row, {}, now, None), slate, degrade=True)
            self._places(cascade, outcome, explain=True)
            for item in range(min(len(self.parts.items), 2)):
                self._why_not(cascade, outcome, item, row, now)
                with suppress(RequestError):  # a table may hold ids that no request can name
                    asked = RankRequest.of(user_id=user, item_ids=[self.parts.items.id_of(item)])
                    self._ranked(cascade, asked)
        rehearse(self._version, self.parts, self.now())

    def rank(self, request: RankRequest) -> Ranking:
        """The request's items in the order of the ranker and the fusion, for one user.

        Filters take items out and are named; hidden items are among them, and those shown to the
        user lately, where the project has the filter `exposed`. Recall channels take no part.

        Raises RequestError where a field is wrong, an item is given twice, or the time cannot be
        answered for.
        """
        return self._ranked(self.cascade, request)

    def _ranked(self, cascade: Cascade, request: RankRequest) -> Ranking:
        start = perf_counter()
        user_id = one_id(request.user_id)
        row = self.views.user_row(user_id)
        time, clock = self._moment(request)
        context = self._context(request)
        boost, rules = request_boost(request.boost, self.parts, request.values)
        rows, unknown = self._given(request)
        queries, hidden = self.views.queries(row, time, context), self.views.excluded(row, time)
        order = rank_given(cascade, queries, rows, boost, hidden)
        return Ranking(
            version=self.version,
            user_id=user_id,
            known=row != UNKNOWN,
            time=time,
            clock=clock,
            items=ranked_items(order, self.parts.items, self._titles(order.ranked.item.tolist())),
            removed=self._removed(order, row, time),
            unknown=unknown,
            took_ms=round((perf_counter() - start) * 1000, 3),
            degraded=(*order.degraded, *self._unread(context, rules)),
        )

    def _given(self, request: RankRequest) -> tuple[Int32, tuple[str, ...]]:
        """The rows of the items of a request to order, and the ids that are not known."""
        ids = [str(one_id(item)) for item in request.item_ids]
        rows = self.parts.items.rows_of_texts(ids)
        twice = [item for item, times in Counter(ids).items() if times > 1]
        if twice:
            raise RequestError(
                f"item_ids holds {twice[0]!r} more than once: give each item once", "item_ids"
            )
        return rows[rows != UNKNOWN], tuple(
            item for item, row in zip(ids, rows, strict=True) if row == UNKNOWN
        )

    def _removed(self, order: GivenOrder, row: int, time: int) -> tuple[RemovedItem, ...]:
        filters = self.cascade.retrieval.filters
        names = list(order.removed)
        masks = np.array([order.removed[name] for name in names], np.bool_)
        removed: list[RemovedItem] = []
        for at in np.flatnonzero(masks.any(axis=0)):
            item = int(order.given.item[at])
            by = [name for name, mask in zip(names, masks, strict=True) if mask[at]]
            why = [
                str(self.views.why_excluded(row, time, item))
                if name == HIDDEN
                else str(filters[name].reason)
                for name in by
            ]
            title = self.title(item)
            removed.append(
                RemovedItem(str(self.parts.items.ids[item]), title, tuple(by), tuple(why))
            )
        return tuple(removed)

    def similar(self, item_id: object, n: int = 10, by: str | None = None) -> SimilarList:
        """The items nearest to an item, as they are now, without hidden ones; see `Similar`."""
        hidden = self.views.excluded(UNKNOWN, self.now())
        return Similar.of(self.version, self.parts, hidden).to_item(item_id, n, by)

    def now(self) -> int:
        """The time of the project's clock in ms, after everything that is known: with
        `clock = "data"`, just after the last event."""
        earliest = self.views.earliest
        return earliest if self.parts.config.clock == "data" else max(self._clock(), earliest)

    def _context(self, request: Request | RankRequest) -> Context | None:
        events = self.parts.config.events
        missing = MISSING if events.missing is None else events.missing
        return request.context_for(events.request_columns, missing)

    def _moment(self, request: Request | RankRequest) -> Moment:
        """The time to answer for. Raises RequestError for one that this version cannot answer."""
        if request.time is None:
            return self.now(), "data" if self.parts.config.clock == "data" else "now"
        end, earliest = self._version.manifest.data_until, self.views.earliest
        if request.time < end:
            raise RequestError(
                f"time = {request.time} is before {end}, the end of the data of version "
                f"{self.version}: its models and statistics have learnt from later events. "
                "Leave out `time`, or train a version up to that time",
                "time",
            )
        if request.time < earliest - CLOCK_DIFFERENCE:
            raise RequestError(
                f"time = {request.time} is before {earliest}: the statistics hold events that "
                "arrived up to then. Leave out `time`",
                "time",
            )
        return max(request.time, earliest), "request"

    def _excluded(self, exclude: Sequence[object], row: int, time: int) -> dict[str, Int32]:
        """Why items may not be in an answer to a user row, filters apart → their rows."""
        rows = self.parts.items.rows(exclude) if exclude else np.zeros(0, np.int32)
        return {
            "the request's exclusion list": rows[rows != UNKNOWN],
            **self.views.excluded_by(row, time),
        }

    def _query(
        self, row: int, excluded: Mapping[str, Int32], time: int, context: Context | None
    ) -> Queries:
        queries = self.views.queries(row, time, context)
        if not any(len(rows) for rows in excluded.values()):
            return queries
        return queries.excluding(Ragged.of([np.unique(np.concatenate(list(excluded.values())))]))

    def _unread(
        self, context: Context | None, rules: Sequence[RequestCondition] = ()
    ) -> Iterator[str]:
        """The fields of the request that no stage of this version and none of `rules` reads."""
        if context is None:
            return
        stages = [*self.parts.channels.values(), *self.parts.filters.values(), *rules]
        read = {word for stage in stages if isinstance(stage, ReadsContext) for word in stage.reads}
        space = self.parts.space
        read |= {"place"} if space.reads_place else set()
        read |= {CITY} & set(space.context_columns)
        given = {
            "interests": (any(context.interests), "channel", "declared interests"),
            "place": (bool(np.isfinite(context.latitude).any()), "channel", "latitude, longitude"),
            "city": (any(context.city), "channel or filter", "the request's city"),
        }
        for word, (present, stage, what) in given.items():
            if present and word not in read:
                yield f"{word}: no {stage} of this version reads {what}"
        for name, texts in context.columns.items():
            known = name in space.context_columns or name in read
            if texts.code.any() and not known and name != CITY:
                yield f"context: no feature of this version reads the column {name!r}"
        for name in (context.values or ({},))[0]:
            if name not in read:
                yield f"values: no filter of this version reads {name!r}"

    def _item(self, external: object) -> int:
        row = self.parts.items.row(external)
        if row == UNKNOWN:
            raise RequestError(unknown_item(self.parts.config, external, self.version), "why_not")
        return row

    def _places(self, cascade: Cascade, outcome: Outcome, explain: bool) -> tuple[Place, ...]:
        slate = outcome.slate
        rows, drawn = slate.item.tolist(), slate.columns.get("propensity")
        propensities = [None] * len(rows) if drawn is None else drawn.astype(np.float64).tolist()
        columns = (
            rows,
            [self.parts.items.id_of(row) for row in rows],
            self._titles(rows),
            slate.columns["value"].astype(np.float64).tolist(),
            propensities,
        )
        return tuple(
            Place(
                item_id=item_id,
                title=title,
                place=place,
                score=score,
                propensity=propensity,
                reasons=self.reason(trace(cascade, outcome, row)) if explain else None,
            )
            for place, (row, item_id, title, score, propensity) in enumerate(
                zip(*columns, strict=True), start=1
            )
        )

    def _why_not(
        self, cascade: Cascade, outcome: Outcome, item: int, row: int, time: int
    ) -> WhyNot:
        found = trace(cascade, outcome, item)
        excluded = self.views.why_excluded(row, time, item)
        if excluded is not None:
            found = replace(found, lost="filtered", detail=excluded)
        return WhyNot(
            item_id=self.parts.items.id_of(item),
            title=self.title(item),
            stage=found.lost,
            detail=found.detail,
            reasons=self.reason(found) if found.found or found.inserted_by else None,
        )

    def reason(self, found: Trace) -> Reason:
        """A trace in words, with titles and external ids."""
        return Reason(
            text=self._sentence(found),
            channels=tuple(
                {
                    "channel": f.channel,
                    "rank": f.rank,
                    "score": f.score,
                    "because": None if f.because is None else self.title(f.because),
                    "reason": f.reason,
                }
                for f in found.found
            ),
            prerank={"score": found.prerank, "place": found.prerank_place},
            predictions=found.predictions,
            value=found.value,
            value_place=found.value_place,
            rerank=found.rerank,
            fused=found.fused,
            order=found.order,
            boost=found.boost,
        )

    def _sentence(self, traced: Trace) -> str:
        """A channel's own words, or "because of" the history item that a channel names, or the
        channels that found it, or the re-rank rules that brought it along."""
        found = traced.found
        if not found:
            return "inserted by " + (", ".join(traced.inserted_by) or "a re-rank rule")
        reason = next((f.reason for f in found if f.reason is not None), None)
        if reason is not None:
            return reason
        because = next((f.because for f in found if f.because is not None), None)
        if because is not None:
            return f"because of {self.title(because)}"
        if not found:
            return "in place of the recall channels, which failed"
        return "found by " + ", ".join(f.channel for f in found)

    def _titles(self, items: Sequence[int]) -> list[str]:
        """As `title`, of some items."""
        return titles_of(self.parts.config, self.parts.items, items)

    def title(self, item: int) -> str:
        """The item's title, or its id where it has none."""
        return title_of(self.parts.config, self.parts.items, item)


def _check_apart(one: ArmChange, other: ArmChange) -> None:
    """Raises ConfigError where arms of two layers change the same key: one would undo the other."""
    for path in one.paths():
        for theirs in other.paths():
            n = min(len(path), len(theirs))
            if path[:n] == theirs[:n]:
                raise ConfigError(
                    f"tamis.toml: [{one.place}] {'.'.join(path)}: experiment {other.experiment!r} "
                    "of another layer changes it too, so one of the two would do nothing: declare "
                    "them in one layer, so that they exclude one another"
                )
