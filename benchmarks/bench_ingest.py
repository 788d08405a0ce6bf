"""Durable events per second, as a ratio to raw writes of the same bytes with fdatasync.

    python -m benchmarks.bench_ingest [--seconds 4] [--held 300000]

For 1, 50 and 500 events per call: raw writes (one file, `write` and `fdatasync` per call, the bytes
of the events as JSON), `Journal.append`, and `LiveRecommender.take`, which checks each event; with
and without a thread that asks for recommendations all the time. The four take turns, call by call,
so that all see the same disk. The journal holds `--held` events before. Writes
build/bench/ingest.json. Target: a ratio of .5 for the journal.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any
from uuid import uuid4

from rich.console import Console
from rich.table import Table

from tamis.jobs import train
from tamis.journal import Event
from tamis.service import LiveRecommender
from tamis.testing import corner_shop

BUILD = Path(__file__).parent.parent / "build" / "bench"
FOLDER = BUILD / "ingest"
BATCHES = (1, 50, 500)
TARGET = 0.5


def rows_of(batch: int) -> list[dict[str, Any]]:
    """Events as clients send them, with random ids."""
    fields = {"user_id": "u1", "item_id": "i3", "behaviour": "like"}
    return [{**fields, "event_id": uuid4().hex} for _ in range(batch)]


def events_of(batch: int, now: int) -> list[Event]:
    return [Event(**row, time=now, arrival=now) for row in rows_of(batch)]


@contextmanager
def reading(live: LiveRecommender, wanted: bool) -> Iterator[list[int]]:
    """Asks for recommendations in a thread; yields a list that holds how many were answered."""
    ended, answered = threading.Event(), [0]

    def ask() -> None:
        while not ended.is_set():
            live.recommend("u1", n=10)
            answered[0] += 1

    thread = threading.Thread(target=ask)
    if wanted:
        thread.start()
    try:
        yield answered
    finally:
        ended.set()
        if wanted:
            thread.join()


def measured(live: LiveRecommender, batch: int, seconds: float) -> dict[str, float]:
    """Events per second of each way; calls take turns."""
    last = live.journal.read(live.journal.head - 1, 1)[0].entry
    assert isinstance(last, Event)
    now = last.time
    taken = {"raw": 0.0, "journal": 0.0, "service": 0.0}
    calls, until = 0, perf_counter() + seconds
    handle = os.open(FOLDER / "raw", os.O_WRONLY | os.O_CREAT)
    try:
        while perf_counter() < until or calls < 10:
            events, rows = events_of(batch, now), rows_of(batch)
            text = b"".join(live_bytes(event) for event in events)
            for name, work in _ways(live, handle, text, events, rows):
                began = perf_counter()
                work()
                taken[name] += perf_counter() - began
            calls += 1
    finally:
        os.close(handle)
    return {name: batch * calls / spent for name, spent in taken.items()}


def _ways(
    live: LiveRecommender, handle: int, text: bytes, events: list[Event], rows: list[Any]
) -> list[tuple[str, Callable[[], object]]]:
    def raw() -> None:
        os.write(handle, text)
        os.fdatasync(handle)

    return [
        ("raw", raw),
        ("journal", lambda: live.journal.append(events)),
        ("service", lambda: live.take(rows)),
    ]


def live_bytes(event: Event) -> bytes:
    """The event as JSON, with its kind."""
    from tamis.journal.entries import encoded

    return encoded(event)


def main() -> None:
    asked = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    asked.add_argument("--seconds", type=float, default=4.0, help="per line")
    asked.add_argument("--held", type=int, default=300_000, help="events held before")
    given = asked.parse_args()
    shutil.rmtree(FOLDER, ignore_errors=True)
    project = FOLDER / "corner"
    corner_shop(project)
    train(project, only="serving")
    live = LiveRecommender.open(project)
    for _ in range(given.held // 5_000):
        live.journal.append(events_of(5_000, 1_800_000_000_000))
    table, results = Table(title="Durable events per second"), list[dict[str, Any]]()
    for heading in (
        "batch",
        "reads beside",
        "raw",
        "journal",
        "ratio",
        "service",
        "ratio",
        "answers/s",
    ):
        table.add_column(heading, justify="right")
    for wanted in (False, True):
        for batch in BATCHES:
            with reading(live, wanted) as answered:
                before = answered[0]
                began = perf_counter()
                found = measured(live, batch, given.seconds)
                rate = (answered[0] - before) / (perf_counter() - began)
            journal, service = (found[name] / found["raw"] for name in ("journal", "service"))
            results.append({"batch": batch, "reads": wanted, "answers": rate, **found})
            table.add_row(
                str(batch), "yes" if wanted else "no", f"{found['raw']:,.0f}",
                f"{found['journal']:,.0f}", f"{journal:.2f}", f"{found['service']:,.0f}",
                f"{service:.2f}", f"{rate:,.0f}" if wanted else "",
            )  # fmt: skip
    live.close()
    Console().print(table)
    (BUILD / "ingest.json").write_text(json.dumps(results, indent=1), "utf-8")


if __name__ == "__main__":
    main()
