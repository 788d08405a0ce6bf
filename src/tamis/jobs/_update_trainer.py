"""Learns what came since the serving version: fits as known at a cut, which go on from former ones.

A fit that cannot start from a former one (trees, neighbours, lists, counts) is made again on all
data. What training chose (epochs, orders, options that depend on the data) is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from tamis.cascade import (
    Candidates,
    FormerRows,
    Replay,
    Retrieval,
    join,
    queries_at,
    tasks_of,
)
from tamis.data import Dataset
from tamis.features import FeatureSpace, RowCoverage, Rows
from tamis.jobs._former_version import FormerVersion
from tamis.jobs._rejections import read_rejections
from tamis.jobs._trainer import Trainer
from tamis.jobs._update_rows import Labelled
from tamis.schema import LabelError, TrainingError
from tamis.service import Parts, registry
from tamis.splitting import Window
from tamis.train import Chosen, Estimator


class Made(NamedTuple):
    """What was fitted for one cut."""

    space: FeatureSpace
    retrieval: Retrieval
    known: Dataset
    scorers: Mapping[str, Any]


class ScorerFit(NamedTuple):
    """A scorer to fit."""

    stage: str
    """rank or prerank."""
    former: Any
    """What it goes on from."""
    chosen: Chosen
    teacher: Any
    """The fitted ranker, for a pre-ranker."""


@dataclass
class UpdateTrainer(Trainer):
    """Fits the parts of a version from those of the serving version."""

    learnt: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    """{stage: {how, rows}}, as `UpdateReport.learnt`."""
    coverage: Mapping[str, Any] | None = None
    """The coverage of the features in the rows that the ranker read last."""

    def read(self) -> None:
        """Opens the serving version, reads the tables, and checks that they fit together."""
        with self.meter.stage("read") as record:
            self.steps.begin("open the serving version")
            self.former = FormerVersion.open(self.project)
            parts = self.former.parts
            self.order = replace(self.order, order=parts.order)
            if parts.text is not None:
                self.project = replace(self.project, encoder=parts.text.encoder)
            self.former.check_journal(self.project)
            self._read_tables()
            self._prepare()
            if self.rejected is not None:
                found = read_rejections(self.project.root)
                self.rejected = self.rejected if found is None else found
            self.former_rows = FormerRows.of(self.data, parts.users, parts.items)
            record["samples"] = len(self.data.events)

    # ------------------------------------------------------------------ fits as known at a cut

    def fitted(
        self,
        cut: int,
        rows: Labelled,
        former_space: FeatureSpace,
        former: Mapping[str, Any],
        chosen: Mapping[str, Chosen],
    ) -> Made:
        """Everything as known at `cut`; scorers go on from `former` with the rows."""
        known = self.data.as_of(cut)
        with self.meter.stage("features"):
            self.steps.begin("fit the features")
            space = FeatureSpace.fit(
                known, former_space.features, config=self.config, former=former_space
            )
        retrieval = self._retrieval(cut)
        scorers: dict[str, Any] = {}
        for stage in self.scorers():
            fit = ScorerFit(stage, former[stage], chosen[stage], scorers.get("rank"))
            scorers[stage] = self._scorer(fit, space, rows, cut)
        return Made(space, retrieval, known, scorers)

    def parts_of(self, made: Made) -> Parts:
        """The parts of a version with what was fitted."""
        return self._parts(made.known, made.space, made.retrieval, made.scorers)

    def stage_rows(self, stage: str, space: FeatureSpace, new: Labelled, cut: int) -> Rows:
        """The labelled rows as a stage reads them; no row, but the right inputs, without any."""
        if not new:
            new = ((Window(cut - 1, cut), self._no_rows(cut)),)
        rows = self._rows(space, join([replay for _, replay in new]))
        if stage == "rank" and len(rows):
            self.coverage = RowCoverage.of(space.features, rows)
        return self._read_by(stage, rows, new, cut)

    def _no_rows(self, cut: int) -> Replay:
        """A query without candidates."""
        one, moment = np.zeros(1, np.int32), np.array([cut], np.int64)
        queries = queries_at(self.replays.histories, one, moment)
        nothing = Candidates(np.zeros(2, np.int64), np.zeros(0, np.int32), {})
        return Replay(queries, nothing, np.zeros((0, len(tasks_of(self.config))), np.float32))

    # ------------------------------------------------------------------ scorers

    def declared_scorer(self, stage: str) -> Any:
        """The scorer of a stage as declared, not fitted."""
        return registry.build(stage, stage, getattr(self.config.cascade, stage))

    def _scorer(self, fit: ScorerFit, space: FeatureSpace, new: Labelled, cut: int) -> Any:
        """A scorer that goes on from a former one, or one that is fitted again."""
        stage, former = fit.stage, fit.former
        scorer = self.declared_scorer(stage)
        if not isinstance(former, Estimator) or not isinstance(scorer, type(former)):
            return self._refitted(fit, scorer, space, cut)
        rows = self.stage_rows(stage, space, new, cut)
        if not len(rows):
            self._note_learnt(stage, "carried", 0)
            return scorer.carried(former, rows)
        context = self._context(former, fit.teacher, _one_pass(fit.chosen))
        with self.meter.stage(stage) as record:
            self.steps.begin(f"{stage}: learn {len(rows):,} new rows")
            try:
                scorer.fit(rows, None, tasks_of(self.config), context)
                self.notes |= {f"{stage}: {note}": None for note in scorer.notes}
            except LabelError as error:
                self.notes[f"{stage} keeps its weights: {error}"] = None
                self._note_learnt(stage, "carried", 0)
                return scorer.carried(former, rows)
            record["samples"] = len(rows)
        self._note_learnt(stage, "warm", len(rows))
        return scorer

    def _refitted(self, fit: ScorerFit, scorer: Any, space: FeatureSpace, cut: int) -> Any:
        """A scorer that cannot start from a former one, fitted on the rows of all windows."""
        stage = fit.stage
        shown = [w for w in self.replays.windows(serving=True) if w.end <= cut]
        if not shown:
            raise TrainingError(
                f"{stage} {scorer.name!r} cannot start from former weights, and no window of "
                f"[split] ends before the held-out events: run `tamis train {self.project.root}`"
            )
        rows = self._rows(space, self.replays.of(shown))
        rows = self._read_by(stage, rows, self._trained(shown), cut)
        with self.meter.stage(stage) as record:
            self.steps.begin(f"{stage}: fit on {len(rows):,} rows")
            context = self._context(None, fit.teacher, fit.chosen, self.replays.negatives)
            scorer.fit(rows, None, tasks_of(self.config), context)
            record["samples"] = len(rows)
        self.learnt[stage] = {"how": "refitted", "rows": len(rows)}
        return scorer

    def _note_learnt(self, stage: str, how: str, rows: int) -> None:
        """Adds to the report how a stage learnt; what was learnt replaces `carried`."""
        entry = self.learnt.setdefault(stage, {"how": how, "rows": 0})
        entry["rows"] += rows
        if how != "carried":
            entry["how"] = how

    # ------------------------------------------------------------------ channels

    def _retrieval(self, cut: int) -> Retrieval:
        """Channels and filters fitted on the data known at `cut`.

        Channels go on from those of the latest fit before the cut, which is the serving version's
        at first; none knows anything that came after the cut.
        """
        if cut in self._retrievals:
            return self._retrievals[cut]
        known, since = self.data.as_of(cut), self.former.manifest.data_until
        earlier = [c for c in self._retrievals if since <= c < cut]
        former: Mapping[str, Any] = {}
        context = self._context()
        if earlier:
            former = self._retrievals[max(earlier)].channels
            context = replace(context, since=max(earlier))
        elif cut >= since:
            former = self.former.parts.channels
            context = replace(context, since=since, former_rows=self.former_rows)
        channels: dict[str, Any] = {}
        likes = known.events.arrival[known.positive]
        new = len(likes) if context.since is None else int((likes >= context.since).sum())
        for name, declared in self.config.cascade.channels.items():
            stage = f"recall:{name}"
            with self.meter.stage(stage) as record:
                self.steps.begin(f"fit recall channel {name}")
                channel = registry.build("recall", name, declared)
                channels[name] = channel.fit(known, replace(context, former=former.get(name)))
                warm = bool(getattr(channels[name], "warm", False))
                record["samples"] = new if warm else len(likes)
            if warm:
                self._note_learnt(stage, "warm", new)
            else:
                self.learnt[stage] = {"how": "refitted", "rows": len(likes)}
        filters = self._stages("filters", self.config.cascade.filters, known)
        self._retrievals[cut] = Retrieval(self.config.cascade, channels, filters)
        return self._retrievals[cut]


def _one_pass(chosen: Chosen) -> Chosen:
    """The same for a fit of one pass over the rows."""
    return chosen.model_copy(update={"epochs": 1, "decay_after": ()})
