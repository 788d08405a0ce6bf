"""A full update against training from scratch on the same data: quality, work, and kills.

    python -m benchmarks.bench_update [--data movielens] [--from 0.8] [--to 0.9] [--users 2000]
        [--seeds 1] [--kills 0] [--keep]

MovieLens-1M replayed by time, or the impressions of a simulated feed: a version is trained on the
first share of the events; then more come, up to another share. `tamis update --full` learns them
from the version's weights, and `tamis train` learns all events from scratch. Both versions are
evaluated on the events after that, by the code of `tamis evaluate`; of the feed, predictions are
compared with the simulation's true probabilities, too. --kills: instead, the update is
killed by SIGKILL at so many random moments; after each the serving version is verified. Prints a
table and writes build/bench/update.json; with --keep also benchmarks/update-DATA.json, of which
docs/write_updates.py writes a table of docs/updating.md.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
from benchmarks.places import BUILD
from rich.console import Console
from rich.table import Table

from tamis.bundle import Kind, Versions
from tamis.datasets import materialise
from tamis.jobs import simulate, train, update
from tamis.jobs.evaluate_cascade import CascadeEvaluator
from tamis.runtime import Progress
from tamis.service import ProjectFolder, Recommender
from tamis.simulator.behaviour import DEFAULT_COEFFICIENTS

TOML = """
name = "movielens by time"
clock = "data"
[events]
path = "events.parquet"
time = "timestamp"
value = "rating"
[items]
path = "items.csv"
id = "item_id"
title = "title"
category = "genres"
category_separator = "|"
[users]
path = "users.csv"
id = "user_id"
[behaviours.like]
min_value = 4.0
positive = true
[behaviours.dislike]
[[features]]
kind = "sparse"
name = "user_id"
[[features]]
kind = "sparse"
name = "item_id"
[[features]]
kind = "varlen"
name = "genres"
separator = "|"
max_len = 6
[[features]]
kind = "sparse"
name = "gender"
[split]
windows = 3
horizon = "{horizon}"
max_rows = 300000
[cascade.channels.itemcf]
quota = 100
[cascade.channels.hot]
quota = 50
[cascade.channels.two_tower]
quota = 100
[cascade.filters.seen]
[cascade.rank]
use = "deepfm"
[tasks.like]
[update]
nice = 0
[gate]
events_ratio = 1000.0
unknown_users = 1.0
"""


ITEMS, USERS, DAYS, EAGERNESS = 2_000, 20_000, 30, 1.0
"""Of the simulated feed. So eager users buy often enough for the rate of purchases to be known
within a few per cent."""


def main() -> None:
    asked = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    asked.add_argument("--data", choices=("movielens", "feed"), default="movielens")
    asked.add_argument("--keep", action="store_true", help="keep the result for the page")
    asked.add_argument("--from", dest="first", type=float, default=0.8, help="share learnt first")
    asked.add_argument("--to", dest="second", type=float, default=0.9, help="share learnt then")
    asked.add_argument("--users", type=int, default=0, help="only so many users; 0: all")
    asked.add_argument("--seeds", type=int, default=1, help="of the simulated feed")
    asked.add_argument("--horizon", default="5d", help="[split] horizon")
    asked.add_argument("--kills", type=int, default=0, help="kills of an update, instead")
    given = asked.parse_args()
    runs: list[dict[str, dict[str, Any]]] = []
    kept = {"data": given.data, "from": given.first, "to": given.second, "users": given.users}
    for seed in range(given.seeds if given.data == "feed" else 1):
        base = BUILD / "update"
        shutil.rmtree(base, ignore_errors=True)
        if given.data == "feed":
            events = simulated(base / "warm", given.users or USERS, seed)
        else:
            events = movielens(base / "warm", given.users, given.horizon)
        kept["events"] = len(events)
        replay = Replay(base, events, given.first, given.second)
        if given.kills:
            replay.kill(given.kills)
            return
        runs.append(replay.compared())
        show(runs[-1], f"{given.data} by time, {len(events):,} events, seed {seed}")
    text = json.dumps(kept | {"runs": runs}, indent=1) + "\n"
    (BUILD / "update.json").write_text(text, "utf-8")
    if given.keep:
        (Path(__file__).parent / f"update-{given.data}.json").write_text(text, "utf-8")


@dataclass
class Replay:
    """A project whose log grows."""

    base: Path
    """Holds the project `warm`, and copies of it."""
    events: pl.DataFrame
    """The whole log."""
    first: float
    """Share of the log that the version is trained on."""
    second: float
    """Share of the log after which it is updated."""

    def write(self, folder: Path, share: float) -> None:
        """Writes the log up to a share of it."""
        self.events.head(int(share * len(self.events))).write_parquet(folder / "events.parquet")

    def trained(self) -> float:
        """Trains the version, and lets the log grow; seconds of the training."""
        project = self.base / "warm"
        self.write(project, self.first)
        began = time.perf_counter()
        train(project, only="serving")
        took = time.perf_counter() - began
        self.write(project, self.second)
        return took

    def compared(self) -> dict[str, dict[str, Any]]:
        """What each version needed, and how good it is."""
        self.trained()
        warm, scratch, before = (self.base / name for name in ("warm", "scratch", "before"))
        shutil.copytree(warm, scratch, ignore=shutil.ignore_patterns("versions"))
        shutil.copytree(warm, before)
        results: dict[str, dict[str, Any]] = {"before": {"seconds": 0.0, "rows": {}}}
        began = time.perf_counter()
        report = update(warm)
        results["update"] = {"seconds": time.perf_counter() - began, "rows": _rows(report.learnt)}
        results["update"]["published"] = report.version is not None
        results["update"]["checks"] = [str(c) for c in report.checks if not c.passed]
        if report.version is None:
            print("the gate refused the update:", *results["update"]["checks"], sep="\n  ")
        began = time.perf_counter()
        trained = train(scratch, only="serving")
        results["scratch"] = {"seconds": time.perf_counter() - began, "rows": _samples(trained)}
        cut = Versions(scratch).current(Kind.SERVING).manifest.data_until
        for name, folder in (("before", before), ("update", warm), ("scratch", scratch)):
            self.write(folder, 1.0)
            results[name] |= evaluated(folder, cut)
        return results

    def kill(self, kills: int) -> None:
        """Kills updates at random moments, and verifies the serving version after each."""
        longest, project = self.trained(), self.base / "warm"
        command = [sys.executable, "-m", "tamis", "update", str(project), "--full", "--json"]
        draw, before, finished = random.Random(0), _current(project), 0
        for number in range(kills):
            process = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            time.sleep(draw.uniform(0.0, longest))
            process.send_signal(signal.SIGKILL)
            process.wait()
            Versions(project).current(Kind.SERVING).verify()
            if _current(project) != before:  # it had published already: back, for the next kill
                finished += 1
                (project / "versions" / Kind.SERVING.value).write_text(before, "utf-8")
            print(f"  {number + 1} kills, {finished} after the publication", flush=True)
        done = subprocess.run(command, env=os.environ, capture_output=True, text=True, check=True)
        report = json.loads(done.stdout)
        Versions(project).current(Kind.SERVING).verify()
        print(
            f"{kills} kills at random moments: the serving version was whole after each; then "
            f"{report['version']} was made from {report['former']}"
        )


def show(run: dict[str, dict[str, Any]], title: str) -> None:
    """Prints the tables of a run."""
    table = Table("version", title=title)
    for heading in ("NDCG@10", "AUC", "seconds", "ranker rows × epochs"):
        table.add_column(heading, justify="right")
    for name, one in run.items():
        quality = (f"{one['ndcg']:.4f}", f"{one['auc']:.4f}")
        table.add_row(name, *quality, f"{one['seconds']:.1f}", f"{one['rows'].get('rank', 0):,}")
    tasks = Table("task", title="predicted ÷ observed (÷ true)")
    for name in run:
        tasks.add_column(name, justify="right")
    for task in run["update"]["tasks"]:
        tasks.add_row(task, *(_shown(one["tasks"][task]) for one in run.values()))
    console = Console()
    console.print(table)
    console.print(tasks)


def _shown(task: dict[str, float]) -> str:
    """The ratios of a task."""
    true = task.get("predicted ÷ true")
    return f"{task['predicted ÷ observed']:.3f}" + ("" if true is None else f" ({true:.3f})")


def movielens(project: Path, users: int, horizon: str) -> pl.DataFrame:
    """Writes the project but its log, and returns the events in the order of time."""
    source = materialise("movielens-1m", BUILD / "movielens-1m")
    events = pl.read_csv(source / "events.csv").sort("timestamp")
    if users:
        every = events["user_id"].unique(maintain_order=True)
        few = every.sample(users, seed=0) if len(every) > users else every
        events = events.filter(pl.col("user_id").is_in(few.implode()))
    project.mkdir(parents=True)
    for name in ("items.csv", "users.csv"):
        shutil.copy(source / name, project / name)
    (project / "tamis.toml").write_text(TOML.format(horizon=horizon), "utf-8")
    return events


def simulated(project: Path, users: int, seed: int) -> pl.DataFrame:
    """Simulates a feed, and returns its events in the order of their arrival."""
    simulate(project, items=ITEMS, users=users, days=DAYS, seed=seed, eagerness=EAGERNESS)
    return pl.read_parquet(project / "events.parquet").sort("arrival", maintain_order=True)


def evaluated(folder: Path, cut: int) -> dict[str, Any]:
    """NDCG@10 of the slates, AUC and calibration of the ranker on the events after `cut`, as
    `tamis evaluate` measures them; the histories of the version before the update are those at the
    cut, too."""
    found = Recommender.open(folder)
    evaluator = CascadeEvaluator(ProjectFolder(folder), found, Progress("evaluate", wanted=False))
    evaluator.cut, evaluator.manifest = cut, replace(found.manifest, data_until=cut)
    known = evaluator.data.as_of(cut)
    from tamis.features import Histories, OnlineStatistics

    found.parts.histories = Histories.of(known)
    recipes = found.parts.space.recipes
    found.parts.statistics = OnlineStatistics.of(known, recipes=recipes)
    evaluator.cascade = found.parts.cascade()
    result = evaluator.run()
    ranker = result["ranker"]
    auc = ranker["auc"] if "auc" in ranker else next(iter(ranker["tasks"].values()))["auc"]
    found: dict[str, Any] = {"ndcg": result["cascade"]["ndcg@10"], "auc": auc}
    truth = true_rates(folder, cut)
    found["tasks"] = {
        name: ratios(one, truth.get(name)) for name, one in result["ranker_tasks"].items()
    }
    return found | {"users": result["users"]["evaluated"]}


def ratios(metrics: dict[str, float], truth: float | None) -> dict[str, float]:
    """How far predictions of a task are from what was observed, and from the truth."""
    if "pcoc" not in metrics:  # seconds watched
        found = {"predicted ÷ observed": metrics["bias"], "rows": metrics["rows"]}
        predicted = metrics["bias"]
    else:
        found = {"predicted ÷ observed": metrics["pcoc"], "positives": metrics["positives"]}
        predicted = metrics["pcoc"] * metrics["positives"] / metrics["rows"]
    return found if truth is None else found | {"predicted ÷ true": predicted / truth}


def true_rates(folder: Path, cut: int) -> dict[str, float]:
    """{task: mean true probability} of the impressions after `cut`, of a simulated feed; those of
    conditional tasks over the impressions where the condition came true. Of the seconds watched,
    which are predicted by their median: the true medians ÷ the observed seconds."""
    if not (folder / "truth.parquet").is_file():
        return {}
    truth = pl.scan_parquet(folder / "truth.parquet").filter(pl.col("time") >= cut)
    events = pl.scan_parquet(folder / "events.parquet")
    key = ["request_id", "item_id"]
    click, like = pl.col("p_click"), pl.col("p_click") * pl.col("p_like_given_click")
    means = truth.select(
        click=click.mean(),
        like=like.mean(),
        cart=pl.col("p_cart").mean(),
        purchase=pl.col("p_purchase").mean(),
    )
    found: dict[str, float] = means.collect().to_dicts()[0]
    for name in ("like|click", "cart|click", "purchase|cart"):
        column, _, condition = name.partition("|")
        happened = events.filter(pl.col("behaviour") == condition).select(key).unique()
        mean = pl.col(f"p_{column}_given_{condition}").mean()
        found[name] = truth.join(happened, on=key).select(mean).collect().item()
    watched = events.filter(pl.col("behaviour") == "watch").select(*key, "value")
    median = pl.col("watch_given_click") * math.exp(-(DEFAULT_COEFFICIENTS.watch_sigma**2) / 2)
    ratio = median.sum() / pl.col("value").sum()
    found["watch|click"] = truth.join(watched, on=key).select(ratio).collect().item()
    return found


def _rows(learnt: Any) -> dict[str, int]:
    return {stage: entry["rows"] for stage, entry in learnt.items()}


def _samples(trained: Any) -> dict[str, int]:
    """Rows × epochs of a training's stages, choices included."""
    found: dict[str, int] = {}
    for stage, one in trained.training.items():
        count = round((one["samples_per_second"] or 0) * one["seconds"])
        name = stage.partition(": choose")[0]
        found[name] = found.get(name, 0) + count
    return found


def _current(project: Path) -> str:
    return Versions(project).current(Kind.SERVING).name


if __name__ == "__main__":
    main()
