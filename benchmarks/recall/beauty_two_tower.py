"""The two-tower channel on Amazon Beauty: the tower chosen by validation, then every loss."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.recall import beauty, leave_out

from tamis.cascade import FitContext, valid_of
from tamis.evaluate import judge_channel
from tamis.events import Holdout
from tamis.recall import TwoTower

PROTOCOL = (
    "leave-one-out, strict: the validation item is not trained on, but is part of the history when "
    "the test item is asked for; epochs, tower and the reported loss chosen by validation NDCG; "
    "full ranking, seen items masked"
)
KS = (5, 10, 20)
TOWERS: dict[str, dict[str, Any]] = {
    "sum": {},
    "sum, next item": {"examples": "pairs"},
    "gru": {"user_network": "gru", "examples": "pairs"},
    "transformer": {"user_network": "transformer", "examples": "pairs"},
}
LOSSES = ("full", "sampled", "in_batch", "gbce", "pointwise", "hinge", "logistic")
MOST_EPOCHS = 15


def run(seed: int, data: Path | None, say: Callable[[str], None]) -> dict[str, float]:
    """The metrics of one seed; those without a loss's name are the best loss's by validation."""
    valid, test = leave_out(beauty(data))
    tried = {name: _one(options, seed, valid, test) for name, options in TOWERS.items()}
    for name, (by, metrics, seconds) in tried.items():
        say(_line(name, by, metrics, seconds))
    tower = max(tried, key=lambda name: tried[name][0])
    say(f"every loss on {tower}:")
    judged = {"full": tried[tower]}
    for loss in LOSSES[1:]:
        judged[loss] = _one({**TOWERS[tower], "loss": loss}, seed, valid, test)
    for loss, (by, metrics, seconds) in judged.items():
        say(_line(loss, by, metrics, seconds))
    best = max(judged, key=lambda loss: judged[loss][0])
    each = {
        f"{key} {loss}": metrics[key]
        for loss, (_, metrics, _) in judged.items()
        for key in ("hit@10", "ndcg@10")
    }
    return {**judged[best][1], **each}


def _one(
    options: dict[str, Any], seed: int, valid: Holdout, test: Holdout
) -> tuple[float, dict[str, float], float]:
    """Validation NDCG@10, the test metrics and the seconds of a fit."""
    began = perf_counter()
    channel = TwoTower(epochs=MOST_EPOCHS, **{"loss": "full", **options})
    channel.fit(valid.train, FitContext(seed=seed, valid=valid_of(valid)))
    seconds = perf_counter() - began
    by = judge_channel(channel, valid, (10,)).metrics["ndcg@10"]
    return by, judge_channel(channel, test, KS).metrics, seconds


def _line(name: str, by: float, metrics: dict[str, float], seconds: float) -> str:
    return (
        f"{name:16} validation NDCG@10 {by:.4f}  test HR@10 {metrics['hit@10']:.4f} "
        f"NDCG@10 {metrics['ndcg@10']:.4f}  fit {seconds:.0f} s"
    )
