"""SASRec on Amazon Beauty, the package's defaults; GRU4Rec beside it on the same examples."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks.recall import _sequences, beauty, leave_out, peak_mb

from tamis.recall import GRU4Rec, SASRec

PROTOCOL = _sequences.PROTOCOL


def run(seed: int, data: Path | None, say: Callable[[str], None]) -> dict[str, float]:
    """The metrics of one seed."""
    log = beauty(data)
    valid, test = leave_out(log)
    say(f"{len(log.users):,} users, {len(log.items):,} items, {len(log.events):,} events")
    own = _sequences.evaluated(SASRec, {}, valid, test, seed, say)
    peak = peak_mb()
    gru = _sequences.evaluated(GRU4Rec, {}, valid, test, seed, say)
    beside = {f"gru4rec_{name}": gru[name] for name in ("hit@10", "ndcg@10", "fit_seconds")}
    return {**own, **beside, "peak_mb": peak}
