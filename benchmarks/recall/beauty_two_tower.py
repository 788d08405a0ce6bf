"""The two-tower channel on Amazon Beauty: every tower, and every loss on one that costs little."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.recall import beauty, leave_out

from tamis.cascade import FitContext, valid_of
from tamis.evaluate import evaluate_channel
from tamis.recall import TwoTower
from tamis.splitting import Holdout

PROTOCOL = (
    "leave-one-out, strict: the validation item is not trained on, but is part of the history when "
    "the test item is predicted; epochs, and which tower and loss is reported without its name, "
    "chosen by validation NDCG; full ranking, seen items masked"
)
KS = (5, 10, 20)
TOWERS: dict[str, dict[str, Any]] = {
    "sum": {},
    "sum, next item": {"examples": "pairs"},
    "gru": {"user_network": "gru", "examples": "pairs"},
    "transformer": {"user_network": "transformer", "examples": "pairs"},
}
CHEAP = "sum, next item"
"""Carries the losses: a fit of a recurrent tower costs ten of it."""
LOSSES = ("full", "sampled", "in_batch", "gbce", "pointwise", "hinge", "logistic")
MOST_EPOCHS = 15


def run(seed: int, data: Path | None, say: Callable[[str], None]) -> dict[str, float]:
    """The metrics of one seed; those without a name are the best's by validation."""
    valid, test = leave_out(beauty(data))
    tried = {name: _one(name, options, seed, valid, test, say) for name, options in TOWERS.items()}
    say(f"every loss on {CHEAP}:")
    losses = {"full": tried[CHEAP]}
    for loss in LOSSES[1:]:
        losses[loss] = _one(loss, {**TOWERS[CHEAP], "loss": loss}, seed, valid, test, say)
    _, best = max([*tried.values(), *losses.values()], key=lambda one: one[0])
    each = {
        f"{key} {name}": metrics[key]
        for name, (_, metrics) in {**tried, **losses}.items()
        for key in ("hit@10", "ndcg@10")
    }
    return {**best, **each}


def _one(
    name: str,
    options: dict[str, Any],
    seed: int,
    valid: Holdout,
    test: Holdout,
    say: Callable[[str], None],
) -> tuple[float, dict[str, float]]:
    """Validation NDCG@10 and the test metrics of a fit."""
    began = perf_counter()
    channel = TwoTower(epochs=MOST_EPOCHS, **{"loss": "full", **options})
    channel.fit(valid.train, FitContext(seed=seed, valid=valid_of(valid)))
    seconds = perf_counter() - began
    by = evaluate_channel(channel, valid, (10,)).metrics["ndcg@10"]
    metrics = evaluate_channel(channel, test, KS).metrics
    say(
        f"{name:16} validation NDCG@10 {by:.4f}  test HR@10 {metrics['hit@10']:.4f} "
        f"NDCG@10 {metrics['ndcg@10']:.4f}  fit {seconds:.0f} s"
    )
    return by, metrics
