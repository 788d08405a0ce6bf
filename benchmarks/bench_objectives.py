"""What each objective of the re-rank rule `objective` costs the others, on a simulated shop.

    python -m benchmarks.bench_objectives [--items 1000] [--users 1500] [--requests 1000] [--keep]

A simulated shop is trained for evaluation; `tamis evaluate objectives` arranges the slates of the
users after the test cut with each term at several weights. Intervals are by a bootstrap over users,
changes are paired; `reward` is the true worth of a slate in the simulated world. Nothing is tuned.
Writes build/bench/objectives.json; with --keep benchmarks/objectives.json, of which
docs/write_objectives.py writes the table and the figure of docs/evaluation.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from tamis.jobs import evaluate_objectives, simulate, train

HERE = Path(__file__).parent
BUILD = HERE.parent / "build" / "bench"
KEPT = HERE / "objectives.json"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--items", type=int, default=1_000)
    parser.add_argument("--users", type=int, default=1_500)
    parser.add_argument("--days", type=int, default=20)
    parser.add_argument("--requests", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", action="store_true", help="write benchmarks/objectives.json")
    words = parser.parse_args()
    folder = BUILD / "objectives"
    shutil.rmtree(folder, ignore_errors=True)
    simulate(
        folder,
        items=words.items,
        users=words.users,
        days=words.days,
        seed=words.seed,
        progress=True,
    )
    train(folder, only="evaluation", progress=True)
    figure = BUILD / "objectives.svg"
    found = evaluate_objectives(
        folder, requests=words.requests, figure=figure, progress=True
    ).to_dict()
    world = {"items": words.items, "users": words.users, "days": words.days, "seed": words.seed}
    text = json.dumps({**found, "world": world}, indent=1) + "\n"
    (BUILD / "objectives.json").write_text(text, "utf-8")
    if words.keep:
        KEPT.write_text(text, "utf-8")
    print(f"written: {KEPT if words.keep else BUILD / 'objectives.json'}")


if __name__ == "__main__":
    main()
