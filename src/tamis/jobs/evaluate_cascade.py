"""`tamis evaluate`: the whole cascade evaluated on the events after the test cut."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis._version import __version__
from tamis.bundle import Kind, Manifest, Versions
from tamis.cascade import (
    Candidates,
    Queries,
    candidate_labels,
    context_before,
    impression_window,
    returning_users,
    tasks_of,
)
from tamis.data import UNKNOWN, Context, Ragged, item_categories
from tamis.evaluate import (
    StageRecord,
    TaskEvaluation,
    agreement,
    compare_coverage,
    coverage,
    diversity,
    hit,
    mean,
    ndcg,
    paired_bootstrap,
    popularity,
    recall,
    scored_blocks,
    stage_loss,
    write_report,
)
from tamis.features import Histories, RowCoverage
from tamis.jobs._known_items import known_items, known_share, listing, masking
from tamis.jobs._latency import measured_latency
from tamis.jobs._rerank_effect import NEW_DAYS, RerankEffect, cold_share, new_share
from tamis.jobs._true_worth import TrueWorth
from tamis.jobs._version_data import hydrate_of, in_rows_of, labels_of, until
from tamis.runtime import Progress
from tamis.schema import DataError, prediction_names
from tamis.service import ProjectFolder, Recommender

SLATE = 10
DEPTH = 50
BATCH = 256
"""Queries that run through the cascade in one batch."""
EXPOSURE = (
    "This log records impressions, and users can only choose items that were shown to them. "
    "Metrics of slates therefore favour lists that resemble the policy that produced the log, and "
    "understate a ranker trained on impressions. Judge the ranker by its AUC on impressions, and "
    "the whole cascade by an A/B test."
)
MANY_MASKED = 0.2
"""Share of the positives after the cut that filters remove from which on a note says so."""
AGREEMENT_REQUESTS = 512
"""Most requests in which the ranker scores all candidates, to be compared with pre-rank."""
AGREEMENT_BATCH = 32
"""Of these requests so many are ranked at once, as each has thousands of candidates."""
RANKED_USERS = 5_000
"""Most users whose ranked candidates the ranker is evaluated on, of logs without impressions."""
IMPRESSIONS = 2_000_000
"""Most impressions of the test window that the ranker is evaluated on."""
DAY_MS, FAR = 86_400_000, 1 << 62
COVERAGE_ROWS = 200_000
"""Recalled candidates, about, among which the values of features are counted."""


@dataclass(frozen=True)
class Evaluation:
    """The result of `tamis evaluate cascade`."""

    result: dict[str, Any]
    """The JSON of `tamis evaluate --json`; docs/evaluation.md describes each key."""
    report: Path
    """The HTML report."""

    def to_dict(self) -> dict[str, Any]:
        return self.result


_STAGES = {
    "recalled": ("recalled", None),
    "filtered": ("kept", None),
    "preranked": ("preranked", None),
    "ranked": ("ranked", SLATE),
    "slate": ("slate", SLATE),
}
"""{stage: (field of the outcome that holds its candidates, how many of each query count)}."""


@dataclass(frozen=True, eq=False)
class _Answers:
    """The answers of the cascade: of millions of candidates only those that are evaluated."""

    slates: NDArray[np.int32]
    """(Q, DEPTH) recommended items."""
    ranked: NDArray[np.int32]
    """(Q, SLATE) the first items by the ranker's value, before re-rank."""
    record: StageRecord
    """The held-out items that were left after each stage."""


@dataclass(frozen=True, eq=False)
class _HeldOut:
    """The held-out positive items per user, in the version's row numbers."""

    users: NDArray[np.int32]
    positives: Ragged
    with_history: NDArray[np.bool_]
    masked: float
    """Share of the positive items after the cut that filters remove, so that these are no
    targets."""


def evaluate(
    project: Path | str, *, report: Path | str | None = None, progress: bool = False
) -> Evaluation:
    """Recommends to every user at the test cut and compares with the events after it.

    Full catalogue; what filters list in advance (seen items) is masked and no target; cold items
    count as misses. Writes an HTML report.

    Args:
        project: folder with a `tamis.toml` and an evaluation version.
        report: file of the HTML report; None for `report.html` in the project.
        progress: whether progress is shown on standard error.

    Raises VersionError if nothing was trained, DataError if no positive event is after the cut.
    """
    found = ProjectFolder(Path(project))
    with Progress("evaluate", progress) as steps:
        steps.begin("open the evaluation version")
        recommender = Recommender(Versions(found.root).current(Kind.EVALUATION))
        result = CascadeEvaluator(found, recommender, steps).run()
        steps.begin("write the report")
        path = Path(report) if report is not None else found.root / "report.html"
        write_report(result, path)
    return Evaluation(result, path)


class CascadeEvaluator:
    """Evaluates an opened evaluation version: slates, channels, stages, the ranker, latency."""

    def __init__(self, project: ProjectFolder, recommender: Recommender, steps: Progress) -> None:
        self.recommender, self.parts = recommender, recommender.parts
        self.folder = project.root
        self.config = recommender.parts.config
        # By the version's own configuration and rows: tamis.toml and the tables may have changed.
        self.data = in_rows_of(self.parts, project.read(self.config)[0])
        self.has_impressions = self.data.has_impressions
        self.cascade = recommender.cascade
        self.manifest = recommender.manifest
        self.cut = self.manifest.data_until
        self.steps = steps
        self.ranker_metrics = TaskEvaluation(tasks_of(self.config))
        self.coverage = RowCoverage(self.parts.space.features)
        self.rerank = RerankEffect(self.cascade, SLATE)

    def run(self) -> dict[str, Any]:
        held = self._held_out()
        known = held.with_history
        self.steps.begin("recommend to every user")
        answers = self._recommend(held)
        slates = answers.slates
        self.steps.begin("recall from every channel alone")
        channels = self._channel_lists(held.users)
        positives = pick(held.positives, known)
        of_cascade = ndcg(slates[known], positives, SLATE)
        of_channels = {
            name: ndcg(items[known], positives, SLATE) for name, items in channels.items()
        }
        self.steps.begin("evaluate the ranker")
        return {
            "project": self.config.name,
            "version": self.manifest.name,
            "protocol": self._protocol(held),
            "users": {
                "evaluated": int(known.sum()),
                "without_history": int((~known).sum()),
            },
            "cascade": _slate_metrics(slates[known], positives),
            "channels": {
                name: _slate_metrics(items[known], positives) for name, items in channels.items()
            },
            "without_history": _slate_metrics(slates[~known], pick(held.positives, ~known)),
            "intervals": {
                name: paired_bootstrap(of_cascade, other, seed=self.config.seed).to_dict()
                for name, other in of_channels.items()
            },
            "stage_loss": stage_loss(positives, _pick_record(answers.record, known)),
            **self._agreement(held.users[known]),
            **self._rerank_effect(held),
            **self._list_metrics(
                {"cascade": slates[known]} | {n: c[known] for n, c in channels.items()}
            ),
            **self._truth(held.users[known], answers, known, channels),
            **self._ranker_result(),
            **self._feature_coverage(),
            "latency_ms": self._latency(held.users[known]),
            "training": self.manifest.metrics["training"],
            "validation": self.manifest.metrics["validation"],
            "curves": self.manifest.metrics["curves"],
            "settings": self.manifest.settings,
            "notes": [
                *([EXPOSURE] if self.has_impressions else []),
                *_order_note(self.manifest),
                *_masked_note(held),
            ],
        }

    def _held_out(self) -> _HeldOut:
        """Per user the items of positive events that happened and arrived after the cut."""
        events = self.data.events
        after = self.data.positive & (events.time >= self.cut) & (events.arrival >= self.cut)
        users, query = np.unique(events.user[after], return_inverse=True)
        if not len(users):
            raise DataError(
                "no positive event is after the test cut, so there is nothing to evaluate on; "
                "lower [split] test_from in tamis.toml"
            )
        positives = Ragged.from_pairs(query, events.item[after], len(users))
        queries = self._queries(users)
        # Items that a filter lists (seen, bought) cannot be recommended, so they are no targets.
        new = ~queries.exclude.contains(positives.query, positives.values)
        masked = 1 - float(new.mean())
        positives = Ragged.from_pairs(positives.query[new], positives.values[new], len(users))
        evaluated = np.diff(positives.indptr) > 0
        liked = np.array([b.positive for b in self.data.behaviours])[queries.history.behaviour]
        past = np.concatenate([[0], np.cumsum(liked)])
        has_past = np.diff(past[queries.history.indptr]) > 0
        return _HeldOut(users[evaluated], pick(positives, evaluated), has_past[evaluated], masked)

    @cached_property
    def _contexts(self) -> Context | None:
        """Every user's last context known at the cut."""
        users = np.arange(len(self.parts.users), dtype=np.int32)
        return context_before(self.data, users, np.full(len(users), self.cut, dtype=np.int64))

    def _queries(self, users: NDArray[np.int32]) -> Queries:
        context = None if self._contexts is None else self._contexts.take(users.tolist())
        queries = self.parts.queries(users, np.full(len(users), self.cut, dtype=np.int64), context)
        return self.cascade.retrieval.with_exclusions(queries)

    def _recommend(self, held: _HeldOut) -> _Answers:
        slates: list[NDArray[np.int32]] = []
        ranked: list[NDArray[np.int32]] = []
        found: dict[str, list[Any]] = {name: [] for name in _STAGES}
        for start in range(0, len(held.users), BATCH):
            queries = self._queries(held.users[start : start + BATCH])
            outcome = self.cascade.run(queries, DEPTH)
            self.rerank.add(outcome)
            slates.append(outcome.slate.matrix(DEPTH))
            ranked.append(outcome.ranked.matrix(SLATE))
            for name, (stage, most) in _STAGES.items():
                candidates = getattr(outcome, stage)
                found[name].append(_held_out_among(candidates, most, held.positives, start))
        record = {
            name: Ragged.from_pairs(
                np.concatenate([query for query, _ in pairs]),
                np.concatenate([item for _, item in pairs]),
                len(held.users),
            )
            for name, pairs in found.items()
        }
        return _Answers(np.concatenate(slates), np.concatenate(ranked), StageRecord(**record))

    def _agreement(self, users: NDArray[np.int32]) -> dict[str, Any]:
        if self.cascade.prerank is None or not len(users):
            return {}
        self.steps.begin("rank all candidates that pre-rank removed")
        spread = users[
            np.linspace(0, len(users) - 1, min(AGREEMENT_REQUESTS, len(users))).astype(np.int64)
        ]
        parts = (spread[at : at + AGREEMENT_BATCH] for at in range(0, len(spread), AGREEMENT_BATCH))
        return {"prerank": agreement(self.cascade, map(self._queries, parts))}

    def _truth(
        self,
        users: NDArray[np.int32],
        answers: _Answers,
        known: NDArray[np.bool_],
        channels: dict[str, NDArray[np.int32]],
    ) -> dict[str, Any]:
        """What the slates are truly worth, of a simulated project."""
        if not TrueWorth.known(self.folder) or not len(users):
            return {}
        self.steps.begin("judge slates by the simulation's truth")
        truth = TrueWorth(self.folder, self.parts, self.cut)
        slates, ranked = answers.slates[known][:, :SLATE], answers.ranked[known]
        alone = {name: lists[known][:, :SLATE] for name, lists in channels.items()}
        return {"truth": truth.result(users, ranked, slates, alone, self.config.seed)}

    def _channel_lists(self, users: NDArray[np.int32]) -> dict[str, NDArray[np.int32]]:
        queries = self._queries(users)
        return {
            name: channel.recall(queries, DEPTH).item
            for name, channel in self.cascade.retrieval.channels.items()
        }

    def _list_metrics(self, slates: dict[str, NDArray[np.int32]]) -> dict[str, dict[str, float]]:
        """Coverage, diversity and popularity bias of the lists of the cascade and each channel."""
        counts = self._known_counts()
        items = self.config.items
        spread = {n: coverage(s, len(self.parts.items), SLATE) for n, s in slates.items()}
        bias = {n: mean(popularity(s, counts, SLATE)) for n, s in slates.items()}
        if items.category is None:
            return {"coverage": spread, "popularity": bias}
        codes = category_codes(
            item_categories(self.parts.items, items.category, items.category_separator)
        )
        variety = {n: mean(diversity(s, codes, SLATE)) for n, s in slates.items()}
        return {"coverage": spread, "diversity": variety, "popularity": bias}

    def _rerank_effect(self, held: _HeldOut) -> dict[str, Any]:
        """What re-rank gains and loses, over all evaluated users."""
        counts = self._known_counts()
        metrics: dict[str, Any] = {
            f"ndcg@{SLATE}": lambda slates: mean(ndcg(slates, held.positives, SLATE)),
            "coverage": lambda slates: coverage(slates, len(self.parts.items), SLATE),
            "popularity": lambda slates: mean(popularity(slates, counts, SLATE)),
            "cold": lambda slates: cold_share(slates, counts),
        }
        items, new = self.config.items, self._new_items()
        if new is not None:
            metrics["new_items"] = lambda slates: new_share(slates, new)
            metrics["new_exposure"] = lambda slates: new_share(slates, new, seen=True)
        if items.category is not None:
            lists = item_categories(self.parts.items, items.category, items.category_separator)
            codes = category_codes(lists)
            metrics["diversity"] = lambda slates: mean(diversity(slates, codes, SLATE))
        return self.rerank.result(metrics)

    def _new_items(self) -> NDArray[np.bool_] | None:
        """(items,) those published in the last days before the cut; None without their times."""
        table, column = self.parts.items, self.config.items.published
        if column is None or column not in table:
            return None
        age = self.cut - table.frame[column].cast(pl.Int64).fill_null(FAR).to_numpy()
        return (age >= 0) & (age < NEW_DAYS * DAY_MS)

    def _known_counts(self) -> NDArray[np.int64]:
        """(items,) events known at the cut, impressions left out."""
        events = self.data.events
        known = events.take((events.arrival < self.cut) & self.data.seen)
        return np.bincount(known.item[known.item != UNKNOWN], minlength=len(self.parts.items))

    def _ranker_result(self) -> dict[str, Any]:
        """Each task's metrics, on impressions if the log has them; see `tamis evaluate rank`."""
        if self.has_impressions:
            self._add_impressions()
        else:
            self._add_candidates()
        each = self.ranker_metrics.result()
        first, *_ = each
        return {
            "ranker": {key: each[first][key] for key in ("auc", "logloss") if key in each[first]}
            | {"rows": each[first]["rows"]},
            "ranker_tasks": each,
            "calibration": [vars(b) for b in self.ranker_metrics.curve(first)],
        }

    def _add_candidates(self) -> None:
        """Adds the ranked candidates of the users who return within the horizon.

        Users and labels are chosen as those of the training rows: events within one horizon of the
        query count, and users need no positive event.
        """
        window = (self.cut, until(self.manifest, self.data))
        users = returning_users(self.data, Histories.of(self.data), window)
        if len(users) > RANKED_USERS:
            random = np.random.default_rng(self.config.seed)
            users = np.sort(random.choice(users, RANKED_USERS, replace=False))
        for start in range(0, len(users), BATCH):
            outcome = self.cascade.run(self._queries(users[start : start + BATCH]), DEPTH)
            ranked, queries = outcome.ranked, outcome.queries
            labels = candidate_labels(self.config, self.data, window, queries, ranked)
            scores = {
                name: ranked.predictions[name] for name in prediction_names(tasks_of(self.config))
            }
            self.ranker_metrics.add(
                labels, scores, queries.user[ranked.query], ranked.query + start
            )
            if self.coverage.rows < COVERAGE_ROWS:  # of the rows that training had: all recalled
                self.coverage.add(self.cascade.hydrate(queries, outcome.kept))

    def _add_impressions(self) -> None:
        """Adds the impressions after the cut, each with inputs as of its own time."""
        histories, window = Histories.of(self.data), (self.cut, self.data.end)
        rows = impression_window(self.config, self.data, histories, window, IMPRESSIONS)
        for part in scored_blocks(
            rows, hydrate_of(self.parts, self.data), {"rank": self.parts.rank}
        ):
            self.ranker_metrics.add(part.labels, part.scores["rank"], part.users, part.requests)
            self.coverage.add(part.inputs)

    def _feature_coverage(self) -> dict[str, Any]:
        """Shares of the training and of the test rows that have a value of each feature."""
        trained = self.manifest.metrics.get("coverage", {})  # earlier releases lack it
        fitted = self.parts.space.coverage()
        return {"features": compare_coverage(fitted, trained, self.coverage.result())}

    def _latency(self, users: NDArray[np.int32]) -> dict[str, Any]:
        self.steps.begin("measure single requests")
        return measured_latency(self.recommender, users)

    def _protocol(self, held: _HeldOut) -> dict[str, Any]:
        queries = self._queries(held.users)
        known = known_items(queries, self.data)
        names = listing(self.cascade.retrieval.filters, queries.part(0, min(1, len(queries))))
        masked = masking(known, queries.exclude, names)
        return {
            "split": "global time split by share of events",
            "test_from": self.config.split.test_from,
            "cut": str(np.datetime64(self.cut, "ms")),
            "queries": "one per user at the cut; users with a positive event after it",
            "positives": "items of the user's positive behaviours after the cut"
            + (f", without {masked['masked']}" if names else ", those known before included"),
            "positive_behaviours": [b.name for b in self.data.behaviours if b.positive],
            "candidates": f"full catalogue, {len(self.parts.items)} items",
            **masked,
            "known_targets": known_share(known, held.positives),
            "masked_targets": held.masked,
            "cold_targets": "counted as misses",
            "ties": "by place in the candidate list",
            "users": "with a positive event before the cut; others are reported separately",
            "settings": "chosen on the validation window before the test cut, then refitted on "
            "everything before it",
            "ranker_judged_on": "impressions after the cut, inputs as of each one's time"
            if self.has_impressions
            else "the candidates that reached the ranker at the cut",
            "ranker_labels": labels_of(
                self.cut, until(self.manifest, self.data), impressions=self.has_impressions
            ),
            "slate": SLATE,
            "positives_held_out": len(held.positives.values),
            "seed": self.config.seed,
            "tamis": __version__,
        }


def _order_note(manifest: Manifest) -> list[str]:
    """What orders the candidates and why, where training has chosen it."""
    why = str((manifest.settings.get("order") or {}).get("why") or "")
    return [f"{why[0].upper()}{why[1:]}."] if why else []


def _masked_note(held: _HeldOut) -> list[str]:
    """A note where filters remove many of the items that users came back to."""
    if held.masked < MANY_MASKED:
        return []
    return [
        f"{held.masked:.0%} of the positive items after the cut are removed by filters of known "
        "items, so they are no targets. If users come back to items, leave `seen` out of "
        "[cascade.filters] or name its `behaviours`, and add the recall channel `again`."
    ]


def _slate_metrics(lists: NDArray[np.int32], positives: Ragged) -> dict[str, float]:
    return {
        f"ndcg@{SLATE}": mean(ndcg(lists, positives, SLATE)),
        f"hit@{SLATE}": mean(hit(lists, positives, SLATE)),
        f"recall@{DEPTH}": mean(recall(lists, positives, DEPTH)),
    }


def _held_out_among(
    candidates: Candidates, most: int | None, positives: Ragged, start: int
) -> tuple[Any, Any]:
    """The held-out items among each query's first `most` candidates, as (query, item) pairs."""
    query, item = candidates.query + start, candidates.item
    keep = positives.contains(query, item)
    if most is not None:
        keep &= np.arange(len(item)) - candidates.indptr[query - start] < most
    return query[keep], item[keep]


def _pick_record(record: StageRecord, where: NDArray[np.bool_]) -> StageRecord:
    kept: dict[str, Any] = {
        name: None if lists is None else pick(lists, where) for name, lists in vars(record).items()
    }
    return StageRecord(**kept)


def pick(lists: Ragged, where: NDArray[np.bool_]) -> Ragged:
    return Ragged.of([lists[int(q)] for q in np.flatnonzero(where)])


def category_codes(lists: pl.Series) -> Ragged:
    """Each item's category names as codes."""
    sizes = lists.list.len().to_numpy().astype(np.int64)
    names = lists.explode(empty_as_null=False) if sizes.sum() else pl.Series([], dtype=pl.String)
    codes = (names.rank("dense") - 1).cast(pl.Int32).to_numpy()
    return Ragged(np.concatenate([[0], np.cumsum(sizes)]), codes)
