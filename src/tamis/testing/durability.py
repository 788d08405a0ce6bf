"""Kills a service under load, and counts what became of the events that it acknowledged."""

from __future__ import annotations

import http.client
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tamis.schema import StoreError

STARTS_WITHIN = 120.0
"""Seconds."""
RETRY = 0.25
"""Seconds after which a client sends a batch without an answer again."""


@dataclass
class KillReport:
    """What a trial counted."""

    kills: int = 0
    acknowledged: int = 0
    """Events that the service answered with `accepted` or `duplicate`."""
    sent_again: int = 0
    """Events that were sent a second time, since the first time had no answer."""
    answers: int = 0
    """Requests for recommendations that were answered in between."""
    lost: list[str] = field(default_factory=list[str])
    """Ids that were acknowledged and are not in the journal."""
    doubled: list[str] = field(default_factory=list[str])
    """Ids that are in the journal more than once."""


def serve_process(project: Path, port: int, *options: str) -> subprocess.Popen[bytes]:
    """Starts `tamis serve` as a process of its own, on a port of this machine."""
    words = ["serve", str(project), "--port", str(port), *options]
    code = "import sys; from tamis.cli import main; sys.argv = ['tamis', *sys.argv[1:]]; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def kill_under_load(
    start: Callable[[int], subprocess.Popen[bytes]],
    stored: Callable[[], Sequence[str]],
    *,
    event: dict[str, Any],
    kills: int,
    clients: int = 3,
    batch: int = 5,
    seconds: tuple[float, float] = (0.05, 0.5),
    seed: int = 0,
) -> KillReport:
    """Kills a service `kills` times by SIGKILL, at random moments, while clients send events.

    Each client sends a batch of events with ids of their own; a batch without an answer is sent
    again, with the same ids, until it has one.

    Args:
        start: starts the service on a port.
        stored: ids of all events in the journal, in order, after the end.
        event: fields of the events but `event_id`.
        clients: threads that send.
        batch: events of one call.
        seconds: least and most time under load before a kill.
    """
    report, port = KillReport(), _free_port()
    ended, turn = threading.Event(), threading.Lock()
    acknowledged: set[str] = set()

    def send(client: int) -> None:
        number = 0
        while not ended.is_set():
            ids = [f"{client}-{number}-{k}" for k in range(batch)]
            rows = [{**event, "event_id": name} for name in ids]
            tries = 0
            while not (answered := _post(port, "/v1/events", rows)) and not ended.is_set():
                tries += 1
                time.sleep(RETRY)
            if answered is not None:
                taken = [e["event_id"] for e in answered["events"] if e["status"] != "refused"]
                with turn:
                    acknowledged.update(taken)
                    report.sent_again += batch if tries else 0
            if client == 0 and _post(port, "/v1/recommend", {"user_id": event["user_id"]}):
                report.answers += 1
            number += 1

    chance = random.Random(seed)
    threads = [threading.Thread(target=send, args=(c,), daemon=True) for c in range(clients)]
    process = start(port)
    try:
        for kill in range(kills + 1):
            _wait_until_ready(process, port)
            if kill == 0:
                for thread in threads:
                    thread.start()
            time.sleep(chance.uniform(*seconds))
            if kill == kills:
                break
            process.kill()
            process.wait()
            report.kills += 1
            process = start(port)
        ended.set()
        for thread in threads:
            thread.join()
    finally:
        ended.set()
        process.kill()
        process.wait()
    found = list(stored())
    report.acknowledged = len(acknowledged)
    report.lost = sorted(acknowledged - set(found))
    report.doubled = sorted(name for name, times in Counter(found).items() if times > 1)
    return report


def _post(port: int, path: str, body: object) -> dict[str, Any] | None:
    """The answer of a call that succeeded; None for any other."""
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        headers = {"content-type": "application/json"}
        line.request("POST", path, json.dumps(body), headers)
        answer = line.getresponse()
        text = answer.read()
        return json.loads(text) if answer.status == 200 else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        line.close()


def _wait_until_ready(process: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < until and process.poll() is None:
        line = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            line.request("GET", "/health/ready")
            if line.getresponse().status == 200:
                return
        except (OSError, http.client.HTTPException):
            time.sleep(0.02)
        finally:
            line.close()
    raise StoreError(f"the service on port {port} was not ready within {STARTS_WITHIN:g} seconds")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
