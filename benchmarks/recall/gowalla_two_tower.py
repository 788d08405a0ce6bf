"""The two-tower channel on Gowalla, as it comes: no option is set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import perf_counter

from benchmarks.recall import gowalla

from tamis.cascade import FitContext
from tamis.evaluate import evaluate_channel
from tamis.recall import TwoTower

PROTOCOL = (
    "given train and test files; the package's defaults, decided on a tenth of the training items; "
    "the fit stops by a fifth of the training items of a tenth of the users, 3,000 at most, which "
    "it holds out; full ranking, training items masked; recall = found / test items"
)
KS = (10, 20, 50)


def run(seed: int, data: Path | None, say: Callable[[str], None]) -> dict[str, float]:
    """The metrics of one seed."""
    split = gowalla(data)
    say(f"{len(split.train.users):,} users, {len(split.train.items):,} items: {split.protocol}")
    began = perf_counter()
    channel = TwoTower().fit(split.train, FitContext(seed=seed))
    fitted = perf_counter()
    evaluated = evaluate_channel(channel, split, KS)
    assert channel.training is not None
    best = channel.training.best
    say(
        f"{channel.training.best_epoch} epochs, held-out NDCG@20 {best.get('ndcg', 0):.4f}, "
        f"recall@20 {evaluated.metrics['recall@20']:.4f}, "
        f"NDCG@20 {evaluated.metrics['ndcg@20']:.4f}; "
        f"fit {fitted - began:.0f} s, evaluated in {perf_counter() - fitted:.0f} s"
    )
    return {**evaluated.metrics, "fit_seconds": fitted - began}
