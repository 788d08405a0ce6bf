"""ItemCF: whose most similar items to keep, fixed or chosen on held-out likes (`prune`).

    python -m benchmarks.bench_prune [--users 100000] [--only LOG ...] [--data FOLDER]

The logs and projects are those of `bench_init`. The validation part is the last 15 % of the events
before the test cut, the test part the events after it; `auto` chooses on likes held out of the
training part of each. NDCG@10 over the users with a history, full catalogue, seen items masked;
differences from `candidate`, the default, with 95 % intervals (2,000 bootstrap resamples, paired by
user). Writes build/bench/prune.json after each log.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.bench_few_users import project
from benchmarks.bench_init import LOGS

from tamis.cascade import FitContext
from tamis.evaluate import evaluate_channel, ndcg, paired_bootstrap
from tamis.recall import ItemCF
from tamis.splitting import by_time

BUILD = Path(__file__).parent.parent / "build" / "bench"
WANTED = ("movielens-1m", "foursquare", "kuairand clicks", "shop, sparse")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--shop-users", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", choices=list(LOGS), default=WANTED)
    shared = Path(__file__).parents[2] / "shared" / "data"
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("TAMIS_DATA", shared)))
    words = parser.parse_args()
    BUILD.mkdir(parents=True, exist_ok=True)
    out = BUILD / "prune.json"
    rows: dict[str, Any] = json.loads(out.read_text("utf-8")) if out.is_file() else {}
    for name in words.only:
        users = words.shop_users if name.startswith("shop") else words.users
        log = project(name, argparse.Namespace(users=users, seed=words.seed, data=words.data))
        context = FitContext(seed=words.seed, config=log.config, items=log.config.items)
        test = by_time(log.data, 0.9)
        for part, half in (("validation", by_time(test.train, 0.85)), ("test", test)):
            found: dict[str, Any] = {}
            for prune in ("candidate", "seen", "auto"):
                began = time.process_time()
                channel = ItemCF(prune=prune).fit(half.train, context)
                seconds = time.process_time() - began
                lists = evaluate_channel(channel, half, (10,)).lists
                value = found[prune] = ndcg(lists, half.targets, 10)
                row = {"users": len(half), "ndcg": float(np.nanmean(value)), "seconds": seconds}
                row |= paired_bootstrap(value, found["candidate"]).to_dict()
                rows[f"{name} | {part} | {prune}"] = row
                out.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
                print(name, part, prune, row, flush=True)


if __name__ == "__main__":
    main()
