"""A simulated year of births: the rows that new ids get, and what they bring.

    python -m benchmarks.bench_admission [--days 364] [--visits 60] [--keep]

A simulated shop is trained once; then its world goes on for a year, in which its catalogue is
replaced several times. Two services of it learn by an incremental update every week: in one, the
ids of items have spare rows (`spare`, `admit_after`, `expire_days`), in the other none, so that new
items are known by their attributes alone. Each has a journal and a world of its own; one seed.

Reported for each quarter: rows of the id's table, ids admitted, expired and crowded; worth of the
slates by the world's truth as a share of the best ones; AUC of predicted clicks on items that were
born after the training, on what was clicked. Intervals are over quarters: weeks that follow one
another are alike.

Nothing is tuned. Writes build/bench/admission.json; with --keep benchmarks/admission.json, of which
docs/write_updates.py writes the table of docs/updating.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.bench_updates import BUILD, DAY_MS, TOWER, Play, Visit, interval
from sklearn.metrics import roc_auc_score

from tamis.jobs import follow, simulate, train
from tamis.simulator import LifeConfig

KEPT = Path(__file__).parent / "admission.json"
ITEMS, USERS, LOG_DAYS = 400, 400, 20
BIRTHS = 0.01
"""Of the catalogue a day: it is replaced three to four times a year."""
SPARE, ADMIT_AFTER, EXPIRE_DAYS = 400, 5, 45
WEEK = 7
FEATURES = """
[[features]]
kind = "sparse"
name = "user_id"
online = true
[[features]]
kind = "sparse"
name = "category"
[[features]]
kind = "sparse"
name = "item_id"
online = true
"""
ADMITS = f"""spare = {SPARE}
admit_after = {ADMIT_AFTER}
admit_within = "14d"
expire_days = {EXPIRE_DAYS}
"""
REST = """
[cascade.channels.fresh]
quota = 200
[online]
wait = "1s"
lateness = "1s"
"""


def trained(folder: Path, features: str) -> Path:
    """A simulated shop of which the ids of items learn online, trained for serving."""
    shutil.rmtree(folder, ignore_errors=True)
    simulate(folder, items=ITEMS, users=USERS, days=LOG_DAYS, seed=0, progress=True)
    declared = folder / "tamis.toml"
    text = declared.read_text("utf-8").replace(TOWER, f"{TOWER}online = true\n", 1)
    text = text.replace('order = "auto"', 'order = "rank"', 1)
    text = "\n".join(line for line in text.splitlines() if not line.startswith("clock ="))
    declared.write_text(text + features + REST, "utf-8")
    train(folder, only="serving", progress=True)
    return folder


def auc_of_new(visits: list[Visit], known: int) -> float:
    """AUC of predicted clicks on items born after the training; NaN without both outcomes."""
    items = np.concatenate([one.items for one in visits])
    predicted = np.concatenate([one.predicted["click"] for one in visits])
    clicked = np.concatenate([one.clicked for one in visits])
    new = (items >= known) & ~np.isnan(predicted)
    if clicked[new].all() or not clicked[new].any():
        return float("nan")
    return float(roc_auc_score(clicked[new], predicted[new]))


def year(mode: str, features: str, days: int, visits: int) -> dict[str, Any]:
    """Figures of each week of one service."""
    project = trained(BUILD / f"admission-{mode}", features)
    life = LifeConfig(drift=0.02, births=BIRTHS, deaths=BIRTHS, signups=0, departures=0, seed=0)
    play = Play(project, "incremental", life)
    known = play.world.items
    weeks: list[dict[str, Any]] = []
    for week in range(days // WEEK):
        seen: list[Visit] = []
        for _ in range(WEEK):
            seen += play.visits(visits, DAY_MS)
            play.live(DAY_MS)
        report = play.timed("incremental", lambda: follow(project, once=True))
        space = play.recommender.parts.space
        weeks.append(
            {
                "worth": sum(one.worth for one in seen) / sum(one.best for one in seen),
                "auc_new": auc_of_new(seen, known),
                "new_share": float(np.mean(np.concatenate([one.items for one in seen]) >= known)),
                "rows": space.vocabularies["item_id"].size,
                "born": play.world.items - known,
                "admitted": report.admitted,
                "expired": report.expired,
                "crowded": report.crowded,
            }
        )
        print(mode, week, weeks[-1], flush=True)
    play.serving.close()
    return {"weeks": weeks, "seconds": play.seconds["incremental"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--days", type=int, default=364)
    parser.add_argument("--visits", type=int, default=60, help="of a day")
    parser.add_argument("--keep", action="store_true")
    given = parser.parse_args()
    found = {
        "with": year("with", FEATURES + ADMITS, given.days, given.visits),
        "without": year("without", FEATURES, given.days, given.visits),
    }
    pairs = {
        what: np.array([[week[what] for week in found[mode]["weeks"]] for mode in found])
        for what in ("worth", "auc_new")
    }
    result: dict[str, Any] = {
        "world": {"items": ITEMS, "users": USERS, "births": BIRTHS},
        "admission": {"spare": SPARE, "admit_after": ADMIT_AFTER, "expire_days": EXPIRE_DAYS},
        "days": given.days,
        "visits": given.visits,
        "change": {
            what: interval(
                np.array([np.nanmean(part) for part in np.array_split(both[0] - both[1], 4)])
            )
            for what, both in pairs.items()
        },
        "services": found,
    }
    path = KEPT if given.keep else BUILD / "admission.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print(result["change"])


if __name__ == "__main__":
    main()
