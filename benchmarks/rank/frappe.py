"""Frappe: every backbone without a sequence, trained on train, chosen on valid alone.

The best one is left in build/bench/frappe: `tamis score build/bench/frappe TABLE --out FILE` scores
any table with the same columns, so that held-out rows can be judged elsewhere.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.rank import BUILD, MissingDataError, standard, there

from tamis.jobs import Entry, Standing, compare_tables

PROTOCOL = (
    "trained on train, stopped and chosen on valid alone (each backbone's best of a few settings); "
    "figures are the AUC of valid; the best model is left in build/bench/frappe for `tamis score`. "
    "Width 10, batches of 4,096, Adam everywhere, L2 on the whole embedding, a tenth of the "
    "learning rate after a plateau"
)
OUT = BUILD / "frappe"
SHARED: dict[str, Any] = {
    "batch_size": 4096,
    "epochs": 60,
    "patience": 2,
    "learning_rate": 1e-3,
    "embedding_learning_rate": 1e-3,
    "embedding_optimiser": "adam",
    "l2_rows": "all",
    "decay_on_plateau": 0.1,
}
WIDTH = {"embedding_dim": 10}
DEEP: dict[str, Any] = {
    **WIDTH,
    "hidden_units": (400, 400, 400),
    "batch_norm": True,
    "dropout": 0.2,
}
BROAD: tuple[dict[str, Any], ...] = (
    {"l2": 0.0, "learning_rate": 1e-2, "embedding_learning_rate": 1e-2},
    {"l2": 1e-5, "learning_rate": 1e-2, "embedding_learning_rate": 1e-2},
)
"""Settings of the models without hidden layers."""
NARROW: tuple[dict[str, Any], ...] = ({**DEEP, "l2": 0.05},)
TRIED: tuple[dict[str, Any], ...] = (*NARROW, {**DEEP, "l2": 0.05, "dropout": 0.3})
SETTINGS = {
    "lr": BROAD,
    "fm": tuple({**WIDTH, **options} for options in BROAD),
    "dnn": NARROW,
    "wide_deep": NARROW,
    "deepfm": TRIED,
    "dcn": NARROW,
    "dcnv2": TRIED,
    "fibinet": NARROW,
}
"""Backbone → what is tried of it."""


def run(seed: int, data: Path | None, say: Callable[[str], None]) -> dict[str, float]:
    """The valid AUC of every backbone, and of the best one."""
    table, valid = _tables(data)
    best: dict[str, Standing] = {}
    with TemporaryDirectory() as folder:
        for use, settings in SETTINGS.items():
            for number, options in enumerate(settings):
                told = compare_tables(
                    table,
                    valid=valid,
                    models=[Entry(use, {**SHARED, **options}, f"{use}{number}")],
                    out=Path(folder) / f"{use}{number}",
                    seed=seed,
                )
                one = told.best
                say(
                    f"{one.name:11} valid AUC {one.quality:.5f} after epoch {one.epochs:2}, "
                    f"{one.samples_per_second:9,.0f} samples/s, {one.seconds:.0f} s"
                )
                if use not in best or one.quality > best[use].quality:
                    best[use] = one
        first = max(best.values(), key=lambda one: one.quality)
        _leave(Path(folder) / first.name, first, seed)
    say(f"best: {first.name}, valid AUC {first.quality:.5f}")
    figures = {f"auc:{use}": one.quality for use, one in best.items()}
    speeds = {f"samples/s:{use}": best[use].samples_per_second for use in ("deepfm", "dcnv2")}
    return {"auc": first.quality, **figures, **speeds}


def _tables(data: Path | None) -> tuple[Path, Path | None]:
    """(training rows, validation rows): of a folder, train.csv and valid.csv; of a file, the valid
    file beside it, or a tenth of its rows."""
    place = there(data) or standard("frappe")
    if place.is_dir():
        for name in ("train.csv", "valid.csv"):
            if not (place / name).is_file():
                raise MissingDataError(f"{place} holds no {name}")
        return place / "train.csv", place / "valid.csv"
    beside = place.with_name(place.name.replace("train", "valid"))
    return place, beside if beside != place and beside.is_file() else None


def _leave(model: Path, one: Standing, seed: int) -> None:
    """Leaves the model in OUT: the first seed's, then any that is better on valid."""
    about = OUT / "rows.json"
    if seed > 0 and about.is_file():
        former = json.loads(about.read_text("utf-8"))["comparison"]["models"][0]["quality"]
        if former >= one.quality:
            return
    shutil.rmtree(OUT, ignore_errors=True)
    shutil.copytree(model, OUT)
