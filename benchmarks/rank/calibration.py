"""Calibration where the truth is known: sampled negatives, their correction, isotonic regression.

DATA: a table (CSV, Parquet) with `label` (0, 1), `probability` (the true one) and inputs: numbers
are dense features, text is ids. Without it two million rows are made.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
from benchmarks.rank import MissingDataError
from numpy.typing import NDArray
from scipy.special import expit, logit

from tamis.evaluate import AUC, LogLoss, Reliability
from tamis.rank import DeepFM
from tamis.schema import DenseFeat, Feature, SparseFeat
from tamis.train import isotonic, platt

PROTOCOL = (
    "two million rows whose probabilities are known (mean .05; eight numbers, three id features, "
    "crossed and bent), cut 50:15:35 into train, held-out and test. DeepFM learns from all "
    "positives and a tenth of the negatives, stopped by held-out AUC; `pcoc` and `ece` (10 bins "
    "of as many rows) are those of its corrected predictions on test, without calibration. Then "
    "isotonic regression is fitted on the held-out rows of scores that are right (corrected model, "
    "true probabilities) or "
    "wrong (the model uncorrected, twice the true log-odds, the true log-odds bent): ECE and AUC "
    "on test before and after"
)
ROWS, RATE, ALPHA = 2_000_000, 0.05, 0.1
Floats = NDArray[np.floating]


def run(seed: int, data: Path | None, say: Callable[[str], None]) -> dict[str, float]:
    """pcoc and ece after the correction; what isotonic regression does where it is due or not."""
    train, held, test, features = split(made(seed) if data is None else read(data))
    model = DeepFM(
        features=features, negatives=ALPHA, calibrate="none", epochs=8, hidden_units=(64, 32),
        learning_rate=1e-3, embedding_learning_rate=0.02, seed=seed, threads=2,
    )  # fmt: skip
    model.fit(train, valid=held)
    scores = {name: _scores(model, part) for name, part in (("held", held), ("test", test))}
    y, truth = (test[name].to_numpy().astype(np.float64) for name in ("label", "probability"))
    result = {
        "ideal_auc": figures(y, logit(truth))["auc"],
        **figures(y, scores["test"]["corrected"]),
        **{f"raw_{key}": v for key, v in figures(y, scores["test"]["raw"]).items() if key != "auc"},
    }
    say(
        f"α = {ALPHA}: PCOC {result['raw_pcoc']:.3f} → {result['pcoc']:.4f}, ECE "
        f"{result['raw_ece']:.4f} → {result['ece']:.4f}, AUC {result['auc']:.4f} "
        f"(ideal {result['ideal_auc']:.4f})"
    )
    return result | calibrated(scores, held, test, say)


def calibrated(
    scores: dict[str, dict[str, Floats]],
    held: pl.DataFrame,
    test: pl.DataFrame,
    say: Callable[[str], None],
) -> dict[str, float]:
    """Isotonic regression (and Platt's line beside it) on right and on wrong scores."""
    labels = held["label"].to_numpy().astype(np.float32)
    y = test["label"].to_numpy().astype(np.float64)
    told: dict[str, float] = {}
    gained: dict[str, list[float]] = {"right": [], "wrong": []}
    moved = 0.0
    for name, right in CASES.items():
        before = figures(y, scores["test"][name])
        fitted = isotonic(labels, scores["held"][name])
        after = figures(y, fitted(scores["test"][name]))
        line = figures(y, platt(labels, scores["held"][name])(scores["test"][name]))
        told |= {f"{name}:ece": before["ece"], f"{name}:isotonic_ece": after["ece"]}
        told[f"{name}:platt_ece"] = line["ece"]
        gained["right" if right else "wrong"].append(after["ece"] - before["ece"])
        moved = max(moved, abs(after["auc"] - before["auc"]))
        say(
            f"{name:12} ECE {before['ece']:.4f} → isotonic {after['ece']:.4f} "
            f"({len(fitted.x)} knots), Platt {line['ece']:.4f}; AUC {before['auc']:.5f} → "
            f"{after['auc']:.5f}"
        )
    return {
        "isotonic_raises_at_most": max(gained["right"]),
        "isotonic_lowers_at_least": -max(gained["wrong"]),
        "isotonic_auc_change": moved,
        **told,
    }


CASES = {"corrected": True, "truth": True, "raw": False, "overconfident": False, "bent": False}
"""Score → whether it is right before calibration."""


def _scores(model: DeepFM, part: pl.DataFrame) -> dict[str, Floats]:
    """Log-odds of every case."""
    predicted = logit(model.predict(part).astype(np.float64))
    truth = logit(part["probability"].to_numpy())
    return {
        "corrected": predicted,
        "raw": predicted - np.log(ALPHA),
        "truth": truth,
        "overconfident": 2 * truth + 1,
        "bent": truth + 0.45 * np.sin(2 * truth),
    }


def figures(labels: Floats, log_odds: Floats) -> dict[str, float]:
    """AUC, log loss, PCOC and ECE on all rows, streamed."""
    order, loss, reliability = AUC(), LogLoss(), Reliability()
    for begin in range(0, len(labels), 1 << 16):
        part = slice(begin, begin + (1 << 16))
        order.add(labels[part], log_odds[part])
        for metric in (loss, reliability):
            metric.add(labels[part], expit(log_odds[part]))
    return {
        "auc": order.result(),
        "logloss": loss.result(),
        "pcoc": reliability.pcoc(),
        "ece": reliability.ece(),
    }


def made(seed: int) -> pl.DataFrame:
    """Inputs, their true probability, and a label drawn by it."""
    random = np.random.default_rng(seed)
    x = random.standard_normal((ROWS, 8), np.float32)
    codes = {name: random.integers(0, size, ROWS) for name, size in IDS.items()}
    effect = {name: random.normal(0, 0.5, size) for name, size in IDS.items()}
    z = x @ random.normal(0, 0.3, 8) + 0.4 * x[:, 0] * x[:, 1] + 0.3 * np.abs(x[:, 2])
    z += sum(effect[name][code] for name, code in codes.items())
    z += _intercept(z)
    columns = {f"x{k}": x[:, k] for k in range(8)}
    columns |= {name: np.char.add(name, code.astype(str)) for name, code in codes.items()}
    p = expit(z)
    return pl.DataFrame({**columns, "probability": p, "label": random.random(ROWS) < p})


IDS = {"city": 50, "brand": 300, "device": 6}


def _intercept(z: Floats) -> float:
    """What makes the mean probability RATE, by halving."""
    low, high = -20.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if expit(z + middle).mean() < RATE else (low, middle)
    return low


def read(path: Path) -> pl.DataFrame:
    """A given table."""
    if not path.is_file():
        raise MissingDataError(f"{path}: there is no such table")
    table = pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_csv(path)
    for name in ("label", "probability"):
        if name not in table.columns:
            raise MissingDataError(f"{path} has no column {name!r}: {', '.join(table.columns)}")
    return table


def split(table: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, list[Feature]]:
    """Train, held-out and test rows, in their order; the features of the other columns."""
    table = table.with_columns(pl.col("label").cast(pl.Float32))
    inputs = [c for c in table if c.name not in ("label", "probability")]
    features: list[Feature] = [
        DenseFeat(c.name) if c.dtype.is_numeric() else SparseFeat(c.name) for c in inputs
    ]
    first, second = int(0.5 * len(table)), int(0.65 * len(table))
    return table[:first], table[first:second], table[second:], features
