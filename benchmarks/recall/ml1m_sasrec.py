"""SASRec on MovieLens-1M, the package's defaults: without times, and time-aware beside it.

The time-aware model is told when the next rating happens. Its figures (`time_aware_…`) are another
question's than those of models that are not told, and are reported as such.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks.recall import _sequences, leave_out, movielens_1m, peak_mb

from tamis.recall import SASRec

PROTOCOL = (
    _sequences.PROTOCOL + "; all ratings count, items with at least 5; time_aware_: the model is "
    "also given the time of the rating that is predicted"
)


def run(seed: int, data: Path | None, say: Callable[[str], None]) -> dict[str, float]:
    """The metrics of one seed."""
    log = movielens_1m(data)
    valid, test = leave_out(log)
    say(f"{len(log.users):,} users, {len(log.items):,} items, {len(log.events):,} events")
    plain = _sequences.evaluated(SASRec, {}, valid, test, seed, say)
    peak = peak_mb()
    aware = _sequences.evaluated(SASRec, {"time_aware": True}, valid, test, seed, say)
    beside = {f"time_aware_{name}": aware[name] for name in ("hit@10", "ndcg@10", "fit_seconds")}
    return {**plain, **beside, "peak_mb": peak}
