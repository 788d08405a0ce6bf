"""`tamis experiment report` over a long journal: seconds, entries per second and memory.

    python -m benchmarks.bench_report [--entries 10000000] [--answers 500000] [--again] [--keep]

Writes a journal of a simulated experiment into build/bench/report: 14 days, one user per hundred
entries, half of them in the experiment. The report is made by a process of its own, whose peak
memory is measured. Writes build/bench/report.json; with --keep also benchmarks/report.json, of
which docs/write_report.py writes the table of docs/experiments.md. Target: 60 s for 10^7 entries.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

import apsw
import numpy as np
from rich.console import Console

from tamis.experiments import arm_of
from tamis.journal import ExperimentStep, Recommendation, Recommended, open_journal
from tamis.schema import load_config

BUILD = Path(__file__).parent.parent / "build" / "bench"
FOLDER = BUILD / "report"
KEPT = Path(__file__).parent / "report.json"
DAY = 86_400_000
T0 = 1_700_000_000_000
DAYS = 14
BLOCK = 100_000
TOML = """
name = "bench"
[events]
behaviour = "kind"
[behaviours.show]
impression = true
[behaviours.click]
positive = true
[metrics.ctr]
value = "click / show"
[metrics.latency]
value = "took_ms / answers"
lower_is_better = true
[cascade.channels.hot]
[cascade.rank]
use = "lr"
[experiments.new]
control = "a"
goal = "ctr"
secondary = ["active_days", "returned(7) / observed(7)", "sum(click)"]
guardrails = ["latency", "degraded / answers"]
before_days = 7
[experiments.new.arms.a]
[experiments.new.arms.b]
"""
REPORT = """
import resource, sys
from time import perf_counter
from tamis.jobs import report_experiment
report_experiment  # imported before the clock starts
start = perf_counter()
found = report_experiment(sys.argv[1], "new")
used = resource.getrusage(resource.RUSAGE_SELF)
cpu = used.ru_utime + used.ru_stime
units = sum(found.result.users.values())
print(perf_counter() - start, cpu, used.ru_maxrss / 1024, units, found.result.state)
"""


def bodies(first: int, n: int, total: int, users: int) -> Iterator[str]:
    """The JSON of events number first … first + n of all, in the order of time."""
    random = np.random.default_rng(first)
    time = T0 + (np.arange(first, first + n) / total * (DAYS + 7) - 7) * DAY
    user = random.integers(0, users, n)
    kind = np.where(random.random(n) < 0.1, "click", "show")
    rows = zip(time.astype(int).tolist(), user.tolist(), kind.tolist(), strict=True)
    for k, (at, u, behaviour) in enumerate(rows, start=first):
        yield (
            f'{{"kind":"event","event_id":"{k:032x}","user_id":"user-{u}",'
            f'"item_id":"item-{k % 9973}","behaviour":"{behaviour}",'
            f'"time":{at},"arrival":{at + 40},"value":1.5,'
            f'"recommendation_id":"{k * 7919:032x}","position":{k % 20 + 1}}}'
        )


def write(entries: int, answers: int) -> None:
    """The project. Events go into the file by SQL: an append would check each key."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    (FOLDER / "tamis.toml").write_text(TOML, "utf-8")
    journal = open_journal(FOLDER, "bench")
    users = max(entries // 100, 100)
    random = np.random.default_rng(0)
    arms = [arm_of(f"user-{k}", "new", {"a": 1, "b": 1}) for k in range(users // 2)]
    trace = random.bytes(6_000)
    time = np.sort(T0 + random.uniform(0, DAYS, answers) * DAY).astype(int)
    for first in range(0, answers, 10_000):
        page: list[Recommendation] = []
        for k in range(first, min(first + 10_000, answers)):
            user = int(random.integers(users))
            page.append(
                Recommendation(
                    recommendation_id=f"{k:032x}",
                    time=int(time[k]),
                    user_id=f"user-{user}",
                    version="v1",
                    slate=[Recommended(f"item-{j}", j + 1, 0.5) for j in range(20)],
                    arms={"new": arms[user]} if user < len(arms) else {},
                    took_ms=12.5,
                    trace=trace,
                )
            )
        journal.answers.append(page)
    design = load_config(FOLDER).experiments["new"].model_dump(mode="json")
    step = {"experiment": "new", "by": "bench"}
    journal.experiments.append(
        ExperimentStep(**step, step="start", time=T0, traffic=0.5, design=design), 0
    )
    journal.experiments.append(ExperimentStep(**step, step="close", time=T0 + DAYS * DAY), 1)
    journal.close()
    connection = apsw.Connection(str(FOLDER / "journal" / "journal.sqlite"))
    connection.execute("PRAGMA synchronous = OFF")
    for first in range(0, entries, BLOCK):
        n = min(BLOCK, entries - first)
        rows = zip(range(first + 1, first + n + 1), bodies(first, n, entries, users), strict=True)
        with connection:
            connection.executemany("INSERT INTO entries VALUES (?, ?)", rows)
    connection.execute("UPDATE state SET value = ? WHERE name = 'head'", (entries,))
    connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=10_000_000)
    parser.add_argument("--answers", type=int, default=500_000)
    parser.add_argument("--again", action="store_true", help="use the journal of the last run")
    parser.add_argument("--keep", action="store_true", help="keep the result for the docs")
    given = parser.parse_args()
    start = perf_counter()
    if not (given.again and (FOLDER / "tamis.toml").exists()):
        write(given.entries, given.answers)
    written = perf_counter() - start
    done = subprocess.run(
        [sys.executable, "-c", REPORT, str(FOLDER)], capture_output=True, text=True, check=True
    )
    seconds, cpu, peak, units, state = done.stdout.split(maxsplit=4)
    journal = open_journal(FOLDER, "bench")
    entries, answers = journal.head, journal.answers.head
    journal.close()
    result = {
        "entries": entries,
        "answers": answers,
        "units": int(units),
        "state": state.strip(),
        "seconds": round(float(seconds), 1),
        "cpu_seconds": round(float(cpu), 1),
        "entries_per_second": round(entries / float(seconds)),
        "peak_mb": round(float(peak)),
        "written_in": round(written, 1),
    }
    BUILD.mkdir(parents=True, exist_ok=True)
    (BUILD / "report.json").write_text(json.dumps(result, indent=1), "utf-8")
    if given.keep:
        kept = json.loads(KEPT.read_text("utf-8")) if KEPT.exists() else []
        runs = [*(one for one in kept if one["entries"] != entries), result]
        runs.sort(key=lambda one: one["entries"])
        KEPT.write_text(json.dumps(runs, indent=1) + "\n", "utf-8")
    Console().print_json(data=result)


if __name__ == "__main__":
    main()
