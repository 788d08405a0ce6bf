"""Makes this process a background job: low priority, few threads."""

from __future__ import annotations

import os
import sys

from tamis.runtime.threads import threads

VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "POLARS_MAX_THREADS",
)


def run_in_background(nice: int, most_threads: int | None) -> int:
    """Lowers the priority of this process, and limits its threads from now on; returns their limit.

    To be called before the libraries that compute are loaded: some of them read the limit when
    they start. A limit that the environment sets already is only lowered.

    Args:
        nice: added to the niceness, on systems that have it.
        most_threads: None: half of those that this process may use, at least one.
    """
    if nice and hasattr(os, "nice"):
        os.nice(nice)
    limit = max(1, threads() // 2) if most_threads is None else max(1, most_threads)
    for name in VARIABLES:
        given = os.environ.get(name, "")
        own = int(given) if given.isdigit() and int(given) else limit
        os.environ[name] = str(min(own, limit))
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(min(torch.get_num_threads(), limit))
    return limit
