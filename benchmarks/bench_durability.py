"""Kills a running service again and again under load, and counts lost and doubled events.

    python -m benchmarks.bench_durability [--kills 500] [--redis]

`tamis serve` runs as a process of its own on a small project; three clients send events, five per
call, and it is killed by SIGKILL at random moments. A call without an answer is sent again with the
same ids. --redis: the journal is on a Redis server with appendfsync always. Prints a line, and
fails where an acknowledged event is lost or any is doubled. `make bench` runs 500 kills.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from tamis.jobs import train
from tamis.journal import Event, open_journal
from tamis.testing import corner_shop, kill_under_load, redis_server, serve_process

FOLDER = Path(__file__).parent.parent / "build" / "bench" / "durability"
EVENT = {"user_id": "u1", "item_id": "i3", "behaviour": "like"}


def main() -> None:
    asked = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    asked.add_argument("--kills", type=int, default=500, help="kills of the service")
    asked.add_argument("--redis", action="store_true", help="the journal is on a Redis server")
    given = asked.parse_args()
    shutil.rmtree(FOLDER, ignore_errors=True)
    project = FOLDER / "corner"
    corner_shop(project)
    train(project, only="serving")
    began = time.monotonic()
    with ExitStack() as stack:
        store = ""
        if given.redis:
            (FOLDER / "redis").mkdir()
            store = stack.enter_context(redis_server(keep=FOLDER / "redis"))

        def stored() -> list[str]:
            journal = open_journal(project, "corner", store)
            found = journal.read(0, 10**7)
            journal.close()
            return [n.entry.event_id for n in found if isinstance(n.entry, Event)]

        report = kill_under_load(
            lambda port: serve_process(project, port, *(["--store", store] if store else [])),
            stored,
            event=EVENT,
            kills=given.kills,
        )
    print(
        f"{report.kills} kills in {time.monotonic() - began:,.0f} s: {report.acknowledged:,} "
        f"acknowledged events, {report.sent_again:,} of them sent again, {report.answers:,} "
        f"answers; lost {len(report.lost)}, doubled {len(report.doubled)}"
    )
    sys.exit(bool(report.lost or report.doubled))


if __name__ == "__main__":
    main()
