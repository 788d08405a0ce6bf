"""Judging the evaluation version on what came after its test cut."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from tamis._version import __version__
from tamis.bundle import Kind, Versions
from tamis.cascade import (
    Candidates,
    Outcome,
    Queries,
    candidate_labels,
    impression_window,
    tasks_of,
)
from tamis.data import UNKNOWN, Dataset, Ragged, item_categories, read_dataset
from tamis.evaluate import (
    StageRecord,
    TaskJudge,
    agreement,
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
from tamis.features import Histories
from tamis.runtime import Progress
from tamis.schema import DataError, prediction_names
from tamis.service import Parts, ProjectFolder, Recommender

SLATE = 10
DEPTH = 50
BATCH = 256
"""Queries that run through the cascade at once."""
EXPOSURE = (
    "This log records impressions, and users can only choose items that were shown to them. "
    "Metrics of slates therefore favour lists that resemble the policy that produced the log, and "
    "understate a ranker trained on impressions. Judge the ranker by its AUC on impressions, and "
    "the whole cascade by an A/B test."
)
REQUESTS = 500
"""Single requests that the latency is measured on, after a warm-up."""
AGREED = 512
"""Most requests in which the ranker values every candidate, to be compared with pre-rank's cut."""
AT_ONCE = 32
"""Of them, for all their candidates are ranked."""
IMPRESSIONS = 2_000_000
"""Most impressions of the test window that the ranker is judged on."""


@dataclass(frozen=True)
class Evaluation:
    """The result of `tamis evaluate`."""

    result: dict[str, Any]
    """The JSON of `tamis evaluate --json`; docs/evaluation.md says what each key means."""
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
"""What was left after each stage: the outcome's candidates, and how many of each query's."""


@dataclass(frozen=True, eq=False)
class _Asked:
    """What the cascade answered: of millions of candidates only what is judged."""

    slates: NDArray[np.int32]
    """(Q, DEPTH)."""
    record: StageRecord
    """The wanted items alone."""


@dataclass(frozen=True, eq=False)
class _Held:
    """The held-out truth, in the version's rows."""

    users: NDArray[np.int32]
    positives: Ragged
    with_history: NDArray[np.bool_]


def evaluate(
    project: Path | str, *, report: Path | str | None = None, progress: bool = False
) -> Evaluation:
    """Asks the evaluation version once per user at the test cut, and looks at what came after.

    Full catalogue, seen items masked, cold items count as misses. Writes an HTML report. Raises
    VersionError where nothing was trained, DataError where nothing positive came after the cut.
    """
    found = ProjectFolder(Path(project))
    with Progress("evaluate", progress) as steps:
        steps.begin("open the evaluation version")
        recommender = Recommender(Versions(found.root).current(Kind.EVALUATION))
        judge = _Judge(found, recommender, steps)
        result = judge.run()
        steps.begin("write the report")
        path = Path(report) if report is not None else found.root / "report.html"
        write_report(result, path)
    return Evaluation(result, path)


class _Judge:
    def __init__(self, project: ProjectFolder, recommender: Recommender, steps: Progress) -> None:
        self.recommender, self.parts = recommender, recommender.parts
        self.config = recommender.parts.config
        # By the version's own declaration and rows: both may have changed since it was trained.
        self.data = in_rows_of(self.parts, read_dataset(self.config, project.root)[0])
        self.shown = self.data.has_impressions
        self.cascade = recommender.cascade
        self.manifest = recommender.manifest
        self.cut = self.manifest.data_until
        self.steps = steps
        self.judge = TaskJudge(tasks_of(self.config))
        """Of the ranker's predictions."""

    def run(self) -> dict[str, Any]:
        held = self._held_out()
        known = held.with_history
        self.steps.begin("ask the cascade for every user")
        asked = self._ask(held)
        slates = asked.slates
        self.steps.begin("ask every channel alone")
        channels = self._channel_lists(held.users)
        positives = _pick(held.positives, known)
        ours = ndcg(slates[known], positives, SLATE)
        theirs = {name: ndcg(items[known], positives, SLATE) for name, items in channels.items()}
        self.steps.begin("judge the ranker")
        return {
            "project": self.config.name,
            "version": self.manifest.name,
            "protocol": self._protocol(held),
            "users": {
                "evaluated": int(known.sum()),
                "without_history": int((~known).sum()),
            },
            "cascade": _figures(slates[known], positives),
            "channels": {
                name: _figures(items[known], positives) for name, items in channels.items()
            },
            "without_history": _figures(slates[~known], _pick(held.positives, ~known)),
            "intervals": {
                name: paired_bootstrap(ours, other, seed=self.config.seed).to_dict()
                for name, other in theirs.items()
            },
            "stage_loss": stage_loss(positives, _pick_record(asked.record, known)),
            **self._agreement(held.users[known]),
            **self._beyond({"cascade": slates[known]} | {n: c[known] for n, c in channels.items()}),
            **self._ranker(),
            "latency_ms": self._latency(held.users[known]),
            "training": self.manifest.metrics["training"],
            "validation": self.manifest.metrics["validation"],
            "curves": self.manifest.metrics["curves"],
            "settings": self.manifest.settings,
            "notes": [EXPOSURE] if self.shown else [],
        }

    def _held_out(self) -> _Held:
        """Per user the items of the positive events that happened and arrived after the cut."""
        events = self.data.events
        after = self.data.positive & (events.time >= self.cut) & (events.arrival >= self.cut)
        users, query = np.unique(events.user[after], return_inverse=True)
        if not len(users):
            raise DataError(
                "no positive event came after the test cut: there is nothing to judge by; "
                "see [split] test_from in tamis.toml"
            )
        positives = Ragged.from_pairs(query, events.item[after], len(users))
        queries = self._queries(users)
        # What the user knows already cannot be recommended, so finding it is not asked.
        new = ~queries.exclude.contains(positives.query, positives.values)
        positives = Ragged.from_pairs(positives.query[new], positives.values[new], len(users))
        asked = np.diff(positives.indptr) > 0
        liked = np.array([b.positive for b in self.data.behaviours])[queries.history.behaviour]
        past = np.concatenate([[0], np.cumsum(liked)])
        has_past = np.diff(past[queries.history.indptr]) > 0
        return _Held(users[asked], _pick(positives, asked), has_past[asked])

    def _queries(self, users: NDArray[np.int32]) -> Queries:
        queries = self.parts.queries(users, np.full(len(users), self.cut, dtype=np.int64))
        return self.cascade.retrieval.with_exclusions(queries)

    def _ask(self, held: _Held) -> _Asked:
        slates: list[NDArray[np.int32]] = []
        wanted: dict[str, list[Any]] = {name: [] for name in _STAGES}
        for start in range(0, len(held.users), BATCH):
            queries = self._queries(held.users[start : start + BATCH])
            outcome = self.cascade.run(queries, DEPTH)
            slates.append(outcome.slate.matrix(DEPTH))
            for name, (stage, most) in _STAGES.items():
                candidates = getattr(outcome, stage)
                wanted[name].append(_wanted(candidates, most, held.positives, start))
            if not self.shown:
                self._candidates(outcome, start)
        record = {
            name: Ragged.from_pairs(
                np.concatenate([query for query, _ in pairs]),
                np.concatenate([item for _, item in pairs]),
                len(held.users),
            )
            for name, pairs in wanted.items()
        }
        return _Asked(np.concatenate(slates), StageRecord(**record))

    def _agreement(self, users: NDArray[np.int32]) -> dict[str, Any]:
        if self.cascade.prerank is None or not len(users):
            return {}
        self.steps.begin("ask the ranker about all that pre-rank cut")
        spread = users[np.linspace(0, len(users) - 1, min(AGREED, len(users))).astype(np.int64)]
        parts = (spread[at : at + AT_ONCE] for at in range(0, len(spread), AT_ONCE))
        return {"prerank": agreement(self.cascade, map(self._queries, parts))}

    def _channel_lists(self, users: NDArray[np.int32]) -> dict[str, NDArray[np.int32]]:
        queries = self._queries(users)
        return {
            name: channel.recall(queries, DEPTH).item
            for name, channel in self.cascade.retrieval.channels.items()
        }

    def _beyond(self, slates: dict[str, NDArray[np.int32]]) -> dict[str, dict[str, float]]:
        """Coverage, diversity and popularity bias of the cascade and of each channel."""
        events = self.data.events
        known = events.take((events.arrival < self.cut) & self.data.seen)
        counts = np.bincount(known.item[known.item != UNKNOWN], minlength=len(self.parts.items))
        items = self.config.items
        spread = {n: coverage(s, len(self.parts.items), SLATE) for n, s in slates.items()}
        bias = {n: mean(popularity(s, counts, SLATE)) for n, s in slates.items()}
        if items.category is None:
            return {"coverage": spread, "popularity": bias}
        codes = _codes(item_categories(self.parts.items, items.category, items.category_separator))
        variety = {n: mean(diversity(s, codes, SLATE)) for n, s in slates.items()}
        return {"coverage": spread, "diversity": variety, "popularity": bias}

    def _ranker(self) -> dict[str, Any]:
        """Each task's metrics, on impressions where the log has them; see `--stage rank`."""
        if self.shown:
            self._impressions()
        each = self.judge.result()
        first, *_ = each
        return {
            "ranker": {key: each[first][key] for key in ("auc", "logloss") if key in each[first]}
            | {"rows": each[first]["rows"]},
            "ranker_tasks": each,
            "calibration": [vars(b) for b in self.judge.curve(first)],
        }

    def _candidates(self, outcome: Outcome, start: int) -> None:
        """Judges the ranked candidates of the queries from number `start` on."""
        ranked, queries = outcome.ranked, outcome.queries
        window = (self.cut, self.data.end)
        labels = candidate_labels(self.config, self.data, window, queries, ranked)
        scores = {
            name: ranked.predictions[name] for name in prediction_names(tasks_of(self.config))
        }
        self.judge.add(labels, scores, queries.user[ranked.query], ranked.query + start)

    def _impressions(self) -> None:
        """Judges the impressions after the cut, each with inputs as of its own time."""
        histories, window = Histories.of(self.data), (self.cut, self.data.end)
        rows = impression_window(self.config, self.data, histories, window, IMPRESSIONS)
        for part in scored_blocks(rows, self.parts, self.data, {"rank": self.parts.rank}):
            self.judge.add(part.labels, part.scores["rank"], part.users, part.requests)

    def _latency(self, users: NDArray[np.int32]) -> dict[str, Any]:
        """Single requests in process, one after the other, one thread."""
        self.steps.begin("measure single requests")
        asked = np.resize(users, REQUESTS + 30) if len(users) else np.full(60, UNKNOWN, np.int32)
        ids = self.parts.users.ids
        took: list[float] = []
        stages: list[dict[str, float]] = []
        with one_thread():
            for row in asked:
                user = None if row == UNKNOWN else ids[int(row)]
                start = perf_counter()
                answer = self.recommender.recommend(user)
                took.append((perf_counter() - start) * 1000)
                stages.append(answer.seconds)
        measured = np.array(took[30:])
        return {
            "p50": round(float(np.percentile(measured, 50)), 3),
            "p99": round(float(np.percentile(measured, 99)), 3),
            "requests": len(measured),
            "threads": 1,
            **_by_stage(stages[30:], float(measured.mean())),
        }

    def _protocol(self, held: _Held) -> dict[str, Any]:
        return {
            "split": "global time split by share of events",
            "test_from": self.config.split.test_from,
            "cut": str(np.datetime64(self.cut, "ms")),
            "queries": "one per user at the cut; users with a positive event after it",
            "positives": "items of the user's positive behaviours after the cut, unseen before it",
            "positive_behaviours": [b.name for b in self.data.behaviours if b.positive],
            "candidates": f"full catalogue, {len(self.parts.items)} items",
            "seen_masked": True,
            "cold_targets": "counted as misses",
            "ties": "by place in the candidate list",
            "users": "with a positive event before the cut; others are reported separately",
            "settings": "chosen on the validation window before the test cut, then refitted on "
            "everything before it",
            "ranker_judged_on": "impressions after the cut, inputs as of each one's time"
            if self.shown
            else "the candidates that reached the ranker at the cut",
            "slate": SLATE,
            "positives_held_out": len(held.positives.values),
            "seed": self.config.seed,
            "tamis": __version__,
        }


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread, as a service's worker runs it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _by_stage(laps: list[dict[str, float]], total: float) -> dict[str, dict[str, float]]:
    """Mean milliseconds per stage, and each stage's share of the whole request (`total` ms)."""
    names = dict.fromkeys(name for lap in laps for name in lap)
    mean_ms = {n: 1000 * sum(lap.get(n, 0.0) for lap in laps) / len(laps) for n in names}
    mean_ms["other"] = total - sum(mean_ms.values())  # ids, the history, the answer
    return {
        "stages": {name: round(ms, 4) for name, ms in mean_ms.items()},
        "shares": {name: round(ms / total, 4) for name, ms in mean_ms.items()},
    }


def _figures(lists: NDArray[np.int32], positives: Ragged) -> dict[str, float]:
    return {
        f"ndcg@{SLATE}": mean(ndcg(lists, positives, SLATE)),
        f"hit@{SLATE}": mean(hit(lists, positives, SLATE)),
        f"recall@{DEPTH}": mean(recall(lists, positives, DEPTH)),
    }


def _wanted(
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
        name: None if lists is None else _pick(lists, where) for name, lists in vars(record).items()
    }
    return StageRecord(**kept)


def _pick(lists: Ragged, where: NDArray[np.bool_]) -> Ragged:
    return Ragged.of([lists[int(q)] for q in np.flatnonzero(where)])


def in_rows_of(parts: Parts, data: Dataset) -> Dataset:
    """The data in a version's row numbers, without events of users and items it does not hold."""
    user, item = parts.users.rows(data.users.ids), parts.items.rows(data.items.ids)
    events = data.events
    events = replace(events, user=user[events.user], item=item[events.item])
    held = (events.user != UNKNOWN) & (events.item != UNKNOWN)
    return Dataset(parts.users, parts.items, events.take(held), data.behaviours)


def _codes(lists: pl.Series) -> Ragged:
    """Each item's category names as codes."""
    sizes = lists.list.len().to_numpy().astype(np.int64)
    names = lists.explode(empty_as_null=False) if sizes.sum() else pl.Series([], dtype=pl.String)
    codes = (names.rank("dense") - 1).cast(pl.Int32).to_numpy()
    return Ragged(np.concatenate([[0], np.cumsum(sizes)]), codes)
