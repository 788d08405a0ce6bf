"""The version of an update: written, tried out with requests, published unless a check fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, NamedTuple

from tamis._version import __version__
from tamis.bundle import Draft, Kind, Versions
from tamis.jobs._former_version import carried_auc
from tamis.jobs._gate import GateCheck, failed, request_checks, worst_first
from tamis.jobs._publish import publish
from tamis.jobs._trial_requests import try_out
from tamis.jobs._update_report import UpdateReport
from tamis.jobs._update_trainer import Made, UpdateTrainer
from tamis.service import Recommender
from tamis.train import Chosen


class NewVersion(NamedTuple):
    """What a version is written of."""

    made: Made
    chosen: Mapping[str, Chosen]
    learnt_until: int
    """Up to when labels have been learnt."""


class Publication(NamedTuple):
    """What became of a version."""

    version: str | None
    """Its name; None: the gate refused it."""
    checks: list[GateCheck]
    """All checks, those of trial requests included."""
    forced: bool = False
    """Whether it was published although checks failed."""


class _RefusedError(Exception):
    """Ends the writing of a version that the gate refuses."""


def publish_update(
    trainer: UpdateTrainer,
    new: NewVersion,
    report: UpdateReport,
    checks: Sequence[GateCheck],
    *,
    force: bool,
) -> Publication:
    """Writes the version, tries it out, and publishes it unless a check fails or `force` is set.

    report, checks: of the update so far, for the manifest.
    """
    versions, every = Versions(trainer.project.root), list(checks)
    forced = False
    try:
        with trainer.meter.stage("write"), versions.write(Kind.SERVING) as draft:
            trainer.steps.begin("write the version")
            _write(trainer, new, draft)
            trainer.steps.begin("try the version out")
            every += _trial(trainer, draft)
            forced = bool(failed(every))
            if forced and not force:
                raise _RefusedError
            draft.update = _record(trainer, new, report) | {
                "checks": [check.to_dict() for check in worst_first(every)],
                "forced": forced,
            }
    except _RefusedError:
        return Publication(None, every)
    version = versions.open(draft.name)
    publish(trainer.project, version)
    return Publication(version.name, every, forced)


def _write(trainer: UpdateTrainer, new: NewVersion, draft: Draft) -> None:
    """Writes the parts of the version, and what the manifest says of them."""
    known, manifest = new.made.known, trainer.former.manifest
    journal = trainer.project.journal_data
    parts = trainer.parts_of(new.made)
    draft.code, draft.data_from = __version__, int(known.events.time.min())
    draft.data_until = known.end
    draft.horizon = manifest.horizon or trainer.replays.horizon
    draft.journal_position = None if journal is None else journal.position
    chosen = {stage: values.to_dict() for stage, values in new.chosen.items()}
    draft.settings = manifest.settings | chosen
    draft.metrics = {
        **manifest.metrics,
        "training": trainer.meter.report(),
        "coverage": trainer.coverage or manifest.metrics.get("coverage", {}),
    }
    parts.save(draft)


def _trial(trainer: UpdateTrainer, draft: Draft) -> list[GateCheck]:
    """Checks of the answers to trial requests."""
    gate, seed = trainer.config.gate, trainer.config.seed
    serving = Recommender(trainer.former.version)
    return request_checks(gate, try_out(draft.preview(), serving, gate.requests, seed))


def _record(trainer: UpdateTrainer, new: NewVersion, report: UpdateReport) -> dict[str, Any]:
    """What the manifest keeps of the update, but for its checks."""
    former, quality = trainer.former, _finite(report.quality)
    return {
        "from": former.name,
        "new_events": report.new_events,
        "learnt": trainer.learnt,
        "learnt_until": new.learnt_until,
        "training_seconds": former.training_seconds,
        "data": _finite(report.data),
        "quality": quality,
        "judged_auc": carried_auc(former.recorded_auc, quality),
    }


def _finite(value: Any) -> Any:
    """JSON values; numbers that are not finite become None."""
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    if isinstance(value, float):
        return value if isfinite(value) else None
    return value
