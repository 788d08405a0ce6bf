"""MovieLens-1M click prediction: every ranker without sequences beside its namesakes elsewhere.

One file of coded rows is written once; every library reads it in a process of an environment of its
own and trains the same shape: embeddings of 16, hidden layers 256-128, 3 crosses, batches of 2,048,
Adam at 1e-3 for the dense weights, no L2 and no dropout. Each stops after the first epoch without a
better validation AUC; the best epoch's test AUC counts. RecBole takes part where speed is promised
against it. The others, most of the time, run with the first seed alone.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import peers
from benchmarks.ctr import common
from benchmarks.rank import BUILD, ROOT, there

from tamis.datasets import materialise

PROTOCOL = (
    "rating 3 dropped, 4 and 5 are 1; 8:1:1 by RandomState(42).permutation; user, item, gender, "
    "age, occupation, zip code, release year, genres (mean); embeddings 16, hidden layers 256-128, "
    "3 crosses, batches of 2,048, Adam 1e-3, no L2, no dropout, the same for all; each stops at "
    "the first epoch without a better validation AUC (at most 20) and counts its best; samples/s "
    "of the median epoch; DeepCTR-Torch 0.3.0, Torch-RecHub 0.9.0 (its MLPs normalise over the "
    "batch; its FiBiNet goes without genres), RecBole 1.2.1, each with the first seed alone"
)
EPOCHS, PATIENCE = 20, 1
LIBRARIES: dict[str, tuple[str, ...]] = {
    "lr": (),
    "fm": (),
    "dnn": (),
    "wide_deep": ("deepctr", "rechub", "recbole"),
    "deepfm": ("deepctr", "rechub", "recbole"),
    "dcn": ("deepctr", "rechub"),
    "dcnv2": ("deepctr", "rechub", "recbole"),
    "fibinet": ("deepctr", "rechub"),
}
"""Ranker → the libraries that have one of its name."""


def run(seed: int, data: Path | None, say: Callable[[str], None]) -> dict[str, float]:
    """Per ranker: test AUC, samples/s; with seed 0, the others' and how many times theirs it is.

    data: a folder of MovieLens-1M's events, items and users.csv; None = fetched.
    """
    out: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npz"
        common.write(there(data) or movielens(), path)
        for model, namesakes in LIBRARIES.items():
            others = () if seed else namesakes
            found = {library: one(library, model, path, seed) for library in ("tamis", *others)}
            own = figures(found["tamis"])
            out |= {f"{model}_{name}": value for name, value in own.items()}
            say(f"{model:10} tamis    {_text(own)}")
            for library in others:
                its = figures(found[library])
                out[f"{model}_auc_{library}"] = its["auc"]
                out[f"{model}_times_{library}"] = (
                    own["samples_per_second"] / its["samples_per_second"]
                )
                say(f"{'':10} {library:8} {_text(its)}")
    return out if seed else out | summary(out)


def summary(out: dict[str, float]) -> dict[str, float]:
    """The least lead in AUC and in speed over all namesakes."""
    leads = [
        out[f"{model}_auc"] - out[f"{model}_auc_{library}"]
        for model, others in LIBRARIES.items()
        for library in others
    ]
    promised = [m for m, others in LIBRARIES.items() if "recbole" in others]
    times = {
        library: min(out[f"{model}_times_{library}"] for model in promised)
        for library in ("recbole", "deepctr", "rechub")
    }
    return {
        "least_auc_lead": min(leads),
        **{f"least_times_{library}": value for library, value in times.items()},
    }


def movielens() -> Path:
    """The raw tables, fetched where they are missing."""
    made = BUILD / "movielens-1m"
    if not (made / "users.csv").exists():
        materialise("movielens-1m", made)
    return made


def one(library: str, model: str, path: Path, seed: int) -> dict[str, Any]:
    """One process of one library."""
    threads = peers.given_threads()
    words = ["--model", model, "--data", path, "--work", path.parent / "work", "--seed", seed]
    words += ["--epochs", EPOCHS, "--patience", PATIENCE, "--threads", threads]
    script = ROOT / "benchmarks" / "ctr" / f"run_{library}.py"
    return peers.run(library, script, words, cwd=path.parent)


def figures(found: dict[str, Any]) -> dict[str, float]:
    """Test AUC of the best epoch, that epoch, and samples/s of the median epoch."""
    return {
        "auc": found["test_auc"],
        "epochs": found["best_epoch"],
        "samples_per_second": found["rows"] / median(found["epoch_seconds"]),
    }


def _text(its: dict[str, float]) -> str:
    return (
        f"test AUC {its['auc']:.4f} after epoch {its['epochs']:.0f}, "
        f"{its['samples_per_second']:,.0f} samples/s"
    )
