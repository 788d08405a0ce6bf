"""Whether A/B tests name the arm that is truly better: 20 tests of two fusions, and tests of none.

    python -m benchmarks.bench_ab_truth [--users 3000] [--copies 10] [--tests 20] [--nulls 200]

A simulated shop is trained once; each of its users stands for some with the same tastes. Two arms
change the fusion; the slates of all users are made by the cascades that the service makes of these
arms, and the world knows the expected worth of each (click 1, like .5, cart 2, purchase 4), so
which arm is better is known. A test assigns the users by its own name, draws what they do, before
it (all by the first arm) and in it, and is read by `read_out` with CUPED, as the report of an
experiment is. A test of no difference gives both arms the same slates. Nothing is tuned.

Bounds: the right arm is named in at least 18 of 20 tests, a wrong one never; of the tests without
a difference at most 5 % name a winner. Writes build/bench/ab_truth.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.bench_cold_start import BUILD, SLATE, project_of, world_of

from tamis.experiments import ArmMoments, Measure, Metric, arm_of, read_out
from tamis.runtime import Float64, Int64
from tamis.service import Recommender, Request
from tamis.service.arms import ArmChange
from tamis.simulator import LivingWorld, reward

ARMS = {
    "worth": {"fusion": "click + 0.5 * like + 2 * cart + 4 * purchase"},
    "popular": {"fusion": "default(hot, -1000)"},
}
"""The fusion of the project, and the order of the popular items."""


def slates(recommender: Recommender, world: LivingWorld, users: Int64, arm: str) -> Int64:
    """(U, SLATE) item rows of the world that each user gets in an arm."""
    change = ArmChange("ab", arm, {"order": "rank", **ARMS[arm]})
    found = np.zeros((len(users), SLATE), np.int64)
    for k, user_id in enumerate(world.user_ids(users)):
        request = Request.of(user_id=user_id, n=SLATE, dry_run=True)
        answer = recommender.answer(request, arms=[change]).answer
        found[k] = world.item_rows([place.item_id for place in answer.items])
    return found


def flat(users: Int64, items: Int64) -> tuple[Int64, Int64, Int64]:
    """(user, item, place) of all impressions."""
    places = np.tile(np.arange(1, SLATE + 1), len(users))
    return np.repeat(users, SLATE), items.reshape(-1), places


def worth(world: LivingWorld, users: Int64, items: Int64) -> Float64:
    """(U,) the expected worth of each user's slate."""
    return reward(world.expected(*flat(users, items), world.time)).reshape(len(users), SLATE).sum(1)


def played(
    world: LivingWorld, users: Int64, items: Int64, visits: int, random: np.random.Generator
) -> Float64:
    """(U,) what each user's visits were worth, drawn at random: of `visits` impressions of each
    item, how many were clicked, liked, put into a cart and bought."""
    expected = world.expected(*flat(users, items), world.time)
    click = random.binomial(visits, expected.click)
    like = random.binomial(click, expected.like_given_click)
    cart = random.binomial(click, expected.cart_given_click)
    bought = random.binomial(cart, expected.purchase_given_cart)
    value = click + 0.5 * like + 2.0 * cart + 4.0 * bought
    return value.reshape(len(users), SLATE).sum(axis=1)


def test(name: str, world: LivingWorld, users: Int64, ids: list[str], shown: Any, n: int) -> str:
    """The arm that a test names; empty where it names none."""
    arm = np.array([arm_of(one, name, {"a": 1.0, "b": 1.0}) for one in ids])
    moments: dict[str, ArmMoments] = {}
    for label in "ab":
        own = arm == label
        random = np.random.default_rng([*f"{name}{label}".encode()])
        value = played(world, users[own], shown[label][own], n, random)
        earlier = played(world, users[own], shown["a"][own], n, random)
        moments[label] = ArmMoments.of(("worth", "before"), np.stack([value, earlier], axis=1))
    found = read_out(
        moments,
        control="a",
        measures=[Measure("worth", Metric("worth", before="before"), "goal")],
        planned=len(users) - 1,
    )
    if found.state == "ship":
        return "b"
    return "a" if found.state == "roll back" else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=3_000)
    parser.add_argument("--copies", type=int, default=10, help="units that a user stands for")
    parser.add_argument("--tests", type=int, default=20)
    parser.add_argument("--nulls", type=int, default=200)
    parser.add_argument("--visits", type=int, default=28, help="of each user: four weeks")
    parser.add_argument("--seed", type=int, default=0)
    words = parser.parse_args()
    project = project_of(BUILD / "cold-start-all", words.seed)
    recommender = Recommender.open(project)
    world = world_of(project, words.seed, 0, 0)
    users = np.arange(min(words.users, world.users), dtype=np.int64)
    shown = {name: slates(recommender, world, users, name) for name in ARMS}
    true = {name: worth(world, users, items) for name, items in shown.items()}
    means = {name: float(values.mean()) for name, values in true.items()}
    better = max(means, key=lambda name: means[name])
    worse = next(name for name in ARMS if name != better)
    copies = [f"{one}-{k}" for k in range(words.copies) for one in world.user_ids(users)]
    users = np.tile(users, words.copies)
    shown = {name: np.tile(items, (words.copies, 1)) for name, items in shown.items()}
    arms = {"a": shown[worse], "b": shown[better]}
    named = [test(f"t{k}", world, users, copies, arms, words.visits) for k in range(words.tests)]
    same = {"a": shown[worse], "b": shown[worse]}
    nulls = [test(f"n{k}", world, users, copies, same, words.visits) for k in range(words.nulls)]
    result = {
        "users": len(users),
        "true worth": means,
        "better": better,
        "right": named.count("b"),
        "wrong": named.count("a"),
        "tests": words.tests,
        "null tests that name an arm": sum(map(bool, nulls)),
        "null tests": words.nulls,
    }
    print(json.dumps(result, indent=1))
    path = Path(BUILD) / "ab_truth.json"
    path.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
