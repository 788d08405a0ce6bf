"""The candidate of an update compared with the serving version, on what neither has learnt."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tamis.jobs._gate import FEWEST, gain
from tamis.jobs._judge import Judge, TaskComparison, VersionComparison
from tamis.jobs._replays import as_served
from tamis.jobs._update_levels import judged_calibration
from tamis.jobs._update_rows import NewStretch, UpdateRows
from tamis.jobs._update_trainer import Made, UpdateTrainer
from tamis.schema import GateConfig


def compare(
    trainer: UpdateTrainer, stretch: NewStretch, new: UpdateRows, candidate: Made
) -> VersionComparison:
    """The candidate compared with the serving version on what is held out."""
    trainer.steps.begin("compare with the serving version")
    with trainer.meter.stage("judge"):
        judge = Judge(
            trainer.data,
            trainer.parts_of(candidate),
            trainer.former.parts,
            trainer.former_rows,
            stretch.cut,
            stretch.windows[-1].end if stretch.windows else trainer.data.end,
            trainer.config.seed,
        )
        # Channels of the serving version know what came after an earlier cut.
        fair = stretch.cut >= stretch.since
        slates, shown = (judge.slates(new.users) if fair else None) or (None, None)
        tasks = _tasks(trainer, judge, stretch, new, candidate) if new.held_out else {}
    return VersionComparison(slates, tasks, _protocol(trainer, stretch), shown)


def _tasks(
    trainer: UpdateTrainer, judge: Judge, stretch: NewStretch, new: UpdateRows, candidate: Made
) -> dict[str, TaskComparison]:
    """The predictions of both versions, with the calibration of the candidate."""
    ((_, held_out),) = new.held_out
    tasks = judge.predictions(as_served(held_out), trainer.hydrate(candidate.space))
    for name, found in judged_calibration(trainer, candidate, new, stretch.cut).items():
        if name in tasks:
            ratio, error = found
            tasks[name] = replace(tasks[name], calibration=ratio, calibration_error=error)
    return tasks


def _protocol(trainer: UpdateTrainer, stretch: NewStretch) -> dict[str, str]:
    """How each figure was measured, in words."""
    if trainer.impressions:
        held_out = "the latest new impressions, by time"
    elif len(stretch.windows) > 1:
        held_out = "the last new window"
    elif stretch.windows:
        held_out = "users of the new window"
    else:
        held_out = "the latest new events, by time"
    shown = {
        "shown": "the same of the ranked candidates that the user was shown after the cut, and of "
        "a random order of those of the serving version"
    }
    return {
        "held out": held_out,
        "cut": str(np.datetime64(stretch.cut, "ms")),
        "slates": "NDCG@10 over users who chose an item after the cut, of the slates of both "
        "versions at the cut, full catalogue; histories and statistics as of the cut, channels and "
        "models of the serving version as they are",
        **(shown if trainer.data.has_impressions else {}),
        "predictions": "held-out rows whose users and items both versions know",
        "calibration": "calibrated on one half of the held-out queries, level set on that half and "
        "the rows learnt first, judged on the other half, both ways; the serving version as it is",
        "published": "the version that is published has then learnt what is held out, too",
    }


def power_note(compared: VersionComparison, gate: GateConfig) -> str | None:
    """Says that the gate could not have seen a fall of NDCG by its threshold, where few users are
    held out."""
    slates, limit, key = compared.ndcg, gate.ndcg_drop, "ndcg_drop"
    if compared.shown is not None:
        slates, limit, key = compared.shown, gate.shown_drop, "shown_drop"
    if slates is None or not slates.serving:
        return "no user of what is held out tells which version's slates are better"
    if slates.users < FEWEST:
        return (
            f"{slates.users:,} users are held out: the gate judges no NDCG of fewer than "
            f"{FEWEST}; update less often, or raise [update] holdout"
        )
    seen = (slates.difference.high - slates.difference.low) / 2 / gain(slates)
    if seen > limit:
        return (
            f"{slates.users:,} users are held out: chance hides a fall of NDCG by less than "
            f"{seen:.0%}, so the gate cannot tell whether it fell by more than {limit:.0%} "
            f"([gate] {key}); update less often, or raise [update] holdout"
        )
    return None
