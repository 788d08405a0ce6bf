"""Swing on Gowalla. The files know no order, so every like votes alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.recall import _neighbours

from tamis.recall import Swing

PROTOCOL = _neighbours.PROTOCOL
TURNS: list[list[dict[str, Any]]] = [
    [{"alpha": a} for a in (0.1, 1.0, 10.0, 100.0)],
    [{"prune": side} for side in ("candidate", "seen")],
    [{"neighbours": n} for n in (50, 100, 300)],
]


def run(seed: int, data: Path | None, say: Callable[[str], None]) -> dict[str, float]:
    """The metrics of one seed."""
    return _neighbours.line(Swing, TURNS, seed, data, say)
