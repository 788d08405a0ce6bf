"""EASE on Gowalla: 40,981 items, one matrix of 6.7 GB, made, inverted and kept in place.

λ is chosen on a tenth of every user's training items, on the part of the catalogue that is liked
most; then the whole matrix is fitted on all of the training file. The files know no order, so every
like votes alike.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import perf_counter

from benchmarks.recall import gowalla, peak_mb

from tamis.cascade import FitContext, valid_of
from tamis.evaluate import evaluate_channel
from tamis.recall import EASE
from tamis.splitting import carve

PROTOCOL = (
    "given train and test files; λ chosen on a tenth of every user's training items, then fitted "
    "on all of them; full ranking, training items masked; recall = found / test items"
)
KS = (10, 20, 50)
TUNE_ITEMS = 12_000


def run(seed: int, data: Path | None, say: Callable[[str], None]) -> dict[str, float]:
    """The metrics of one seed, which draws the items that λ is chosen by."""
    test = gowalla(data)
    say(f"{len(test.train.users):,} users, {len(test.train.items):,} items: {test.protocol}")
    began = perf_counter()
    part = carve(test.train, 0.1, seed=seed)
    config = EASE(tune_items=TUNE_ITEMS, max_gb=16).chosen(
        part.train, FitContext(seed=seed, valid=valid_of(part))
    )
    chosen = perf_counter()
    say(f"chosen in {chosen - began:.0f} s: l2 {config.l2:g}; peak {peak_mb():,.0f} MB")
    before = peak_mb()
    channel = EASE(config).fit(test.train)
    fitted = perf_counter()
    say(f"fit {fitted - chosen:.0f} s; peak {peak_mb():,.0f} MB")
    evaluated = evaluate_channel(channel, test, KS)
    say(f"recall {evaluated.users_per_second:,.0f} users/s; peak {peak_mb():,.0f} MB")
    return {
        **evaluated.metrics,
        "choose_seconds": chosen - began,
        "fit_seconds": fitted - chosen,
        "users_per_second": evaluated.users_per_second,
        "peak_mb": peak_mb(),
        "peak_mb_before_fit": before,
    }
