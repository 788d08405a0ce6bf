"""EASE with recency on Amazon Beauty: what was liked before, nearer likes counting more.

Strict leave-one-out. All options are chosen on the validation items; the matrix of the test is the
one fitted without them, and the validation item joins the history when the test item is predicted.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import perf_counter

from benchmarks.recall import beauty, leave_out, peak_mb

from tamis.cascade import FitContext, valid_of
from tamis.evaluate import evaluate_channel
from tamis.recall import EASE

PROTOCOL = (
    "strict leave-one-out: trained on all but each user's last two items, options chosen on the "
    "last but one, the last is predicted with the last but one in the history; full ranking, seen "
    "items masked"
)
KS = (5, 10, 20)


def run(seed: int, data: Path | None, say: Callable[[str], None]) -> dict[str, float]:
    """The metrics of one seed, which draws the questions that the options are chosen by."""
    log = beauty(data)
    valid, test = leave_out(log)
    say(f"{len(log.users):,} users, {len(log.items):,} items, {len(log.events):,} events")
    began = perf_counter()
    config = EASE(tune_items=20_000, max_gb=16).chosen(
        valid.train, FitContext(seed=seed, valid=valid_of(valid))
    )
    chosen = perf_counter()
    say(
        f"chosen in {chosen - began:.0f} s: l2 {config.l2:g}, closeness {config.closeness:g}, "
        f"decay {config.decay:g}"
    )
    channel = EASE(config).fit(test.train)
    fitted = perf_counter()
    evaluated = evaluate_channel(channel, test, KS)
    say(f"fit {fitted - chosen:.0f} s, recall {evaluated.users_per_second:,.0f} users/s")
    return {
        **evaluated.metrics,
        "choose_seconds": chosen - began,
        "fit_seconds": fitted - chosen,
        "users_per_second": evaluated.users_per_second,
        "peak_mb": peak_mb(),
    }
