"""Every multi-task backbone on a simulated funnel, against the probabilities behind it.

A project made by `tamis simulate` with eager people (so that a log of minutes holds thousands of
purchases), trained and judged as any project is: the evaluation version knows what came before the
test cut, its calibration is that of the validation window, and the test window is looked at once.
The ideal AUC is that of the true probabilities on the very same rows and draws.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from benchmarks.rank import BUILD
from benchmarks.rank._judged import Judged, configure, judged

from tamis.jobs import simulate, train
from tamis.train import auc, xauc

BACKBONES = ("shared_bottom", "mmoe", "ple")
SIZE = {"items": 2_000, "users": 5_000, "days": 20, "eagerness": 2.0}
RATES = {
    "click": ("click", "p_click"),
    "like|click": ("like", "p_like_given_click"),
    "cart|click": ("cart", "p_cart_given_click"),
    "purchase|cart": ("purchase", "p_purchase_given_cart"),
}
PROTOCOL = (
    "simulated log of 2,000 items, 5,000 users, 20 days, eagerness 2; tasks click, like|click, "
    "cart|click, purchase|cart and watch time; evaluation version: everything before the test cut "
    "(last tenth of the events), epochs and calibration chosen on the validation window before it; "
    "judged on every impression after the cut, conditional tasks where their condition held; "
    "ideal_* is the AUC of the simulator's true probabilities (of watch: XAUC of the true mean "
    "seconds) on the same rows; pcoc_* predicted ÷ observed; defaults of every backbone"
)


def run(seed: int, data: Path | None, say: Callable[[str], None]) -> dict[str, float]:
    """AUC, its ratio to the ideal one, and PCOC per backbone and task."""
    project = BUILD / "funnel" / f"seed{seed}"
    shutil.rmtree(project, ignore_errors=True)
    made = simulate(project, seed=seed, **SIZE)
    say("  ".join(f"{name} {count:,}" for name, count in made.report.events.items()))
    found: dict[str, float] = {}
    for number, backbone in enumerate(BACKBONES):
        configure(
            project,
            split={"windows": 8},
            cascade={
                "channels": {"hot": {"quota": 100}},
                "prerank": None,
                "rank": {"use": backbone},
            },
        )
        train(project, only="evaluation", ranker_only=bool(number))
        found |= judge(project, backbone, say)
    return found


def judge(project: Path, backbone: str, say: Callable[[str], None]) -> dict[str, float]:
    """The evaluation version's predictions of the impressions after its cut."""
    made = judged(project)
    shown, scores = made.shown, made.scores
    truth = true_of(project, made)
    found: dict[str, float] = {}
    for t, (task, (name, column)) in enumerate(RATES.items()):
        label, p = shown.labels[:, t], scores[task]
        known = ~np.isnan(label)
        mine, ideal = auc(label, p), auc(label, truth[column])
        pcoc = float(p[known].sum() / label[known].sum())
        found |= {
            f"{backbone}_auc_{name}": mine,
            f"ideal_auc_{name}": ideal,
            f"{backbone}_pcoc_{name}": pcoc,
        }
        say(f"{backbone:13} {task:13} AUC {mine:.4f} of {ideal:.4f}   PCOC {pcoc:.3f}")
    found |= watched(shown.labels[:, 4], scores, truth["watch_given_click"], backbone, say)
    report = getattr(made.ranker, "gates", None)
    if report is not None:
        for line in str(report).splitlines():
            say(line)
        found[f"{backbone}_dead_experts"] = len(report.dead)
    return found


def watched(
    label: np.ndarray, scores: Any, mean: np.ndarray, backbone: str, say: Callable[[str], None]
) -> dict[str, float]:
    """XAUC and MAE of watch seconds, beside those of the true mean."""
    known = ~np.isnan(label)
    mine, ideal = xauc(label, scores["watch|click"]), xauc(label, mean)
    mae = float(np.abs(scores["watch_seconds"] - label)[known].mean())
    best = float(np.abs(mean - label)[known].mean())
    say(
        f"{backbone:13} watch|click   XAUC {mine:.4f} of {ideal:.4f}   MAE {mae:.1f} s ({best:.1f})"
    )
    return {
        f"{backbone}_xauc_watch": mine,
        "ideal_xauc_watch": ideal,
        f"{backbone}_mae_watch": mae,
        "true_mean_mae_watch": best,
    }


def true_of(project: Path, made: Judged) -> dict[str, np.ndarray]:
    """The true probabilities of the rows, found by user, item and time."""
    data, queries, candidates = made.data, made.shown.queries, made.shown.candidates
    rows = pl.DataFrame(
        {
            "user_id": data.users.ids.gather(queries.user[candidates.query]),
            "item_id": data.items.ids.gather(candidates.item),
            "time": queries.time[candidates.query],
        }
    )
    names = [*(column for _, column in RATES.values()), "watch_given_click"]
    truth = pl.read_parquet(
        project / "truth.parquet", columns=["user_id", "item_id", "time", *names]
    ).unique(["user_id", "item_id", "time"])
    joined = rows.join(truth, on=["user_id", "item_id", "time"], how="left", maintain_order="left")
    if joined["p_click"].null_count():
        raise RuntimeError(f"{joined['p_click'].null_count()} rows without a true probability")
    return {name: joined[name].to_numpy() for name in names}
