"""One seed of one line, in a process of its own: `python -m benchmarks.one_seed SUITE NAME SEED
[DATA]`.

Its last line is `RESULT {json}`. Exit code 3: the data is not there.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from pathlib import Path

import torch
from benchmarks.places import MISSING, MissingDataError, notes

from tamis.runtime import peak_mb
from tamis.schema import DataError
from tamis.train import allow_kept_memory


def main(suite: str, name: str, seed: int, data: Path | None) -> None:
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    allow_kept_memory()
    line = importlib.import_module(f"benchmarks.{suite}.{name.replace('-', '_')}")

    def say(text: str) -> None:
        print(f"  {text}", flush=True)

    start = time.perf_counter()
    try:
        metrics = line.run(seed, data, say)
    except (MissingDataError, DataError) as error:
        print(error, file=sys.stderr)
        sys.exit(MISSING)
    result = {
        "metrics": {key: float(value) for key, value in metrics.items()},
        "protocol": "; ".join([line.PROTOCOL, *dict.fromkeys(notes)]),
        "seconds": time.perf_counter() - start,
        "peak_mb": peak_mb(),
    }
    print("RESULT " + json.dumps(result), flush=True)


if __name__ == "__main__":
    given = sys.argv[1:]
    main(given[0], given[1], int(given[2]), Path(given[3]) if len(given) > 3 else None)
