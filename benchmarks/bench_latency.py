"""One request through the whole cascade, in process, on one thread: p50, p99, and where it goes.

    python -m benchmarks.bench_latency [--demo DIR] [--simulated DIR] [--requests 1000]

Two projects, made where they are missing: tamis-demo (7 channels x 300, pre-rank to 300, rank 300,
re-rank to 20) and build/bench/simulated (200,000 items, 3 channels x 1,500 and the best 3,000 of
what they find, for their lists overlap; 300 ranked).
Every request is another user, drawn from those with a history, after a warm-up; nothing is cached
between requests. Prints a table per project and writes build/bench/latency.json.

On a busy machine the scheduler's slices (milliseconds) end up in p99: run it alone.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from tamis.bundle import Kind, Versions
from tamis.jobs import demo, simulate, train
from tamis.service import Recommender

BUILD = Path(__file__).parent.parent / "build" / "bench"
WARM_UP = 50
BOUND = {"demo": 10.0, "simulated": 20.0}
"""Milliseconds that p99 may take."""

Float64 = NDArray[np.float64]


def make(name: str, project: Path) -> None:
    """Makes and trains the project where it is missing."""
    if not (project / "tamis.toml").exists():
        print(f"making the project {name} in {project} (some minutes, once) …", flush=True)
        if name == "demo":
            demo(project)
        else:
            simulate(project)
    if not list(Versions(project)):
        train(project, only=Kind.SERVING)


def widened(recommender: Recommender, quota: int, limit: int) -> Recommender:
    """Every channel brings `quota`, the merge lets `limit` through."""
    retrieval = recommender.cascade.retrieval
    channels = {
        name: channel.model_copy(update={"quota": quota})
        for name, channel in retrieval.config.channels.items()
    }
    merge = retrieval.config.merge.model_copy(update={"limit": limit})
    retrieval.config = retrieval.config.model_copy(update={"channels": channels, "merge": merge})
    return recommender


def users(recommender: Recommender, requests: int) -> list[str]:
    """Ids of users with a history, drawn by a fixed seed."""
    ids = recommender.parts.users.ids
    rows = np.arange(len(ids), dtype=np.int32)
    now = np.full(len(ids), recommender.manifest.data_until, dtype=np.int64)
    known = rows[np.diff(recommender.parts.queries(rows, now).history.indptr) > 0]
    return ids.gather(np.random.default_rng(0).choice(known, requests)).to_list()


def measure(recommender: Recommender, asked: list[str]) -> dict[str, Float64]:
    """Milliseconds (requests,) in total and per stage; `other` is ids, history and the answer."""
    laps: dict[str, list[float]] = {"total": []}
    for user in asked:
        start = perf_counter()
        answer = recommender.recommend(user)
        total = 1000 * (perf_counter() - start)
        stages = {name: 1000 * seconds for name, seconds in answer.seconds.items()}
        stages["other"] = total - sum(stages.values())
        laps["total"].append(total)
        for name, took in stages.items():
            laps.setdefault(name, []).append(took)
    return {name: np.array(took[WARM_UP:]) for name, took in laps.items()}


def sizes(recommender: Recommender, asked: list[str]) -> dict[str, float]:
    """Mean candidates per request after the stages."""
    rows = recommender.parts.users.rows(asked)
    now = np.full(len(rows), recommender.manifest.data_until, dtype=np.int64)
    outcome = recommender.cascade.run(
        recommender.parts.queries(rows, now), recommender.parts.config.cascade.slate
    )
    stages = {
        "recalled": outcome.recalled,
        "kept": outcome.kept,
        "ranked": outcome.ranked,
        "slate": outcome.slate,
    }
    return {name: round(len(candidates) / len(rows), 1) for name, candidates in stages.items()}


def report(name: str, recommender: Recommender, requests: int, console: Console) -> dict[str, Any]:
    """Measures one project and prints its table."""
    asked = users(recommender, requests + WARM_UP)
    laps = measure(recommender, asked)
    counts = sizes(recommender, asked[:200])
    total = laps["total"]
    title = (
        f"{name}: {len(recommender.parts.items):,} items, {counts['recalled']:,.0f} recalled, "
        f"{counts['ranked']:,.0f} ranked, {counts['slate']:.0f} shown"
    )
    table = Table("stage", title=title, title_justify="left")
    for heading in ("p50 ms", "p99 ms", "share"):
        table.add_column(heading, justify="right")
    figures: dict[str, dict[str, float]] = {}
    for stage, took in laps.items():
        p50, p99 = np.percentile(took, [50, 99])
        figures[stage] = {"p50": round(float(p50), 3), "p99": round(float(p99), 3)}
        if stage != "total":
            table.add_row(stage, f"{p50:.2f}", f"{p99:.2f}", f"{took.sum() / total.sum():.0%}")
    table.add_section()
    table.add_row("total", f"{figures['total']['p50']:.2f}", f"{figures['total']['p99']:.2f}", "")
    console.print(table)
    bound = BOUND[name]
    verdict = "within" if figures["total"]["p99"] <= bound else "[red]above[/]"
    console.print(f"p99 is {verdict} the bound of {bound:.0f} ms\n")
    return {"requests": len(total), "candidates": counts, "ms": figures, "bound_p99_ms": bound}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--demo", type=Path, default=Path("tamis-demo"))
    parser.add_argument("--simulated", type=Path, default=BUILD / "simulated")
    parser.add_argument("--requests", type=int, default=1000)
    words = parser.parse_args()
    projects = {name: getattr(words, name) for name in BOUND}
    for name, project in projects.items():
        make(name, project)
    if os.environ.get("OMP_NUM_THREADS") != "1":  # read once, when the libraries are loaded
        again = [sys.executable, "-m", "benchmarks.bench_latency", *sys.argv[1:]]
        os.execve(sys.executable, again, {**os.environ, "OMP_NUM_THREADS": "1"})
    torch.set_num_threads(1)
    console = Console()
    result: dict[str, Any] = {"threads": 1, "python": platform.python_version()}
    for name, project in projects.items():
        recommender = Recommender(list(Versions(project))[-1])
        if name == "simulated":
            recommender = widened(recommender, 1500, 3000)
        result[name] = report(name, recommender, words.requests, console)
    BUILD.mkdir(parents=True, exist_ok=True)
    (BUILD / "latency.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
