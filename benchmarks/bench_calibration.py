"""How well predictions agree with the truth after full updates, and in the course of the days.

    python -m benchmarks.bench_calibration [--seeds 3] [--days 3] [--visits 2000] [--keep]

A simulated shop is trained once per seed; then its world goes on as in `bench_updates`, whose
visits these are: tastes drift, items are born and withdrawn, and the slates are those of the
service itself. Two services of the same version differ in how they learn: by a full update every
night, and by that and an incremental update every two hours. In each part of a day, predicted ÷
true is the sum of the predictions of a task over all places shown ÷ that of the world's
true probabilities.

Nothing is tuned. Writes build/bench/calibration.json; with --keep benchmarks/calibration.json, of
which docs/write_updates.py writes the table of docs/updating.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from benchmarks.bench_updates import (
    BUILD,
    DAY_MS,
    TASKS,
    Play,
    Visit,
    calibration,
    trained,
)

from tamis.jobs import follow
from tamis.simulator import LifeConfig

KEPT = Path(__file__).parent / "calibration.json"
ITEMS, USERS, EAGERNESS = 2_000, 10_000, 1.0
"""So eager users buy often enough for the rate of purchases to be learnt in a day."""
DRIFT, BIRTHS = 0.1, 0.02
PARTS = 12
"""Of a day; an incremental update follows each."""
MODES = ("full", "both")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--days", type=int, default=3)
    parser.add_argument("--visits", type=int, default=2_000, help="of a day")
    parser.add_argument("--only", nargs="*", default=list(MODES))
    parser.add_argument("--keep", action="store_true")
    words = parser.parse_args()
    runs: list[dict[str, Any]] = []
    for seed in range(words.seeds):
        base = trained(BUILD / f"calibration-{seed}", seed, ITEMS, USERS, EAGERNESS)
        runs += [played(base, mode, seed, words.days, words.visits) for mode in words.only]
    kept = {"items": ITEMS, "users": USERS, "drift": DRIFT, "births": BIRTHS}
    kept["eagerness"] = EAGERNESS
    result = {"world": kept, "parts": PARTS, "visits": words.visits, "runs": runs}
    path = KEPT if words.keep else BUILD / "calibration.json"
    path.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


def played(base: Path, mode: str, seed: int, days: int, visits: int) -> dict[str, Any]:
    """Predicted ÷ true by day and by part of a day, of one service."""
    project = BUILD / "calibration-now"
    shutil.rmtree(project, ignore_errors=True)
    shutil.copytree(base, project)
    life = LifeConfig(drift=DRIFT, births=BIRTHS, deaths=BIRTHS, signups=0, departures=0, seed=seed)
    play = Play(project, mode, life)
    by_day: list[dict[str, float]] = []
    by_part: list[dict[str, float]] = []
    for day in range(days):
        seen: list[Visit] = []
        for _ in range(PARTS):
            part = play.visits(visits // PARTS, DAY_MS // PARTS)
            play.live(DAY_MS // PARTS)
            if mode == "both":
                play.timed("incremental", lambda: follow(project, once=True))
            by_part.append(calibration(part))
            seen += part
        by_day.append(calibration(seen))
        print(mode, seed, day, {k: round(v, 3) for k, v in by_day[-1].items()}, flush=True)
        print("  clicks:", *(f"{one['click']:.2f}" for one in by_part[-PARTS:]), flush=True)
        play.timed("full", play.full)
    play.serving.close()
    true = {task: sum(float(one.true[task].sum()) for one in seen) for task in TASKS}
    return {
        "mode": mode,
        "seed": seed,
        "by_day": by_day,
        "by_part": by_part,
        "expected on the last day": true,
        "refused": play.refused,
    }


if __name__ == "__main__":
    main()
