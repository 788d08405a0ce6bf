"""Tamis's side: `full_rank` of the same vectors.

run_tamis.py VECTORS.npz REPEATS THREADS
"""

from __future__ import annotations

import json
import sys

import numpy as np

from tamis.data import Ragged
from tamis.evaluate import full_rank
from tamis.runtime import peak_mb


def main() -> None:
    data = np.load(sys.argv[1])
    seen, targets = (
        Ragged(data[f"{name}_indptr"], data[f"{name}_values"]) for name in ("seen", "target")
    )
    users, items = data["users"], data["items"]
    few = Ragged.empty(16)
    full_rank(users[:16], items, few, few)  # compiles, or opens what was compiled
    found = [full_rank(users, items, seen, targets, (20,)) for _ in range(int(sys.argv[2]))]
    result = {
        "seconds": [one.seconds for one in found],
        **found[0].metrics,
        "peak_mb": peak_mb(),
    }
    print("RESULT " + json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
