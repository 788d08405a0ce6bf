"""KuaiRand: five tasks of short videos, each alone and together, split by time.

The rows are videos that were liked or hated, nothing else: every rate is biased by that choice and
says nothing of all that was shown. What can be compared is models on the same rows.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.rank import BUILD, standard, there
from benchmarks.rank._judged import Judged, configure, judged

from tamis.jobs import fetch, train
from tamis.train import auc, xauc

RATES = ("click", "long_view", "comment", "profile_enter")
TASKS: dict[str, dict[str, Any]] = {
    **{name: {"behaviour": [name]} for name in RATES},
    "watch": {"behaviour": ["watch"], "kind": "watch_time", "scale": 10.0, "absent": 0.0},
}
MODELS = {"single": "dnn", "shared_bottom": "shared_bottom", "mmoe": "mmoe", "ple": "ple"}
PROTOCOL = (
    "KuaiRand, 41,828 rows of liked or hated videos only (their rates are biased by that choice); "
    "split by time at nine tenths of the events, settings, calibration and the map to seconds from "
    "the tenth before; test: all rows after; features: user and video id, duration, point-in-time "
    "counts and rates; defaults of every model; `single` is one dnn per task; watch time in "
    "seconds, 0 where nothing was played"
)
DECLARATION = """
name = "kuairand"
seed = {seed}
windows = ["1d", "7d", "all"]

[events]
path = "{events}"
behaviour = "behaviour"
value = "value"
request = "request_id"

[items]
path = "{items}"
id = "item_id"

[split]
windows = 8

[behaviours.impression]
impression = true
weight = 0.0

[behaviours.like]
positive = true

[behaviours.hate]
weight = 0.0

[behaviours.click]
[behaviours.long_view]
[behaviours.comment]
[behaviours.follow]
[behaviours.forward]
[behaviours.profile_enter]
[behaviours.watch]
weight = 0.0

[cascade.channels.hot]
quota = 100

[cascade.rank]
use = "dnn"
"""


def run(seed: int, data: Path | None, say: Callable[[str], None]) -> dict[str, float]:
    """AUC per task and model; XAUC and MAE of watch time; how many of MMoE's experts are dead."""
    project = BUILD / "kuairand" / f"seed{seed}"
    shutil.rmtree(project, ignore_errors=True)
    made = fetch("kuairand", project, folder=there(data) or standard("kuairand"))
    files = {Path(name).stem: name for name in made.files}
    declared = DECLARATION.format(seed=seed, events=files["events"], items=files["items"])
    (project / "tamis.toml").write_text(declared, "utf-8")
    found: dict[str, float] = {}
    stage = None
    for model, use in MODELS.items():
        parts = [{name: task} for name, task in TASKS.items()] if model == "single" else [TASKS]
        for tasks in parts:
            configure(project, tasks=tasks, cascade={"rank": {"use": use}})
            train(project, only="evaluation", stage=stage)
            stage = "rank"  # all but the ranker stays as it is
            found |= measured(judged(project), model, list(tasks), say)
    return found


def measured(
    made: Judged, model: str, tasks: list[str], say: Callable[[str], None]
) -> dict[str, float]:
    """The figures of one fit."""
    found: dict[str, float] = {}
    for t, task in enumerate(tasks):
        label = made.shown.labels[:, t]
        if task != "watch":
            found[f"{model}_auc_{task}"] = auc(label, made.scores[task])
            continue
        found[f"{model}_xauc_watch"] = xauc(label, made.scores["watch"])
        found[f"{model}_mae_watch"] = float(np.abs(label - made.scores["watch_seconds"]).mean())
        if model == "single":
            found["mae_watch_of_the_median"] = float(np.abs(label - np.median(label)).mean())
    say("  ".join(f"{name} {value:.4f}" for name, value in found.items()))
    report = getattr(made.ranker, "gates", None)
    if report is not None:
        for line in str(report).splitlines():
            say(line)
        found[f"{model}_dead_experts"] = len(report.dead)
    return found
