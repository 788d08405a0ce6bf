"""What updates bring while tastes drift: the true worth of slates over simulated days.

    python -m benchmarks.bench_updates [--seeds 3] [--days 7] [--visits 400] [--keep]

A simulated shop is trained once per seed; then its world goes on: each day a share of every taste
is replaced, items are born and withdrawn. Four services of the same version are visited by users of
the same world, and differ in how they learn: not at all (events still count in histories, counters
and popular items), by a full update every night, by an incremental update every six hours, by both.
Worth is the expectation by the world's truth (click 1, like .5, cart 2, purchase 4), as a share of
the best slate that there was. The ranker orders the slates. Intervals: over the seeds, by Student's
t, changes paired by seed. After a full update, predicted ÷ observed of clicks is that of the next
day's answers against the world's truth.

Nothing is tuned. Writes build/bench/updates.json; with --keep benchmarks/updates.json, of which
docs/write_updates.py writes the table of docs/updating.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import stats

from tamis.bundle import Kind, Versions
from tamis.jobs import follow, simulate, train, update
from tamis.journal import WholeJournal, open_journal
from tamis.runtime import Float64
from tamis.service import LiveRecommender, Recommender, Request, Serving
from tamis.simulator import LifeConfig, LivingWorld, SimulationConfig, reward

T = TypeVar("T")
HERE = Path(__file__).parent
BUILD = HERE.parent / "build" / "bench"
KEPT = HERE / "updates.json"
SLATE = 10
DAY_MS = 86_400_000
PARTS = 4
"""Incremental updates of a day."""
MODES = {
    "none": (False, False),
    "full": (True, False),
    "incremental": (False, True),
    "both": (True, True),
}
"""Mode → whether it has full updates, and incremental ones."""
ITEMS, USERS, LOG_DAYS = 600, 600, 20
DRIFT, BIRTHS = 0.1, 0.02
TASKS = ("click", "like", "cart", "purchase")
"""Whose predictions are compared with the truth."""
TOWER = "[cascade.channels.two_tower]\n"
ONLINE = '\n[online]\nwait = "1s"\nlateness = "1s"\n'


@dataclass(frozen=True)
class Visit:
    """A slate that a user saw, by places."""

    worth: float
    """By the world's truth."""
    best: float
    """Of the best slate that there was."""
    items: NDArray[np.int64]
    """The world's rows."""
    predicted: dict[str, Float64]
    """Task of `TASKS` → its predictions; NaN: the place has none."""
    true: dict[str, Float64]
    """Task → true probabilities."""
    clicked: NDArray[np.bool_]


class Play:
    """One service and its world."""

    def __init__(self, project: Path, mode: str, life: LifeConfig) -> None:
        self.project, self.mode = project, mode
        self.world = LivingWorld(SimulationConfig.from_dict(config_of(project)), life)
        version = Versions(project).current(Kind.SERVING)
        self.world.time = max(self.world.time, version.manifest.data_until + 1_000)
        self.recommender = Recommender(version, self.now)
        """Of the first version."""
        journal = open_journal(project, self.recommender.parts.config.name)
        live = LiveRecommender(self.recommender, WholeJournal(journal, project))
        self.serving = Serving(live, project, self.now, interval=None)
        self.seconds = {"full": 0.0, "incremental": 0.0}
        self.refused = 0

    def now(self) -> int:
        return self.world.time

    def day(self, visits: int) -> tuple[float, dict[str, float]]:
        """(worth of the day's slates ÷ that of the best ones, predicted ÷ true clicks)."""
        full, incremental = MODES[self.mode]
        seen: list[Visit] = []
        for _ in range(PARTS):
            seen += self.visits(visits // PARTS, DAY_MS // PARTS)
            self.live(DAY_MS // PARTS)
            if incremental:
                self.timed("incremental", lambda: follow(self.project, once=True))
        if full:
            self.timed("full", self.full)
        return sum(one.worth for one in seen) / sum(one.best for one in seen), calibration(seen)

    def visits(self, count: int, span: int) -> list[Visit]:
        """What visitors saw within a time (ms) from now on."""
        seen: list[Visit] = []
        for user in self.world.visitors(count).tolist():
            seen.append(self._visit(user))
            self.world.time += span // count
        return seen

    def full(self) -> None:
        """A nightly update; those that the gate refuses are counted, and shown."""
        report = update(self.project)
        self.refused += report.version is None
        for check in report.checks:
            if not check.passed:
                print(f"  gate: {check}", flush=True)

    def timed(self, what: str, work: Callable[[], T]) -> T:
        """What `work` gives; its seconds are counted, and its result is served."""
        began = time.perf_counter()
        done = work()
        self.seconds[what] += time.perf_counter() - began
        self.serving.look()
        return done

    def _visit(self, user: int) -> Visit:
        live, world = self.serving.live, self.world
        (user_id,) = world.user_ids(np.array([user]))
        answer = live.recommend(Request.of(user_id=user_id, n=SLATE, explain=True))
        ids = [place.item_id for place in answer.items]
        rows, places = world.item_rows(ids), np.arange(1, len(ids) + 1)
        responses, done = world.show(np.full(len(ids), user), rows, places, world.time)
        told = [{} if one.reasons is None else one.reasons.predictions for one in answer.items]
        events = [
            {
                "user_id": user_id,
                "item_id": ids[k],
                "behaviour": behaviour,
                "position": k + 1,
                "recommendation_id": answer.recommendation_id,
                "time": world.time,
            }
            | ({"value": float(done.watch[k])} if behaviour == "watch" else {})
            for behaviour, where in (
                ("impression", np.ones(len(ids), np.bool_)),
                ("click", done.click),
                ("watch", done.click),
                ("like", done.like),
                ("cart", done.cart),
                ("purchase", done.purchase),
            )
            for k in np.flatnonzero(where).tolist()
        ]
        wrong = [one.error for one in live.take(events) if one.error is not None]
        assert not wrong, wrong[0]
        return Visit(
            worth=float(reward(responses).sum()),
            best=world.best_slate(user, SLATE, world.time)[1],
            items=rows,
            predicted={task: np.array([one.get(task, np.nan) for one in told]) for task in TASKS},
            true={
                "click": responses.click,
                "like": responses.click * responses.like_given_click,
                "cart": responses.cart,
                "purchase": responses.purchase,
            },
            clicked=done.click,
        )

    def live(self, span: int) -> None:
        """Births and withdrawals of the last `span` ms reach the service."""
        live, until = self.serving.live, self.world.time
        self.world.time -= span
        changes = self.world.live(until)
        rows = changes.items.to_dicts()
        if rows:
            taken = live.put_items([row | {"published": until} for row in rows])
            assert all(one.error is None for one in taken), taken
        for item in changes.withdrawn:
            live.delete_item(item)


def config_of(folder: Path) -> dict[str, Any]:
    """The settings of the simulation that wrote a folder."""
    return json.loads((folder / "simulation.json").read_text("utf-8"))["config"]


def calibration(seen: Sequence[Visit]) -> dict[str, float]:
    """{task: predicted ÷ true} of the places that have predictions; {} without any."""
    found: dict[str, float] = {}
    for task in TASKS:
        predicted = np.concatenate([one.predicted[task] for one in seen])
        true = np.concatenate([one.true[task] for one in seen])
        known = ~np.isnan(predicted)
        if known.any():
            found[task] = float(predicted[known].sum() / true[known].sum())
    return found


def trained(
    folder: Path, seed: int, items: int = ITEMS, users: int = USERS, eagerness: float = 0.0
) -> Path:
    """A simulated shop whose vectors may learn online, trained for serving; made once."""
    wanted = {"items": items, "users": users, "days": LOG_DAYS, "seed": seed}
    wanted["eagerness"] = eagerness
    made = (folder / "simulation.json").is_file() and config_of(folder).items() >= wanted.items()
    if not made or not list((folder / "versions").glob("*serving")):
        shutil.rmtree(folder, ignore_errors=True)
        simulate(
            folder,
            items=items,
            users=users,
            days=LOG_DAYS,
            seed=seed,
            eagerness=eagerness,
            progress=True,
        )
        file = folder / "events.parquet"
        known = pl.col("arrival") < SimulationConfig.from_dict(config_of(folder)).end_time
        pl.read_parquet(file).filter(known).write_parquet(file)
        declared = folder / "tamis.toml"
        text = declared.read_text("utf-8").replace(TOWER, f"{TOWER}online = true\n", 1)
        text = text.replace('order = "auto"', 'order = "rank"', 1)
        text = "\n".join(line for line in text.splitlines() if not line.startswith("clock ="))
        declared.write_text(text + "\n" + ONLINE, "utf-8")
        train(folder, only="serving", progress=True)
    return folder


def interval(values: NDArray[np.floating[Any]]) -> dict[str, float]:
    """The mean over seeds, and its 95 % interval by Student's t."""
    mean = float(values.mean())
    if len(values) < 2:
        return {"mean": mean, "low": mean, "high": mean}
    half = float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5)
    return {"mean": mean, "low": mean - half, "high": mean + half}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--days", type=int, default=7)
    parser.add_argument("--visits", type=int, default=400, help="of a day")
    parser.add_argument("--only", nargs="*", default=list(MODES))
    parser.add_argument("--keep", action="store_true")
    words = parser.parse_args()
    shares = {mode: np.zeros((words.seeds, words.days)) for mode in words.only}
    rates: dict[str, list[list[float]]] = {mode: [] for mode in words.only}
    seconds: dict[str, list[dict[str, float]]] = {mode: [] for mode in words.only}
    refused = dict.fromkeys(words.only, 0)
    for seed in range(words.seeds):
        base = trained(BUILD / f"updates-{seed}", seed)
        for mode in words.only:
            project = BUILD / "updates-now"
            shutil.rmtree(project, ignore_errors=True)
            shutil.copytree(base, project)
            life = LifeConfig(
                drift=DRIFT, births=BIRTHS, deaths=BIRTHS, signups=0, departures=0, seed=seed
            )
            play = Play(project, mode, life)
            course: list[float] = []
            for day in range(words.days):
                shares[mode][seed, day], ratio = play.day(words.visits)
                course.append(ratio.get("click", float("nan")))
                print(mode, seed, day, round(shares[mode][seed, day], 4), ratio, flush=True)
            play.serving.close()
            rates[mode].append(course)
            seconds[mode].append(play.seconds)
            refused[mode] += play.refused
    none = shares.get("none")
    result: dict[str, Any] = {
        "world": {"items": ITEMS, "users": USERS, "drift": DRIFT, "births": BIRTHS},
        "seeds": words.seeds,
        "days": words.days,
        "visits": words.visits,
        "modes": {
            mode: {
                "by_day": [interval(shares[mode][:, day]) for day in range(words.days)],
                "mean": interval(shares[mode].mean(axis=1)),
                "last": interval(shares[mode][:, -1]),
                "change": None
                if none is None
                else interval((shares[mode] - none)[:, 1:].mean(axis=1)),
                "predicted ÷ true clicks by day": np.mean(rates[mode], axis=0).tolist(),
                "seconds": seconds[mode],
                "refused": refused[mode],
            }
            for mode in words.only
        },
    }
    path = KEPT if words.keep else BUILD / "updates.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    for mode, found in result["modes"].items():
        print(mode, found["mean"], found["change"])


if __name__ == "__main__":
    main()
