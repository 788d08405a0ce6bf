"""What helps users and items that no training has seen, each way switched on and off.

    python -m benchmarks.bench_cold_start [--users 60] [--visits 10] [--requests 1000] [--keep]

A simulated shop is trained once, with every channel and rule; a way is switched off by taking its
channel or rule out of the cascade. The world knows the expected worth of every slate (click 1, like
.5, cart 2, purchase 4) and of the best slate there was; regret is the difference.

- New users: users who signed up after the log visit some times each. Regret of all their slates.
- New items: items are put after the log; users of the log, drawn by their activity, visit. Regret
  of each new item's first 100 impressions, per impression: the worth of the user's best item at
  that place, less that of the new one. And the regret of all slates, which exploration costs.

Every way plays in a world of the same seed. Intervals are by a bootstrap over users, or items;
differences are paired. Nothing is tuned. Writes build/bench/cold_start.json; with --keep
benchmarks/cold_start.json, of which docs/write_cold_start.py writes the tables of
docs/cold-start.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tamis.cascade import Cascade
from tamis.evaluate import bootstrap_mean, paired_bootstrap
from tamis.jobs import simulate, train
from tamis.journal import open_journal
from tamis.runtime import Float64, Ints
from tamis.service import LiveRecommender, Recommender, Request
from tamis.simulator import LifeConfig, LivingWorld, Outcomes, SimulationConfig, reward

HERE = Path(__file__).parent
BUILD = HERE.parent / "build" / "bench"
KEPT = HERE / "cold_start.json"
SLATE = 10
FIRST = 100
"""Impressions of a new item that count."""
DAY_MS = 86_400_000
ITEMS, USERS, DAYS = 1_000, 1_500, 20
BIRTHS = 0.01
"""New items, as a share of the catalogue."""


class Way(NamedTuple):
    """What a service does for users and items that are new."""

    channels: tuple[str, ...]
    rules: tuple[str, ...] = ("mmr", "at_most")
    interests: bool = False
    """Requests carry the interests that the user has declared."""
    events: bool = True
    """Events are sent, and count at once."""


PLAIN = ("itemcf", "two_tower", "hot")
FOR_USERS = {
    "nothing": Way(PLAIN, events=False),
    "declared interests": Way((*PLAIN, "declared_interests"), interests=True, events=False),
    "events count at once": Way(PLAIN),
    "interests and events": Way((*PLAIN, "declared_interests"), interests=True),
}
OLD = ("itemcf", "hot")
EXPLORING = ("mmr", "at_most", "explore")
FOR_ITEMS = {
    "nothing": Way(OLD),
    "vectors of the two-tower": Way((*OLD, "two_tower")),
    "content channel": Way((*OLD, "content")),
    "fresh channel": Way((*OLD, "fresh")),
    "exploration": Way(OLD, EXPLORING),
    "all of them": Way((*OLD, "two_tower", "content", "fresh"), EXPLORING),
}
STAGES = """
[cascade.channels.declared_interests]
quota = 300

[cascade.channels.content]
quota = 300

[cascade.channels.fresh]
quota = 100

[cascade.filters.exposed]

[cascade.rerank.explore]
places = [9, 10]
budget = 0.1
guarantee = 30
impressions = 300

[cascade.rerank.mmr]"""


def project_of(folder: Path, seed: int) -> Path:
    """A simulated shop whose cascade has every channel and rule, trained."""
    if not list((folder / "versions").glob("*serving")):
        shutil.rmtree(folder, ignore_errors=True)
        simulate(folder, items=ITEMS, users=USERS, days=DAYS, seed=seed, progress=True)
        declared = folder / "tamis.toml"
        text = declared.read_text("utf-8").replace("\n[cascade.rerank.mmr]", STAGES, 1)
        declared.write_text(text.replace('order = "auto"', 'order = "rank"', 1), "utf-8")
        train(folder, only="serving", progress=True)
    return folder


def opened(project: Path, way: Way) -> tuple[LiveRecommender, Recommender]:
    """The service of one way, on an empty journal."""
    shutil.rmtree(project / "journal", ignore_errors=True)
    recommender = Recommender.open(project)
    recommender.cascade = only(recommender.cascade, way)
    journal = open_journal(project, recommender.parts.config.name)
    return LiveRecommender(recommender, journal), recommender


def only(cascade: Cascade, way: Way) -> Cascade:
    """The cascade with the channels and rules of one way."""
    channels = {name: cascade.retrieval.channels[name] for name in way.channels}
    rules = {name: rule for name, rule in cascade.rerank.items() if name in way.rules}
    return replace(cascade, retrieval=replace(cascade.retrieval, channels=channels), rerank=rules)


def world_of(project: Path, seed: int, births: float, signups: float) -> LivingWorld:
    config = json.loads((project / "simulation.json").read_text("utf-8"))["config"]
    life = LifeConfig(drift=0, births=births, deaths=0, signups=signups, departures=0, seed=seed)
    return LivingWorld(SimulationConfig.from_dict(config), life)


class Visit(NamedTuple):
    """What a user was shown, and what it was worth."""

    items: Ints
    worth: Float64
    best: float


def visit(live: LiveRecommender, world: LivingWorld, user: int, way: Way, wish: Any) -> Visit:
    """One visit of a user row; `wish`: the declared interests."""
    (user_id,) = world.user_ids(np.array([user]))
    request = Request.of(
        user_id=user_id, n=SLATE, interests=tuple(wish or ()) if way.interests else ()
    )
    ids = [place.item_id for place in live.recommend(request).items]
    items, places = world.item_rows(ids), np.arange(1, len(ids) + 1)
    shown, outcomes = world.show(np.full(len(ids), user), items, places, world.time)
    if way.events:
        live.take(happened(user_id, ids, outcomes))
    return Visit(items, reward(shown), world.best_slate(user, SLATE, world.time)[1])


def happened(user_id: str, ids: Sequence[str], outcomes: Outcomes) -> list[dict[str, Any]]:
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


def of_users(project: Path, words: argparse.Namespace, way: Way) -> dict[str, Float64]:
    """Of each new user: the regret of all slates, and the worth of the first and the last one."""
    world = world_of(project, words.seed, 0, 0.05)
    signed = world.live(world.time + DAY_MS).users.head(words.users)
    live, _ = opened(project, way)
    worth, best = np.zeros((2, len(signed), words.visits))
    rows = world.user_rows(signed["user_id"].to_list()).tolist()
    for number in range(words.visits):
        for k, (row, wish) in enumerate(zip(rows, signed["interests"].to_list(), strict=True)):
            seen = visit(live, world, row, way, wish)
            worth[k, number], best[k, number] = seen.worth.sum(), seen.best
    live.close()
    return {
        "regret": (best - worth).sum(axis=1),
        "first": worth[:, 0],
        "last": worth[:, -1],
    }


def of_items(project: Path, words: argparse.Namespace, way: Way) -> dict[str, Float64]:
    """Of each new item: its impressions, and the regret of the first of them, per impression; of
    each visit its regret."""
    world = world_of(project, words.seed, BIRTHS, 0)
    old = world.items
    born = world.live(world.time + DAY_MS).items
    live, recommender = opened(project, way)
    live.put_items([row | {"published": recommender.now()} for row in born.to_dicts()])
    impressions, lost = np.zeros((2, world.items - old))
    regret = np.zeros(words.requests)
    for number, user in enumerate(world.visitors(words.requests).tolist()):
        seen = visit(live, world, user, way, None)
        regret[number] = seen.best - seen.worth.sum()
        for place in np.flatnonzero(seen.items >= old).tolist():
            item = int(seen.items[place]) - old
            impressions[item] += 1
            if impressions[item] <= FIRST:
                lost[item] += best_at(world, user, place + 1) - seen.worth[place]
    live.close()
    counted = np.minimum(impressions, FIRST)
    per = np.divide(lost, counted, out=np.full(len(lost), np.nan), where=counted > 0)
    return {"regret": regret, "impressions": impressions, "of_impressions": per}


def best_at(world: LivingWorld, user: int, place: int) -> float:
    """The worth of the user's best item at a place."""
    (item,), _ = world.best_slate(user, 1, world.time)
    at = np.array([user]), np.array([item]), np.array([place])
    return float(reward(world.expected(*at, world.time))[0])


def figures(found: dict[str, Float64], base: dict[str, Float64], seed: int) -> dict[str, Any]:
    """The mean of each measure with its interval, and of the difference to `nothing`."""
    out: dict[str, Any] = {
        name: None if np.isnan(values).all() else bootstrap_mean(values, seed=seed).to_dict()
        for name, values in found.items()
    }
    out["change"] = paired_bootstrap(found["regret"], base["regret"], seed=seed).to_dict()
    if "impressions" in found:
        out["reached"] = float((found["impressions"] >= FIRST).mean())
        out["unseen"] = float((found["impressions"] == 0).mean())
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=60)
    parser.add_argument("--visits", type=int, default=10)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", action="store_true")
    words = parser.parse_args()
    project = project_of(BUILD / "cold-start-all", words.seed)
    result: dict[str, Any] = {
        "world": {"items": ITEMS, "users": USERS, "days": DAYS, "seed": words.seed},
        "new_users": words.users,
        "visits": words.visits,
        "new_items": int(BIRTHS * ITEMS),
        "requests": words.requests,
    }
    for kind, ways, play in (("users", FOR_USERS, of_users), ("items", FOR_ITEMS, of_items)):
        rows: dict[str, Any] = {}
        base: dict[str, Float64] | None = None
        for name, way in ways.items():
            found = play(project, words, way)
            base = base or found
            rows[name] = figures(found, base, words.seed)
            print(json.dumps({kind: {name: rows[name]}}), flush=True)
        result[kind] = rows
    path = KEPT if words.keep else BUILD / "cold_start.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
