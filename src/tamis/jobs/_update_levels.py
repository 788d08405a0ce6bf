"""Calibrations of an update: their shape from held-out rows, their level from all new rows.

Held-out rows may be few: of 100 purchases, the rate is known to 10%. So the maps that are fitted on
them give predictions their shape, and the mean of predictions is then set on all new rows. The gate
judges both steps by cross-fitting: on each half of the held-out queries after the other half.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any

import numpy as np

from tamis.features import FeatureSpace, Rows
from tamis.jobs._judge import taken
from tamis.jobs._update_rows import Labelled, UpdateRows, newest, unweighted
from tamis.jobs._update_trainer import Made, UpdateTrainer
from tamis.runtime import Float64
from tamis.train import Calibration, Chosen, Estimator, FrameModel


def uncalibrated(chosen: Chosen, former: Any) -> Chosen:
    """What was chosen, for a fit that goes on from `former` and fits the lines of its log-odds to
    its rows: calibrations of the former ones would correct them twice."""
    if not isinstance(former, Estimator) or former.orders_only:
        return chosen
    return chosen.model_copy(update={"calibrations": (), "scales": ()})


def calibrate(
    trainer: UpdateTrainer, made: Made, held_out: Labelled, cut: int, chosen: Mapping[str, Chosen]
) -> dict[str, Chosen]:
    """What training chose, with calibrations of the scorers on what is held out, and the scales of
    their logits, to which they belong. `cut` is that of `made`."""
    found = dict(chosen)
    trainer.steps.begin("calibrate on what is held out")
    with trainer.meter.stage("calibrate"):
        for stage, scorer in made.scorers.items():
            if not isinstance(scorer, FrameModel):
                continue
            learnt: dict[str, Any] = {"scales": scorer.scales or (1.0,) * scorer.heads.n_logits}
            if held_out:
                rows = trainer.stage_rows(stage, made.space, unweighted(held_out), cut)
                new = calibrate_on(scorer, rows)
                learnt |= {"calibrations": new.calibrations, "seconds": new.seconds}
            else:
                learnt["calibrations"] = scorer.calibrations
            found[stage] = found[stage].model_copy(update=learnt)
    return found


def calibrate_on(scorer: FrameModel, rows: Rows) -> Chosen:
    """What the scorer has chosen, with calibrations on held-out rows; tasks of which these hold few
    labels of either class keep those that they have (none after a fit from a former one, whose line
    takes their place), unless only the order was learnt."""
    before = scorer.calibrations or (Calibration(),) * len(scorer.heads.tasks)
    new = scorer.calibrate_on(rows)
    if rows.labels is None or scorer.orders_only or not scorer.calibrations:
        return new
    maps = list(scorer.calibrations)
    for t, _ in scorer.heads.rates:
        if scorer.heads.few(t, rows.labels):
            maps[t] = before[t]
    scorer.calibrations = tuple(maps)
    return new.model_copy(update={"calibrations": tuple(maps)})


def centre(trainer: UpdateTrainer, made: Made, new: Labelled, cut: int) -> None:
    """Corrects the intercepts of all scorers on new rows. `cut` is that of `made`."""
    for stage, scorer in made.scorers.items():
        _centre_one(trainer, stage, scorer, made.space, new, cut)


def _centre_one(
    trainer: UpdateTrainer, stage: str, scorer: Any, space: FeatureSpace, new: Labelled, cut: int
) -> None:
    """Corrects the intercepts of a scorer that has learnt new rows: of replayed windows on the
    newest ones, as their rates differ and the last pass may have seen few of them."""
    warm = isinstance(scorer, Estimator) and trainer.learnt[stage]["how"] == "warm"
    if not new or not warm:
        return
    if not trainer.impressions:
        new = newest(new)
    rows = trainer.stage_rows(stage, space, unweighted(new), cut)
    before = trainer.declared_scorer(stage).carried(trainer.former.scorers[stage], rows)
    scorer.centre_on(rows, before)


def judged_calibration(
    trainer: UpdateTrainer, made: Made, new: UpdateRows, cut: int
) -> dict[str, tuple[float, float]]:
    """{binary task: (predicted ÷ observed, its relative standard error)} of the ranker on each half
    of the held-out queries, after the maps were fitted on the other half and the level was set on
    that one and the rows learnt first, as for the version to publish. Nothing where a half has no
    rows. Queries are the units of the error, as one user may have many of the positives."""
    scorer, ((window, held_out),) = made.scorers["rank"], new.held_out
    if not isinstance(scorer, FrameModel):
        return {}
    number = np.arange(len(held_out.queries)) % 2
    halves = [[(window, taken(held_out, np.flatnonzero(number == k)))] for k in (0, 1)]
    rows = [trainer.stage_rows("rank", made.space, unweighted(half), cut) for half in halves]
    if not all(len(part) for part in rows):
        return {}
    tasks = [(t, task.name) for t, task in enumerate(scorer.heads.tasks) if task.kind == "binary"]
    sums = {name: np.zeros((2, len(held_out.queries))) for _, name in tasks}
    for fitted, judged in ((0, 1), (1, 0)):
        trial = copy(scorer)  # shares the weights; what is corrected is its own
        calibrate_on(trial, rows[fitted])
        _centre_one(trainer, "rank", trial, made.space, (*new.first, *halves[fitted]), cut)
        _add_by_query(sums, tasks, trial, rows[judged])
    found: dict[str, tuple[float, float]] = {}
    for name, (ours, observed) in sums.items():
        if observed.sum() > 0:
            ratio = float(ours.sum() / observed.sum())
            spread = float(np.sqrt(((ours - ratio * observed) ** 2).sum()))
            found[name] = ratio, spread / max(float(ours.sum()), 1e-12)
    return found


def _add_by_query(
    sums: Mapping[str, Float64], tasks: Sequence[tuple[int, str]], scorer: FrameModel, rows: Rows
) -> None:
    """Adds predictions and labels of rows to {task: (2, queries) sums of both}."""
    assert rows.labels is not None
    assert rows.groups is not None
    predicted = scorer.score_rows(rows)
    for t, name in tasks:
        label = rows.labels[:, t]
        known = ~np.isnan(label)
        for k, values in enumerate((predicted[name], label)):
            np.add.at(sums[name][k], rows.groups[known], values[known])
