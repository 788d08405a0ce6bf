"""Updates the serving version: it learns what came since, from its own weights.

impressions    ── serving version ──|─── A: learnt first ───|─ B: held out ─|  end
replays        ── serving version ──|── windows: A ───────|─ last window: B ─────────────|  end
one window     ── serving version ──|── window: some users A, the others B ──────────────|  end

1  The candidate starts from the serving version's weights and learns A in one pass. Channels,
   features and statistics are those known at the cut, where B begins (the last window starts).
2  The gate compares it with the serving version on B; calibrations are fitted on B.
3  The published version goes on from the candidate: it learns B in one pass, and knows all data.

So every new row is learnt once. Where a fit cannot start from a former one (trees, neighbours,
lists, counts), it is made again on all data. What training chose (epochs, orders, options that
depend on the data) is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tamis.jobs._data_watch import DataWatch
from tamis.jobs._gate import GateCheck, data_checks, failed, quality_checks, worst_first
from tamis.jobs._update_judge import compare, power_note
from tamis.jobs._update_levels import calibrate, centre, uncalibrated
from tamis.jobs._update_publication import NewVersion, publish_update
from tamis.jobs._update_report import UpdateReport
from tamis.jobs._update_rows import NewStretch, UpdateRows, known_now, new_rows, new_stretch
from tamis.jobs._update_trainer import Made, UpdateTrainer
from tamis.runtime import Progress
from tamis.service import ProjectFolder
from tamis.train import Chosen


@dataclass
class Updater:
    """One full update of the serving version; see the module."""

    project: ProjectFolder
    device: str
    progress: bool
    force: bool = False
    """Whether a version is published although checks fail."""

    def update(self) -> UpdateReport:
        """Makes a version, and publishes it if the gate lets it pass."""
        self.trainer = UpdateTrainer(self.project, self.device, self.progress)
        self.steps = self.trainer.steps = Progress("update", self.progress)
        with self.steps:
            self.trainer.read()
            former, data = self.trainer.former, self.trainer.data
            since = former.manifest.data_until
            new = int((data.events.arrival >= since).sum())
            report = UpdateReport(former.name, None, new)
            if not new:
                moment = np.datetime64(since, "ms").astype("datetime64[s]")
                text = (
                    f"no event arrived since {moment}, the end of the data of the serving version: "
                    "there is nothing to learn"
                )
                return replace(report, notes=(text,))
            self.steps.begin("compare the new events with those before")
            with self.trainer.meter.stage("watch"):
                watch = DataWatch.of(former.parts, data, self.trainer.former_rows, since)
            checks = data_checks(self.trainer.config.gate, watch)
            checks += former.size_checks(self.trainer.config, data)
            report = replace(report, data=watch.to_dict())
            if failed(checks) and not self.force:
                return self._finished(report, checks)
            return self._learn(report, checks)

    def _learn(self, report: UpdateReport, checks: Sequence[GateCheck]) -> UpdateReport:
        """Makes the candidate, judges it, and goes on from it to the version."""
        trainer, former, gate = self.trainer, self.trainer.former, self.trainer.config.gate
        stretch, new = self._new_rows()
        chosen = {stage: former.chosen(stage) for stage in trainer.scorers()}
        candidate = self._candidate(stretch, new, chosen)
        compared = compare(trainer, stretch, new, candidate)
        judged = quality_checks(gate, compared, former.recorded_auc)
        if not failed(judged):
            self._note(power_note(compared, gate))
        checks = [*checks, *judged]
        report = replace(report, quality=compared.to_dict())
        if failed(checks) and not self.force:
            return self._finished(report, checks)
        version = self._version(stretch, new, candidate, chosen)
        done = publish_update(trainer, version, report, checks, force=self.force)
        return self._finished(
            replace(report, version=done.version, forced=done.forced), done.checks
        )

    def _new_rows(self) -> tuple[NewStretch, UpdateRows]:
        """What is new, and its labelled rows."""
        trainer = self.trainer
        stretch = new_stretch(trainer.replays, trainer.former.manifest)
        self._note(stretch.note)
        self.steps.begin("make the new labelled rows")
        with trainer.meter.stage("new rows") as record:
            new = new_rows(trainer.replays, stretch)
            record["samples"] = len(new)
        return stretch, new

    def _candidate(
        self, stretch: NewStretch, new: UpdateRows, chosen: Mapping[str, Chosen]
    ) -> Made:
        """What has learnt the first rows, from the serving version's weights."""
        trainer, former = self.trainer, self.trainer.former
        begun = {
            stage: uncalibrated(values, former.scorers[stage]) for stage, values in chosen.items()
        }
        made = trainer.fitted(stretch.cut, new.first, former.space, former.scorers, begun)
        centre(trainer, made, new.first, stretch.cut)
        return made

    def _version(
        self, stretch: NewStretch, new: UpdateRows, candidate: Made, chosen: Mapping[str, Chosen]
    ) -> NewVersion:
        """What has learnt the held-out rows, too, from the candidate's weights."""
        trainer, end = self.trainer, self.trainer.data.end
        chosen = calibrate(trainer, candidate, new.held_out, stretch.cut, chosen)
        made = trainer.fitted(end, new.held_out, candidate.space, candidate.scorers, chosen)
        centre(trainer, made, known_now(trainer.replays, stretch, new), end)
        return NewVersion(made, chosen, stretch.learnt_until)

    def _note(self, text: str | None) -> None:
        """Adds a note to the report, if there is one."""
        if text is not None:
            self.trainer.notes[text] = None

    def _finished(self, report: UpdateReport, checks: Sequence[GateCheck]) -> UpdateReport:
        """The report with what was measured and noted."""
        trainer = self.trainer
        seconds = sum(stage["seconds"] for stage in trainer.meter.stages.values())
        whole = trainer.former.training_seconds
        return replace(
            report,
            checks=worst_first(checks),
            learnt=trainer.learnt,
            training=trainer.meter.report(),
            seconds=seconds,
            share_of_training=seconds / whole if whole else None,
            rejects=trainer.project.rejects.counts,
            notes=tuple(trainer.notes),
        )
