"""Live state: memory over a million events in simulated days, and the time of a restart.

    python -m benchmarks.bench_views [--project tamis-demo] [--events 1000000] [--tail 200000]

The events are those of known and new users on known and new items, popular ones more often. They
are applied day by day, with requests in between; then requests alone follow, to tell what grows
with the tail of the journal from what grows with time. The restart reads the tail from a journal in
a file (SQLite), once from its beginning and once behind a snapshot. Writes build/bench/views.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
from benchmarks.bench_latency import BUILD, make

from tamis.journal import EmbeddedJournal, Event, ItemPut, Numbered
from tamis.runtime import resident_mb
from tamis.service import LiveRecommender, Recommender, Request

DAY = 86_400_000
NEW = 0.02
"""Share of the events of new users, and of those on new items."""
BOUND_SECONDS = 5.0
"""Seconds that a restart may take with the default tail."""


def entries(recommender: Recommender, n: int, days: int, seed: int = 0) -> Iterator[Numbered]:
    """`n` events over `days` days after the version, with new users and items among them."""
    random, parts = np.random.default_rng(seed), recommender.parts
    behaviours = list(parts.config.behaviours)
    start, users, items = recommender.manifest.data_until, len(parts.users), len(parts.items)
    who = random.integers(0, users, n) + users * (random.random(n) < NEW)
    what = (items * random.beta(1, 4, n)).astype(int) + items * (random.random(n) < NEW)
    how = random.integers(0, len(behaviours), n)
    for k in range(n):
        user, item, at = int(who[k]), int(what[k]), start + 1 + k * days * DAY // n
        event = Event(
            event_id=f"e{k}",
            user_id=parts.users.id_of(user) if user < users else f"new {user}",
            item_id=parts.items.id_of(item) if item < items else f"new {item}",
            behaviour=behaviours[how[k]],
            time=at,
            arrival=at,
            value=4.0,
        )
        yield Numbered(k + 1, event)


def ask(recommender: Recommender, requests: int, seed: int) -> float:
    """Answers requests of known users; seconds of each on average."""
    random, users = np.random.default_rng(seed), recommender.parts.users
    rows = random.integers(0, len(users), requests).tolist()
    began = perf_counter()
    for row in rows:
        recommender.recommend(Request.of(user_id=users.id_of(row)))
    return (perf_counter() - began) / requests


def growth(project: Path, events: int, days: int) -> dict[str, Any]:
    """Resident memory by day, seconds of applying, and what requests alone add."""
    recommender = Recommender.open(project)
    ask(recommender, 300, seed=0)
    before, seconds, lines = resident_mb(), 0.0, list[dict[str, float]]()
    per_day, stream = events // days, entries(recommender, events, days)
    for day in range(days):
        page = [next(stream) for _ in range(per_day)]
        began = perf_counter()
        recommender.views.apply(page)
        seconds += perf_counter() - began
        del page
        ask(recommender, 50, seed=day)
        lines.append({"events": (day + 1) * per_day, "mb": resident_mb() - before})
    after = resident_mb()
    ask(recommender, 2_000, seed=days)
    return {
        "by_day": lines,
        "bytes_per_event": (after - before) * 2**20 / (per_day * days),
        "mb_of_2000_requests": resident_mb() - after,
        "events_per_second": per_day * days / seconds,
    }


def restart(project: Path, tail: int) -> dict[str, float]:
    """Seconds from an opened version to one that has applied `tail` events of a journal."""
    recommender = Recommender.open(project)
    with tempfile.TemporaryDirectory() as folder:
        file, snapshot = Path(folder) / "journal.sqlite", Path(folder) / "snapshot"
        journal, written = EmbeddedJournal(file), list[Any]()
        for numbered in entries(recommender, tail, days=1):
            written.append(numbered.entry)
            if len(written) == 10_000:
                journal.append(written)
                written.clear()
        journal.append([*written, ItemPut(item_id="new item", columns={})])
        journal.close()
        began, processor = perf_counter(), process_time()
        fresh = Recommender.open(project)
        opened = perf_counter()
        live = LiveRecommender(fresh, EmbeddedJournal(file))
        caught_up, processor = perf_counter(), process_time() - processor
        fresh.views.snapshot(snapshot)
        written_at = perf_counter()
        other = Recommender.open(project)
        reopened = perf_counter()
        other.views.restore(snapshot)
        restored = perf_counter()
        live.close()
    return {
        "open": opened - began,
        "apply_tail": caught_up - opened,
        "restart": caught_up - began,
        "restart_processor": processor,
        "write_snapshot": written_at - caught_up,
        "restore_snapshot": restored - reopened,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--project", type=Path, default=Path("tamis-demo"))
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--days", type=int, default=20)
    parser.add_argument("--tail", type=int, default=200_000)
    given = parser.parse_args()
    make("demo", given.project)
    found = {
        "restart": restart(given.project, given.tail),
        "growth": growth(given.project, given.events, given.days),
    }
    BUILD.mkdir(parents=True, exist_ok=True)
    (BUILD / "views.json").write_text(json.dumps(found, indent=1))
    for day in found["growth"]["by_day"]:
        print(f"{day['events']:>10,} events  {day['mb']:8.1f} MB")
    for part in ("growth", "restart"):
        for name, value in found[part].items():
            if name != "by_day":
                print(f"{name:>22}  {value:,.3f}")
    print(f"bound: restart {BOUND_SECONDS:g} s with 200,000 events in the tail")


if __name__ == "__main__":
    main()
