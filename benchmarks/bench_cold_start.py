"""What helps a user whom no training has seen: declared interests, and events that count at once.

    python -m benchmarks.bench_cold_start [--users 150] [--visits 10] [--seed 0]

A simulated shop is trained; then new users sign up and each visits ten times. The world knows the
expected worth of every slate (click 1, like .5, cart 2, purchase 4) and that of the best slate
there was; regret is the difference. Every strategy plays the same users in a world of the same
seed; intervals are by a bootstrap over users, differences paired by user. Nothing is tuned.
Writes build/bench/cold_start.json and prints the table of docs/cold-start.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from tamis.evaluate import bootstrap_mean, paired_bootstrap
from tamis.jobs import simulate, train
from tamis.runtime import Float64, Int64
from tamis.service import LiveRecommender, Request
from tamis.simulator import LifeConfig, LivingWorld, Outcomes, SimulationConfig, reward

BUILD = Path(__file__).parent.parent / "build" / "bench"
SLATE = 10
DAY_MS = 86_400_000


class Strategy(NamedTuple):
    """What a service does for newcomers."""

    interests: bool = False
    """Requests carry the interests that the user has declared."""
    events: bool = False
    """Events are sent, and count at once."""
    exposed: bool = False
    """What was shown to a user does not come back (the filter `exposed`)."""


STRATEGIES = {
    "nothing": Strategy(),
    "declared interests": Strategy(interests=True),
    "events count at once": Strategy(events=True),
    "events, and nothing is shown twice": Strategy(events=True, exposed=True),
    "interests and events": Strategy(interests=True, events=True),
    "all three": Strategy(interests=True, events=True, exposed=True),
}
SEEN = "[cascade.filters.seen]\n"
INTERESTS = """
[cascade.channels.declared_interests]
quota = 300

[cascade.rerank.mmr]"""


def project_of(folder: Path, seed: int, *, exposed: bool) -> Path:
    """A simulated shop whose cascade has the channel of declared interests, trained."""
    if not list((folder / "versions").glob("*serving")):
        shutil.rmtree(folder, ignore_errors=True)
        simulate(folder, items=2_000, users=2_500, days=30, seed=seed, progress=True)
        declared = folder / "tamis.toml"
        text = declared.read_text("utf-8").replace("\n[cascade.rerank.mmr]", INTERESTS, 1)
        if exposed:
            text = text.replace(SEEN, SEEN + "\n[cascade.filters.exposed]\n")
        declared.write_text(text, "utf-8")
        train(folder, only="serving", progress=True)
    return folder


def newcomers(world: LivingWorld, users: int) -> tuple[Int64, pl.DataFrame]:
    """The rows of users who sign up after the log, and their public columns."""
    signed = pl.concat([world.live(world.time + DAY_MS).users for _ in range(1)])
    while len(signed) < users:
        signed = pl.concat([signed, world.live(world.time + DAY_MS).users])
    signed = signed.head(users)
    return world.user_rows(signed["user_id"].to_list()), signed


def play(project: Path, words: argparse.Namespace, strategy: Strategy) -> tuple[Float64, Float64]:
    """(users, visits) true worth of the slates of a strategy, and of the best there were."""
    shutil.rmtree(project / "journal", ignore_errors=True)
    config = json.loads((project / "simulation.json").read_text("utf-8"))["config"]
    life = LifeConfig(drift=0, births=0, deaths=0, signups=0.05, seed=words.seed)
    world = LivingWorld(SimulationConfig.from_dict(config), life)
    rows, table = newcomers(world, words.users)
    live = LiveRecommender.open(project)
    worth, best = np.zeros((2, len(rows), words.visits))
    for visit in range(words.visits):
        for k, (row, user) in enumerate(
            zip(rows.tolist(), table.iter_rows(named=True), strict=True)
        ):
            request = Request.of(
                user_id=user["user_id"],
                n=SLATE,
                interests=tuple(user["interests"]) if strategy.interests else (),
            )
            answer = live.recommend(request)
            ids = [place.item_id for place in answer.items]
            items, places = world.item_rows(ids), np.arange(1, len(ids) + 1)
            shown, outcomes = world.show(np.full(len(ids), row), items, places, world.time)
            worth[k, visit] = reward(shown).sum()
            best[k, visit] = world.best_slate(row, SLATE, world.time)[1]
            if strategy.events:
                live.take(happened(user["user_id"], ids, outcomes))
    live.close()
    return worth, best


def happened(user_id: str, ids: list[str], outcomes: Outcomes) -> list[dict[str, Any]]:
    """The events of a visit."""
    done = {
        "impression": np.ones(len(ids), np.bool_),
        "click": outcomes.click,
        "like": outcomes.like,
        "cart": outcomes.cart,
        "purchase": outcomes.purchase,
    }
    return [
        {"user_id": user_id, "item_id": ids[k], "behaviour": behaviour, "position": k + 1}
        for behaviour, where in done.items()
        for k in np.flatnonzero(where).tolist()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=150)
    parser.add_argument("--visits", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    words = parser.parse_args()
    projects = {
        exposed: project_of(
            BUILD / f"cold-start{'-exposed' * exposed}", words.seed, exposed=exposed
        )
        for exposed in (False, True)
    }
    regrets: dict[str, Float64] = {}
    rows: list[dict[str, Any]] = []
    for name, strategy in STRATEGIES.items():
        worth, best = play(projects[strategy.exposed], words, strategy)
        regrets[name] = (best - worth).sum(axis=1)
        mean = bootstrap_mean(regrets[name], seed=words.seed)
        change = paired_bootstrap(regrets[name], regrets["nothing"], seed=words.seed)
        rows.append(
            {
                "strategy": name,
                "first": float(worth[:, 0].mean()),
                "last": float(worth[:, -1].mean()),
                "regret": mean.to_dict(),
                "change": change.to_dict(),
                "best": float(best[:, 0].mean()),
                "worth": worth.mean(axis=0).round(4).tolist(),
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    BUILD.mkdir(parents=True, exist_ok=True)
    (BUILD / "cold_start.json").write_text(json.dumps(rows, indent=1), "utf-8")
    print("| strategy | first slate | tenth slate | regret of ten slates | change |")
    print("|---|---|---|---|---|")
    for row in rows:
        regret, change = row["regret"], row["change"]
        print(
            f"| {row['strategy']} | {row['first']:.3f} | {row['last']:.3f} | "
            f"{regret['mean']:.2f} ({regret['low']:.2f} to {regret['high']:.2f}) | "
            f"{change['mean']:+.2f} ({change['low']:+.2f} to {change['high']:+.2f}) |"
        )


if __name__ == "__main__":
    main()
