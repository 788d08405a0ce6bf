"""Latency of single requests, in total and by stage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tamis.data import UNKNOWN
from tamis.service import Recommender

REQUESTS = 500
"""Single requests whose latency is measured, after a warm-up."""
WARM_UP = 30
"""Requests before them, which are not measured."""


def measured_latency(recommender: Recommender, users: NDArray[np.int32]) -> dict[str, Any]:
    """Latency of single requests in this process, one after the other, on one thread.

    users: (U,) rows of the users who request, in turn; without any, requests name no user.
    """
    rows = np.resize(users, REQUESTS + WARM_UP) if len(users) else np.full(60, UNKNOWN, np.int32)
    ids = recommender.parts.users.ids
    took: list[float] = []
    stages: list[dict[str, float]] = []
    with one_thread():
        for row in rows:
            user = None if row == UNKNOWN else ids[int(row)]
            start = perf_counter()
            answer = recommender.recommend(user)
            took.append((perf_counter() - start) * 1000)
            stages.append(answer.seconds)
    measured = np.array(took[WARM_UP:])
    return {
        "p50": round(float(np.percentile(measured, 50)), 3),
        "p99": round(float(np.percentile(measured, 99)), 3),
        "requests": len(measured),
        "threads": 1,
        **_by_stage(stages[WARM_UP:], float(measured.mean())),
    }


@contextmanager
def one_thread() -> Iterator[None]:
    """Runs torch on one thread, as a service's worker does."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _by_stage(laps: list[dict[str, float]], total: float) -> dict[str, dict[str, float]]:
    """Mean milliseconds per stage, and each stage's share of a request of `total` ms."""
    names = dict.fromkeys(name for lap in laps for name in lap)
    mean_ms = {n: 1000 * sum(lap.get(n, 0.0) for lap in laps) / len(laps) for n in names}
    mean_ms["other"] = total - sum(mean_ms.values())  # ids, the history and the answer
    return {
        "stages": {name: round(ms, 4) for name, ms in mean_ms.items()},
        "shares": {name: round(ms / total, 4) for name, ms in mean_ms.items()},
    }
