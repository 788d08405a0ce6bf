"""The channel two_tower on logs of few users: what more steps and more histories bring.

    python -m benchmarks.bench_few_users [--users 300] [--seed 0] [--only LOG ...] [--data FOLDER]

The logs and the projects are those of `bench_init`: a simulated shop of views, carts and purchases
of 30,000 items, the clicks and likes of KuaiRand (all 664 users), and check-ins of Foursquare. An
epoch shows each user once, so a log of few users has few steps per epoch. Compared are 10 epochs,
which was the default before, the number of epochs that gives at least 200 steps, and that with a
history per behaviour, the default now. The validation part ends where the test part begins, at .9
of the events; its own cut is at .85 of those. NDCG@10 over the users with a history, full
catalogue, items seen before are masked; differences with 95 % intervals (2,000 bootstrap resamples,
paired by user). Writes build/bench/few-users.json after each fit.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.bench_init import LOGS
from numpy.typing import NDArray

from tamis.cascade import FitContext
from tamis.evaluate import evaluate_channel, ndcg, paired_bootstrap
from tamis.jobs import init
from tamis.recall import Hot, TwoTower
from tamis.service import ProjectFolder
from tamis.splitting import by_time

BUILD = Path(__file__).parent.parent / "build" / "bench"
WANTED = ("kuairand clicks", "foursquare", "shop, sparse")
VARIANTS: dict[str, Any] = {
    "hot": Hot(),
    "10 epochs": TwoTower(epochs=10, histories="declared"),
    "200 steps": TwoTower(histories="declared"),
    "200 steps, a history per behaviour": TwoTower(),
}
BEFORE = "10 epochs"


def project(name: str, words: argparse.Namespace) -> ProjectFolder:
    """The log as tables, and the project that `tamis init` writes for it."""
    folder = BUILD / "few-users" / name.replace(", ", "-").replace(" ", "-")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    LOGS[name](folder, words)
    init(folder, force=True)
    return ProjectFolder(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--users", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", choices=WANTED, default=WANTED)
    shared = Path(__file__).parents[2] / "shared" / "data"
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("TAMIS_DATA", shared)))
    words = parser.parse_args()
    BUILD.mkdir(parents=True, exist_ok=True)
    out = BUILD / "few-users.json"
    rows: dict[str, Any] = json.loads(out.read_text("utf-8")) if out.is_file() else {}
    for name in words.only:
        users = words.users if name != "kuairand clicks" else 10**6
        opened = project(name, argparse.Namespace(users=users, seed=words.seed, data=words.data))
        config, test = opened.config, by_time(opened.data, 0.9)
        context = FitContext(
            seed=words.seed,
            features=config.features,
            items=config.items,
            users=config.users,
            config=config,
        )
        for part, half in (("validation", by_time(test.train, 0.85)), ("test", test)):
            found: dict[str, NDArray[np.float64]] = {}
            for variant, channel in VARIANTS.items():
                lists = evaluate_channel(channel.fit(half.train, context), half, (10,)).lists
                value = found[variant] = ndcg(lists, half.targets, 10)
                row = {"users": len(half), "ndcg": float(np.nanmean(value))}
                if BEFORE in found and variant != BEFORE:
                    row |= paired_bootstrap(value, found[BEFORE]).to_dict()
                rows[f"{name} | {part} | {variant}"] = row
                out.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
                print(name, part, variant, row, flush=True)


if __name__ == "__main__":
    main()
