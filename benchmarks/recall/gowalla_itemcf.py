"""ItemCF on Gowalla. The files know no order, so every like votes alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.recall import _neighbours

from tamis.recall import ItemCF

PROTOCOL = _neighbours.PROTOCOL
SIMILARITY: list[list[dict[str, Any]]] = [
    [{"asymmetry": a, "shrinkage": 30.0} for a in (0.5, 0.6, 0.7, 0.8, 0.9)],
    [{"shrinkage": s} for s in (0.0, 10.0, 30.0, 60.0, 120.0)],
    [{"user_discount": kind} for kind in ("log", "sqrt", "none")],
    [{"asymmetry": a} for a in (0.6, 0.7, 0.8, 0.9)],
]
LISTS: list[list[dict[str, Any]]] = [
    [{"prune": side} for side in ("candidate", "seen")],
    [{"neighbours": n} for n in (100, 300, 1000)],
]


def run(seed: int, data: Path | None, say: Callable[[str], None]) -> dict[str, float]:
    """The metrics of one seed."""
    return _neighbours.line(ItemCF, [*SIMILARITY, *LISTS], seed, data, say)
