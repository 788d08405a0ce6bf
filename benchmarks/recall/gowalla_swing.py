"""Swing on Gowalla. The files know no order, so every like votes alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.recall import _neighbours, gowalla

from tamis.recall import ItemCF, Swing

PROTOCOL = _neighbours.PROTOCOL
TURNS: list[list[dict[str, Any]]] = [
    [{"popularity": p} for p in (0.25, 0.5, 0.75, 1.0)],
    [{"power": p} for p in (0.3, 0.5, 0.7, 1.0)],
    [{"alpha": a} for a in (0.1, 1.0, 10.0)],
    [{"neighbours": n} for n in (100, 300)],
]


def run(seed: int, data: Path | None, say: Callable[[str], None]) -> dict[str, float]:
    """The metrics of one seed, and how long ItemCF takes to fit."""
    figures = _neighbours.line(Swing, TURNS, seed, data, say)
    train = gowalla(data).train
    began = perf_counter()
    ItemCF().fit(train)
    return {**figures, "itemcf_fit_seconds": perf_counter() - began}
