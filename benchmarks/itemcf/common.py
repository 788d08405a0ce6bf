"""What both sides of the ItemCF comparison do alike: read, time, weigh, answer.

Needs numpy alone: it runs in the peer's environment too.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

TOP = 20
NEIGHBOURS = 100


def peak_mb() -> float:
    """Peak resident memory of this process so far, MB: of its own, not of who started it."""
    status = Path("/proc/self/status")
    if status.is_file():
        lines = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return int(lines[0].split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(
    imported: float,
    ready: float,
    fit: Callable[[], Any],
    recommend: Callable[[Any], np.ndarray],
    out: Path,
    repeats: int,
) -> None:
    """Fits and recommends; the first round's memory counts, and the median round's time."""
    rounds = []
    peak = 0.0
    for turn in range(repeats):
        start = time.perf_counter()
        model = fit()
        fitted = time.perf_counter()
        items = recommend(model)
        rounds.append((fitted - start, time.perf_counter() - fitted))
        if turn == 0:
            peak = peak_mb()
            np.save(out, items)
        del model, items
    middle = sorted(rounds, key=sum)[repeats // 2]
    result = {
        "fit_seconds": middle[0],
        "recommend_seconds": middle[1],
        "imported_mb": imported,
        "ready_mb": ready,
        "peak_mb": peak,
    }
    print("RESULT " + json.dumps(result), flush=True)


def arguments() -> tuple[np.ndarray, np.ndarray, int, int, Path, int, dict[str, Any]]:
    """(users, items, how many of either, where the answer goes, repeats, options)."""
    pairs, out, repeats, options = sys.argv[1:5]
    given = np.load(pairs)
    user, item = given["user"], given["item"]
    return (
        user,
        item,
        int(given["users"]),
        int(given["items"]),
        Path(out),
        int(repeats),
        json.loads(options),
    )
