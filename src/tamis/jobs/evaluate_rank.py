"""`tamis evaluate rank`: the ranker and the pre-ranker evaluated on the test window."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tamis._version import __version__
from tamis.bundle import Kind, Versions
from tamis.cascade import REPLAY_USERS, Replay, impression_window, replay_window, tasks_of
from tamis.evaluate import (
    Bucketing,
    CalibrationBin,
    Known,
    TaskEvaluation,
    bucketings,
    compare_coverage,
    scored_blocks,
    write_rank_report,
)
from tamis.features import Histories, RowCoverage
from tamis.jobs._ranker_trial import gates_of
from tamis.jobs._version_data import hydrate_of, in_rows_of, labels_of, until
from tamis.jobs.evaluate_cascade import IMPRESSIONS
from tamis.runtime import Progress
from tamis.schema import DataError, TrainingError
from tamis.service import Parts, ProjectFolder, Recommender
from tamis.train import reason_lines

SEGMENT_SCORES = 1 << 16
"""Distinct scores that are kept apart in a segment; over all rows, four times as many."""
ALL = "all"


@dataclass(frozen=True)
class RankEvaluation:
    """The result of `tamis evaluate rank`."""

    result: dict[str, Any]
    """The JSON; docs/evaluation.md describes each key."""
    report: Path
    """The HTML report."""

    def to_dict(self) -> dict[str, Any]:
        return self.result


def evaluate_rank(
    project: Path | str, *, report: Path | str | None = None, progress: bool = False
) -> RankEvaluation:
    """Evaluates the predictions of the evaluation version's ranker and pre-ranker, and calibration.

    Rows are the impressions after the test cut, each with inputs as of its own time; for a log
    without impressions, the candidates that the channels recall at the cut for users with later
    events. Metrics are per task and segment, and streamed: beyond the rows, memory is constant.
    Writes an HTML report.

    Args:
        project: folder with a `tamis.toml` and an evaluation version.
        report: file of the HTML report; None for `rank.html` in the project.
        progress: whether progress is shown on standard error.

    Raises VersionError if nothing was trained, DataError if the test window holds no row.
    """
    found = ProjectFolder(Path(project))
    with Progress("evaluate rank", progress) as steps:
        steps.begin("open the evaluation version")
        recommender = Recommender(Versions(found.root).current(Kind.EVALUATION))
        result = RankEvaluator(found, recommender, steps).run()
        steps.begin("write the report")
        path = Path(report) if report is not None else found.root / "rank.html"
        write_rank_report(result, path)
    return RankEvaluation(result, path)


class RankEvaluator:
    """Evaluates the scorers of an opened evaluation version on the rows of the test window."""

    def __init__(self, project: ProjectFolder, recommender: Recommender, steps: Progress) -> None:
        self.recommender, self.steps = recommender, steps
        self.parts: Parts = recommender.parts
        self.config = self.parts.config
        steps.begin("read the tables")
        self.data = in_rows_of(self.parts, project.read(self.config)[0])
        self.has_impressions = self.data.has_impressions
        self.cut = recommender.manifest.data_until
        manifest = recommender.manifest
        self.until = self.data.end if self.has_impressions else until(manifest, self.data)
        self.tasks = tasks_of(self.config)
        self.coverage = RowCoverage(self.parts.space.features)
        self.models = {"rank": self.parts.rank}
        if self.parts.prerank is not None:
            self.models["prerank"] = self.parts.prerank

    def run(self) -> dict[str, Any]:
        self.steps.begin("make the test window's rows")
        rows = self._rows()
        known = Known.at(self.data, self.cut)
        buckets = bucketings(self.parts.space.features, self.parts.users, self.parts.items, known)
        metrics = self._metrics(rows, known, buckets)
        whole = {model: metrics[model, ALL] for model in self.models}
        segments = {
            segment: one.result()
            for (model, segment), one in metrics.items()
            if model == "rank" and segment != ALL
        }
        return {
            "project": self.config.name,
            "version": self.recommender.manifest.name,
            "protocol": self._protocol(rows),
            "kinds": {m.name: m.kind for m in whole["rank"].measured},
            "models": {model: one.result() for model, one in whole.items()},
            "segments": segments,
            "undefined": {
                **{model: one.undefined() for model, one in whole.items()},
                "segments": {
                    segment: one.undefined()
                    for (model, segment), one in metrics.items()
                    if model == "rank" and segment != ALL
                },
            },
            "calibration": self._calibration(whole["rank"], buckets),
            "features": self._feature_coverage(),
            "gates": gates_of(self.parts.rank),
            "notes": [*self._notes(rows), *_undefined_notes(whole)],
        }

    def _rows(self) -> Replay:
        """The labelled rows of the test window, in ascending order of users."""
        histories = Histories.of(self.data)
        try:
            if self.has_impressions:
                window = (self.cut, self.data.end)
                return impression_window(self.config, self.data, histories, window, IMPRESSIONS)
            return replay_window(
                self.config,
                self.data,
                histories,
                self.recommender.cascade.retrieval,
                (self.cut, self.until),
                self.config.seed,
            )
        except TrainingError as error:
            raise DataError(f"no rows to evaluate the ranker on: {error}") from error

    def _metrics(
        self, rows: Replay, known: Known, buckets: list[Bucketing]
    ) -> dict[tuple[str, str], TaskEvaluation]:
        """{(model, segment): metrics of all tasks}; segments other than ALL for the ranker only."""
        users = rows.queries.user[rows.candidates.query]
        segments = known.segments(users, rows.candidates.item)
        sizes = {b.feature: len(b.names) for b in buckets}
        metrics = {(model, ALL): TaskEvaluation(self.tasks, sizes) for model in self.models}
        for segment in segments:
            metrics["rank", segment] = TaskEvaluation(self.tasks, most=SEGMENT_SCORES)
        self.steps.begin(f"score {len(users):,} rows")
        done = 0
        for part in scored_blocks(rows, hydrate_of(self.parts, self.data), self.models):
            number = {b.feature: b.rows(part.users, part.items) for b in buckets}
            self.coverage.add(part.inputs)
            for model, scores in part.scores.items():
                metrics[model, ALL].add(part.labels, scores, part.users, part.requests, number)
            here = slice(done, done + len(part.labels))
            for segment, members in segments.items():
                its = members[here]
                scores = {name: values[its] for name, values in part.scores["rank"].items()}
                metrics["rank", segment].add(
                    part.labels[its], scores, part.users[its], part.requests[its]
                )
            done += len(part.labels)
            self.steps.update(done, len(users))
        return metrics

    def _feature_coverage(self) -> dict[str, Any]:
        """Shares of the training and of the test rows that have a value of each feature."""
        trained = self.recommender.manifest.metrics.get("coverage", {})  # earlier releases lack it
        return compare_coverage(self.parts.space.coverage(), trained, self.coverage.result())

    def _calibration(self, metrics: TaskEvaluation, buckets: list[Bucketing]) -> dict[str, Any]:
        """{task: reliability curve, and predicted and observed rates by buckets of features}."""
        names, measures = {b.feature: b.names for b in buckets}, metrics.result()
        return {
            task: {
                "curve": [vars(b) for b in metrics.curve(task, _bins(measures[task]))],
                "buckets": {
                    feature: [
                        {"bucket": name, **_bucket(bucket)}
                        for name, bucket in zip(names[feature], its, strict=True)
                        if bucket is not None
                    ]
                    for feature, its in features.items()
                },
            }
            for task, features in metrics.by_bucket().items()
        }

    def _protocol(self, rows: Replay) -> dict[str, Any]:
        return {
            "rows_are": "impressions after the test cut, with inputs as of each one's time"
            if self.has_impressions
            else "candidates recalled at the test cut, for users with history and an event in the "
            "horizon",
            "labels": labels_of(self.cut, self.until, impressions=self.has_impressions),
            "cut": str(np.datetime64(self.cut, "ms")),
            "until": str(np.datetime64(self.until, "ms")),
            "rows": len(rows.labels),
            "requests": len(rows.queries),
            "users": len(np.unique(rows.queries.user)),
            "left_out": rows.left_out,
            "trained_on": "events known at the cut; settings and calibration from the validation "
            "window before it",
            "calibration": self._maps(),
            "auc": "over all rows, ties half; exact up to 262,144 distinct scores (65,536 in a "
            "segment), beyond that within `auc_error`",
            "gauc": "AUC of each user, weighted by rows; users of one class are left out",
            "ndcg": "of the first 10 of each request; requests without a positive are left out",
            "ece": "over 10 bins of equally many rows",
            "segments": "by what was known at the cut: users without an event are new, items "
            "that were never shown or chosen are new; users with history in thirds by activity",
            "seed": self.config.seed,
            "tamis": __version__,
        }

    def _maps(self) -> dict[str, str]:
        """{task: how log-odds become probabilities}; {} if the ranker has no such maps."""
        maps = getattr(self.parts.rank, "calibrations", ())
        return {t.name: str(m) for t, m in zip(self.tasks, maps, strict=False)}

    def _notes(self, rows: Replay) -> list[str]:
        notes: list[str] = []
        if rows.left_out:
            what, most = (
                ("impressions", IMPRESSIONS) if self.has_impressions else ("users", REPLAY_USERS)
            )
            notes.append(f"{rows.left_out:,} {what} beyond {most:,} were left out")
        if not self.has_impressions:
            notes.append(
                "The log does not record impressions: a candidate without an event may never "
                "have been shown. Rates are those of recalled candidates, not of impressions."
            )
        return notes


def _undefined_notes(metrics: Mapping[str, TaskEvaluation]) -> list[str]:
    """A note per task and reason why metrics over all rows are undefined, each once."""
    found: dict[str, None] = {}
    for one in metrics.values():
        for task, reasons in one.undefined().items():
            found.update(dict.fromkeys(f"{task}: {line}." for line in reason_lines(reasons)))
    return list(found)


def _bins(values: Mapping[str, float]) -> int:
    """Number of bins of the reliability curve: at least ten positives in each, 2 to 12 bins."""
    return int(min(max(values["positives"] // 10, 2), 12))


def _bucket(bucket: CalibrationBin) -> dict[str, float]:
    """Rows, predicted rate, observed rate and their ratio."""
    pcoc = bucket.predicted / bucket.observed if bucket.observed else float("nan")
    return {"rows": bucket.count, **vars(bucket), "pcoc": pcoc}
