"""Whether the projects that `tamis init` writes are worse than their best channel, on six logs.

    python -m benchmarks.bench_init [--users 1000] [--seed 0] [--only LOG ...] [--data FOLDER]

Each log is written as plain tables, by `tamis fetch` or by `tamis simulate`; of more than `--users`
users, so many are drawn at random, with all their events. `tamis init` writes the project,
unchanged, and its evaluation version is trained; `tamis evaluate cascade` compares the slates of
the cascade with the lists of each channel: NDCG@10 over the users with a history at the test cut,
full catalogue, with 95 % bootstrap intervals of the difference, paired by user. Nothing is chosen
on the test window. `kuairand clicks` has the clicks and likes of KuaiRand without its impressions.
The shops are simulated: `shop` has impressions, `shop, sparse` has only views, carts and purchases
of 30,000 items, of which most have fewer than four events. Writes build/bench/init.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tamis.jobs import evaluate, fetch, init, simulate, train

BUILD = Path(__file__).parent.parent / "build" / "bench"
SPARSE = {"click": "view", "cart": "add_to_cart", "purchase": "purchase"}


def fetched(name: str, source: str = "") -> Callable[[Path, argparse.Namespace], None]:
    """Writes a public data set into a folder; `source` is its folder below `--data`."""

    def write(folder: Path, words: argparse.Namespace) -> None:
        fetch(name, folder, folder=words.data / source if source else None)
        (folder / "rows.csv").unlink(missing_ok=True)
        sample(folder, words)

    return write


def sample(folder: Path, words: argparse.Namespace) -> None:
    """Keeps the events of `--users` users, drawn at random."""
    events = pl.read_csv(folder / "events.csv", infer_schema_length=None)
    users = events["user_id"].unique().sort()
    if len(users) > words.users:
        drawn = np.random.default_rng(words.seed).permutation(len(users))[: words.users]
        kept = users[np.sort(drawn)]
        events.filter(pl.col("user_id").is_in(kept.implode())).write_csv(folder / "events.csv")


def clicks(folder: Path, words: argparse.Namespace) -> None:
    """KuaiRand's clicks, likes and long views, without what was only shown."""
    fetched("kuairand", "kuairand")(folder, words)
    events = pl.read_csv(folder / "events.csv", infer_schema_length=None)
    good = pl.col("behaviour").is_in(["click", "like", "long_view", "follow"])
    events.filter(good).drop("request_id", "value").write_csv(folder / "events.csv")


def shop(folder: Path, words: argparse.Namespace) -> None:
    """A simulated shop with impressions."""
    simulate(folder, users=words.users, items=2_000, days=30, seed=words.seed, eagerness=1.0)
    _keep_tables(folder)


def sparse_shop(folder: Path, words: argparse.Namespace) -> None:
    """Views, carts and purchases alone, of many items."""
    simulate(folder, users=words.users, items=30_000, days=60, seed=words.seed, eagerness=1.0)
    events = pl.read_parquet(folder / "events.parquet")
    events = events.filter(pl.col("behaviour").is_in(list(SPARSE)))
    events = events.with_columns(pl.col("behaviour").replace(SPARSE))
    wanted = ("user_id", "item_id", "time", "behaviour")
    events.select(wanted).write_parquet(folder / "events.parquet")
    _keep_tables(folder)


def _keep_tables(folder: Path) -> None:
    """Removes the true probabilities and the declaration of a simulation."""
    for file in folder.iterdir():
        if file.name not in ("events.parquet", "items.parquet", "users.parquet"):
            file.unlink()


LOGS: dict[str, Callable[[Path, argparse.Namespace], None]] = {
    "movielens-1m": fetched("movielens-1m"),
    "foursquare": fetched("foursquare", "foursquare"),
    "kuairand": fetched("kuairand", "kuairand"),
    "kuairand clicks": clicks,
    "shop": shop,
    "shop, sparse": sparse_shop,
}


def measured(name: str, words: argparse.Namespace) -> dict[str, Any]:
    """One line of the table."""
    folder = BUILD / "init" / name.replace(", ", "-").replace(" ", "-")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    LOGS[name](folder, words)
    init(folder, force=True)
    report = train(folder, only="evaluation", progress=True)
    result = evaluate(folder, progress=True).to_dict()
    of_channels = {n: metrics["ndcg@10"] for n, metrics in result["channels"].items()}
    best = max(of_channels, key=lambda channel: of_channels[channel])
    return {
        "log": name,
        "users": result["users"]["evaluated"],
        "cascade": result["cascade"]["ndcg@10"],
        "best": best,
        "channel": of_channels[best],
        "difference": result["intervals"][best],
        "channels": of_channels,
        "order": report.settings["order"],
        "validation": report.validation["order"],
        "notes": report.notes,
        "seconds": report.seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", choices=list(LOGS), default=list(LOGS))
    shared = Path(__file__).parents[2] / "shared" / "data"
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("TAMIS_DATA", shared)))
    words = parser.parse_args()
    BUILD.mkdir(parents=True, exist_ok=True)
    out = BUILD / "init.json"
    rows: dict[str, Any] = json.loads(out.read_text("utf-8")) if out.is_file() else {}
    for name in words.only:
        row = rows[name] = measured(name, words)
        out.write_text(json.dumps(rows, indent=1), "utf-8")
        difference = row["difference"]
        print(
            f"| {name} | {row['users']:,} | {row['cascade']:.4f} | {row['best']} "
            f"{row['channel']:.4f} | {difference['mean']:+.4f} ({difference['low']:+.4f} to "
            f"{difference['high']:+.4f}) | {row['order']['by']} | {row['seconds']:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
