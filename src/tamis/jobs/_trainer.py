"""Trains the cascade: settings are chosen on validation, then two versions are refitted.

cuts     |-- w1 --|-- w2 --|-- w3 --|-- validation --|-- test --|   (see `_replays`)
choose:   rows      rows     rows     validation rows, which stop the fits
evaluation version: rows of w1 … validation, channels fitted on all before the test cut
serving version:    rows of w1 … test, channels fitted on all
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any

import polars as pl

from tamis._version import __version__
from tamis.bundle import Kind, Version, Versions
from tamis.cascade import (
    CountsHardNegatives,
    FitContext,
    Hydrate,
    Replay,
    Retrieval,
    TrainableScorer,
    VectorInputs,
    check_task_values,
    give_vectors,
    raw_numbers,
    tasks_of,
    value_of,
    vectors_for,
    with_vectors,
)
from tamis.data import Dataset
from tamis.features import (
    FeatureSpace,
    Histories,
    OfflineStatistics,
    OnlineStatistics,
    RowCoverage,
    Rows,
    default_features,
)
from tamis.jobs._cost import LONG_MINUTES, calibrate, estimate
from tamis.jobs._logged_rejections import logged_rejections
from tamis.jobs._order_choice import QUERIES as ORDER_QUERIES
from tamis.jobs._order_choice import Judged, OrderChoice, window_positives
from tamis.jobs._order_choice import choose as choose_order
from tamis.jobs._preflight import require as require_preflight
from tamis.jobs._publish import publish
from tamis.jobs._rejections import QUERIES as REJECTION_QUERIES
from tamis.jobs._rejections import collect, none_yet
from tamis.jobs._replays import Replays
from tamis.jobs._train_report import TrainReport
from tamis.runtime import Meter, Progress
from tamis.schema import StageConfig, TaskConfig, TrainingError
from tamis.service import ItemTexts, Parts, ProjectFolder, registry
from tamis.splitting import Window
from tamis.train import Chosen


@dataclass(frozen=True, eq=False)
class ChoiceRows:
    """The rows that settings are chosen by: those before the validation window, and its own."""

    rows: Rows
    valid: Rows
    tasks: Sequence[TaskConfig]
    window: Window
    """The validation window."""
    space: FeatureSpace
    """The features, fitted on what was known before it."""


def choice_rows(project: ProjectFolder, device: str = "cpu") -> ChoiceRows:
    """The rows by which `train` chooses the ranker's settings; see `ChoiceRows`."""
    trainer = Trainer(project, device, progress=False)
    trainer.steps = Progress("train", wanted=False)
    trainer.read()
    return trainer.choice_rows()


@dataclass
class Trainer:
    """One training run; data, replays and channels are made once and shared by both versions."""

    project: ProjectFolder
    device: str
    progress: bool
    meter: Meter = field(default_factory=Meter)
    notes: dict[str, None] = field(default_factory=dict[str, None])
    """Notes of the scorers on their labels, each once, in order."""
    order: OrderChoice = field(default_factory=OrderChoice)
    """What orders the candidates; the ranker, unless `[cascade] order` is "auto"."""
    rejected: pl.DataFrame | None = None
    """Candidates that the scorers rejected in replays; None: no channel learns from them."""
    rejected_live: pl.DataFrame | None = None
    """Candidates that were rejected in answers of the service; None: no channel wants them."""
    hard_negatives: dict[str, dict[str, dict[str, int]]] = field(
        default_factory=dict[str, dict[str, dict[str, int]]]
    )
    """{kind of version: {channel: {source: hard negatives that it has learnt from}}}."""
    _retrievals: dict[int, Retrieval] = field(default_factory=dict[int, Retrieval])
    _single_channels: dict[int, Any] = field(default_factory=dict[int, Any])
    _vectors: VectorInputs | None = None

    def run(self, kinds: Sequence[Kind]) -> TrainReport:
        self.steps = Progress("train", self.progress)
        with self.steps:
            self.read()
            chosen, validation, curves = self._choose()
            published = {
                kind.value: self._version(kind, chosen, validation, curves).name for kind in kinds
            }
        rejects = self.project.rejects
        rejects.write(self.project.root / "rejects.csv")
        return TrainReport(
            published,
            self._settings(chosen),
            validation,
            self.meter.report(),
            rejects.counts,
            sum(s["seconds"] for s in self.meter.stages.values()),
            (*self.notes, *self.replays.notes()),
            tuple(str(n) for n in rejects.notes if n.doubtful or n.file == self.config.events.path),
            self.hard_negatives,
        )

    def read(self) -> None:
        """Reads the tables, and makes what all later steps share: windows, cuts, histories."""
        with self.meter.stage("read") as record:
            self._read_tables()
            cost = estimate(self.config, self.data, calibrate())
            if cost.seconds > 60 * LONG_MINUTES:
                self.steps.message(f"{cost.text}; tamis doctor lists all stages")
            self._prepare()
            self.test_cut, self.windows = self.replays.cut, self.replays.windows()
            record["samples"] = len(self.data.events)

    def _read_tables(self) -> None:
        """Reads the declaration and the tables; faults are reported before any work."""
        self.steps.begin("read the tables")
        self.config, self.data = self.project.config, self.project.data
        require_preflight(self.config, self.data)
        self.notes.update(dict.fromkeys(check_task_values(tasks_of(self.config), self.data)))

    def _prepare(self) -> None:
        """Makes what the fits read besides the tables: rejected candidates, replays."""
        self._vectors = self._wanted_vectors()
        self.rejected = none_yet(self.config)
        self.rejected_live = self._logged_rejections()
        self.replays = Replays(
            self.config,
            self.data,
            Histories.of(self.data),
            self._retrieval,
            self.meter,
            self.steps,
        )
        self.impressions = self.replays.impressions

    def _logged_rejections(self) -> pl.DataFrame | None:
        return logged_rejections(self.project, self.data.end)

    def _wanted_vectors(self) -> VectorInputs | None:
        """The channel whose vectors the pre-ranker reads; None if it reads none."""
        cascade = self.config.cascade
        if cascade.prerank is None:
            return None
        channels = {n: registry.build("recall", n, c) for n, c in cascade.channels.items()}
        return vectors_for(registry.build("prerank", "prerank", cascade.prerank), channels)

    def choice_rows(self, windows: Sequence[Window] | None = None) -> ChoiceRows:
        """The rows of all windows but the last, and those of the last one."""
        if len(self.windows) < 2:
            raise TrainingError(
                f"{len(self.windows) or 'no'} window before the test cut has users who return: the "
                "ranker needs one window to learn from and one to validate on; raise [split] "
                "windows, give a [split] horizon, or give a longer log"
            )
        *earlier, last = self.windows if windows is None else windows
        space, _ = self._space(last.start, earlier)
        rows = self._rows(space, self.replays.of(earlier))
        valid = self._rows(space, self.replays.valid(last))
        return ChoiceRows(rows, valid, tasks_of(self.config), last, space)

    def _choose(self) -> tuple[dict[str, Chosen], dict[str, Any], dict[str, Any]]:
        """Fits the scorers on all windows but the last, stopped by the last.

        Returns per stage what was chosen, its validation metrics and its learning curve. Where
        `[cascade] order` is "auto", the order of the candidates is chosen with these scorers.
        """
        made = self.choice_rows()
        fitted = self._fit_choices(made, self.windows)
        validation: dict[str, Any] = {n: _measured(s.best) for n, s in fitted.items()}
        curves = {
            stage: [
                {"epoch": e.epoch, "train_loss": e.loss, **_measured(e.metrics)}
                for e in scorer.history
            ]
            for stage, scorer in fitted.items()
        }
        if self.config.cascade.order == "auto":
            self._choose_order(made, fitted)
            validation["order"] = dict(self.order.metrics)
        if self.rejected is not None:
            self._collect_rejections(made, fitted)
        return {stage: scorer.chosen for stage, scorer in fitted.items()}, validation, curves

    def _fit_choices(
        self, made: ChoiceRows, windows: Sequence[Window]
    ) -> dict[str, TrainableScorer]:
        """{stage: scorer}, fitted on the rows of all windows but the last, stopped by the last."""
        *earlier, last = windows
        cut = made.window.start
        fitted: dict[str, TrainableScorer] = {}
        for stage in self.scorers():
            rows = self._read_by(stage, made.rows, self._trained(earlier), cut)
            valid = self._read_by(stage, made.valid, [(last, self.replays.valid(last))], cut)
            with self.meter.stage(f"{stage}: choose") as record:
                self.steps.begin(f"choose {stage}'s epochs on the validation window")
                fitted[stage] = self._fit_scorer(stage, None, rows, valid, fitted.get("rank"))
                record["samples"] = len(rows) * len(fitted[stage].history)
        return fitted

    def _choose_order(self, made: ChoiceRows, fitted: Mapping[str, TrainableScorer]) -> None:
        """Chooses the order of the candidates on the validation window.

        Replayed windows hold few queries, so the window before it is a second one, with scorers
        fitted on the windows before that.
        """
        judged = [self._judged(made, fitted)]
        if not self.impressions and len(self.windows) > 2:
            before = self.windows[:-1]
            earlier = self.choice_rows(before)
            judged.insert(0, self._judged(earlier, self._fit_choices(earlier, before)))
        with self.meter.stage("order: choose"):
            self.steps.begin("choose the order of the candidates")
            self.order = choose_order(judged, list(self.config.cascade.channels))
        self.notes.update(dict.fromkeys(self.order.notes))

    def _collect_rejections(self, made: ChoiceRows, fitted: Mapping[str, TrainableScorer]) -> None:
        """Keeps and writes the candidates of the validation window that the scorers rejected."""
        judged = self._judged(made, fitted, REJECTION_QUERIES)
        self.rejected, note = collect(judged, made.window, self.project)
        self.notes[note] = None

    def _judged(
        self, made: ChoiceRows, fitted: Mapping[str, TrainableScorer], queries: int = ORDER_QUERIES
    ) -> Judged:
        """The candidates of the queries at the start of the validation window, with the values of
        scorers that have not been fitted on it."""
        window = made.window
        replay = self.replays.complete(window, queries)
        rows = self._rows(made.space, replay)
        fusion = value_of(self.config, self.data.items)
        values: dict[str, Any] = {}
        with self.meter.stage("order: choose"):
            for stage, scorer in fitted.items():
                inputs = self._read_by(stage, rows, [(window, replay)], window.start)
                values[stage] = fusion(replay.candidates, scorer.score_rows(inputs))
        rules = self._stages("rerank", self.config.cascade.rerank, self.data.as_of(window.start))
        give_vectors(rules, self._retrieval(window.start).channels)
        return Judged(
            queries=replay.queries,
            candidates=replay.candidates,
            prerank=values.get("prerank"),
            value=values["rank"],
            positives=window_positives(self.replays.known(window), window, replay.queries),
            rules=rules,
            keep=self.config.cascade.prerank_keep,
        )

    def _version(
        self, kind: Kind, chosen: Mapping[str, Chosen], validation: dict[str, Any], curves: Any
    ) -> Version:
        """Refits everything up to the version's end of data with what was chosen."""
        evaluation = kind is Kind.EVALUATION
        cut = self.test_cut if evaluation else self.data.end
        shown = self.replays.windows(serving=not evaluation)
        space, known = self._space(cut, shown)
        retrieval = self._retrieval(cut)
        rows = self._rows(space, self.replays.of(shown))
        scorers: dict[str, Any] = {}
        for stage in self.scorers():
            inputs = self._read_by(stage, rows, self._trained(shown), cut)
            with self.meter.stage(stage) as record:
                self.steps.begin(f"fit {stage} for the {kind.value} version")
                teacher = scorers.get("rank")
                scorers[stage] = self._fit_scorer(stage, chosen[stage], inputs, None, teacher)
                record["samples"] = len(rows) * len(scorers[stage].history)
        with self.meter.stage("write"):
            self.steps.begin(f"write the {kind.value} version")
            parts = self._parts(known, space, retrieval, scorers)
            found = {n: _hard_negatives(channel) for n, channel in retrieval.channels.items()}
            hard = {name: counts for name, counts in found.items() if counts}
            self.hard_negatives |= {kind.value: hard} if hard else {}
            metrics = {
                "training": self.meter.report(),
                "validation": validation,
                "curves": curves,
                "coverage": RowCoverage.of(space.features, rows),
                **({"hard_negatives": hard} if hard else {}),
            }
            return self._write(kind, parts, known, chosen, metrics)

    def _parts(
        self,
        known: Dataset,
        space: FeatureSpace,
        retrieval: Retrieval,
        scorers: Mapping[str, Any],
    ) -> Parts:
        """The parts of a version that knows the data `known`."""
        journal = self.project.journal_data
        return Parts(
            config=self.config,
            users=self.data.users,
            items=self.data.items,
            space=space,
            statistics=OnlineStatistics.of(known, recipes=space.recipes),
            histories=Histories.of(known),
            channels=retrieval.channels,
            filters=retrieval.filters,
            prerank=scorers.get("prerank"),
            rank=scorers["rank"],
            rerank=self._stages("rerank", self.config.cascade.rerank, known),
            order=self.order.order,
            text=self._texts(),
            withdrawn=() if journal is None else tuple(journal.withdrawn()),
        )

    def _texts(self) -> ItemTexts | None:
        """The encoder and the index of the items' texts; None if none are declared."""
        text, encoder = self.config.items.text, self.project.text_encoder
        if text is None or encoder is None:
            return None
        return ItemTexts.of(self.data.items, text, encoder, self.config.seed)

    def _write(
        self,
        kind: Kind,
        parts: Parts,
        known: Dataset,
        chosen: Mapping[str, Chosen],
        metrics: dict[str, Any],
    ) -> Version:
        versions = Versions(self.project.root)
        with versions.write(kind) as draft:
            draft.code = __version__
            draft.data_from = int(known.events.time.min()) if len(known.events) else 0
            draft.data_until = self.test_cut if kind is Kind.EVALUATION else known.end
            draft.horizon = self.replays.horizon
            found = self.project.journal_data
            draft.journal_position = None if found is None else found.position
            draft.settings = self._settings(chosen)
            parts.save(draft)
            draft.metrics = metrics
        version = versions.open(draft.name)
        publish(self.project, version)
        return version

    def _settings(self, chosen: Mapping[str, Chosen]) -> dict[str, dict[str, Any]]:
        """What was chosen on the validation windows, per stage, as the manifest's JSON values."""
        settings = {stage: values.to_dict() for stage, values in chosen.items()}
        if self.config.cascade.order == "auto":
            settings["order"] = self.order.settings()
        return settings

    def scorers(self) -> list[str]:
        """The stages to fit; the ranker first, as the pre-ranker may learn from it."""
        return ["rank", "prerank"] if self.config.cascade.prerank else ["rank"]

    def _fit_scorer(
        self, stage: str, chosen: Chosen | None, rows: Rows, valid: Rows | None, teacher: Any
    ) -> TrainableScorer:
        """A fitted scorer: stopped by `valid`, or run for as long as `chosen` says."""
        declared: StageConfig = getattr(self.config.cascade, stage)
        scorer = registry.build(stage, stage, declared)
        context = self._context(teacher=teacher, chosen=chosen, negatives=self.replays.negatives)
        scorer.fit(rows, valid, tasks_of(self.config), context)
        self.notes.update(dict.fromkeys(getattr(scorer, "notes", ())))
        return scorer

    def _space(self, cut: int, shown: Sequence[Window]) -> tuple[FeatureSpace, Dataset]:
        """(features fitted on the data known at `cut` and the rows of `shown`, that data)."""
        known = self.data.as_of(cut)
        replay = self.replays.of(shown)
        with self.meter.stage("features"):
            self.steps.begin("fit the features")
            features = self.config.features or default_features(known, self.config)
            space = FeatureSpace.fit(
                known, features, config=self.config, columns=replay.candidates.columns
            )
        return space, known

    def _rows(self, space: FeatureSpace, replay: Replay) -> Rows:
        """The labelled rows of a replay, each with inputs as of its own time."""
        with self.meter.stage("rows") as record:
            self.steps.begin("make the ranking rows")
            record["samples"] = len(replay.candidates)
            rows = self.hydrate(space)(replay.queries, replay.candidates)
            rows = rows.labelled(replay.labels, replay.candidates.query)
            return replace(rows, weights=replay.weights)

    def hydrate(self, space: FeatureSpace) -> Hydrate:
        """Makes rows with the inputs of `space`, each as of its own time."""
        statistics = OfflineStatistics(self.data, recipes=space.recipes)
        return Hydrate(space, statistics, raw_numbers(self.config, self.data.items))

    def _trained(self, shown: Sequence[Window]) -> list[tuple[Window, Replay]]:
        return [(window, self.replays.training(window)) for window in shown]

    def _read_by(
        self, stage: str, rows: Rows, replays: Sequence[tuple[Window, Replay]], cut: int
    ) -> Rows:
        """The rows as a stage reads them: the pre-ranker may read a channel's vectors, too."""
        name = self._vectors.name if self._vectors is not None and stage == "prerank" else None
        if name is None:
            return rows
        return with_vectors(rows, name, replays, lambda time: self._channel(name, time), cut)

    def _channel(self, name: str, cut: int) -> Any:
        """One channel fitted as of `cut`; with impressions, without the other channels."""
        if not self.impressions or cut in self._retrievals:
            return self._retrieval(cut).channels[name]
        if cut not in self._single_channels:
            declared = self.config.cascade.channels[name]
            with self.meter.stage(f"recall:{name}"):
                self.steps.begin(f"fit recall channel {name} for the pre-ranker's rows")
                channel = registry.build("recall", name, declared)
                self._single_channels[cut] = channel.fit(self.data.as_of(cut), self._context())
        return self._single_channels[cut]

    def _retrieval(self, cut: int) -> Retrieval:
        """Channels and filters fitted on the data known at `cut`, started from the previous cut.

        They start from a previous fit only for logs without impressions, where the earlier cuts are
        always fitted for replays: a version must not depend on which others the run makes.
        """
        if cut not in self._retrievals:
            known = self.data.as_of(cut)
            earlier = [c for c in self._retrievals if c < cut and not self.impressions]
            former = self._retrievals[max(earlier)].channels if earlier else {}
            channels: dict[str, Any] = {}
            for name, declared in self.config.cascade.channels.items():
                with self.meter.stage(f"recall:{name}") as record:
                    self.steps.begin(f"fit recall channel {name}")
                    channel = registry.build("recall", name, declared)
                    channels[name] = channel.fit(known, self._context(former.get(name)))
                    record["samples"] = int(known.positive.sum())
            filters = self._stages("filters", self.config.cascade.filters, known)
            self._retrievals[cut] = Retrieval(self.config.cascade, channels, filters)
        return self._retrievals[cut]

    def _stages(self, kind: str, declared: dict[str, StageConfig], known: Dataset) -> Any:
        return {
            name: registry.build(kind, name, stage).fit(known, self._context())
            for name, stage in declared.items()
        }

    def _context(
        self,
        former: Any = None,
        teacher: Any = None,
        chosen: Chosen | None = None,
        negatives: float = 1.0,
    ) -> FitContext:
        return FitContext(
            seed=self.config.seed,
            device=self.device,
            progress=self.progress,
            former=former,
            teacher=teacher,
            chosen=chosen,
            negatives=negatives,
            features=self.config.features,
            items=self.config.items,
            users=self.config.users,
            config=self.config,
            folder=self.project.root,
            rejected=self.rejected,
            rejected_live=self.rejected_live,
        )


def _hard_negatives(channel: object) -> dict[str, int]:
    """Where the hard negatives of a channel's fit were from → their number."""
    return dict(channel.hard_negatives) if isinstance(channel, CountsHardNegatives) else {}


def _measured(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics that are defined; validation rows of one class leave some NaN."""
    return {name: value for name, value in metrics.items() if isfinite(value)}
