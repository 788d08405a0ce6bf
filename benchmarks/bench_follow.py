"""From an acknowledged event to the delta that holds it, and to the answers that use it.

    python -m benchmarks.bench_follow [--seconds 60] [--rate 3] [--every 5] [--workers 2] [--keep]

`tamis serve` answers visitors of a simulated world, `rate` slates per second with their impressions
and clicks as events, and `tamis update --follow` learns beside it. For each event, by this
machine's clock: seconds from its acknowledgement to the publication of its delta, and to the moment
at which a worker answers with it; in event time, as the follower reports: from the event to the
newest event that it had read when it learnt. `[online]` waits one second for an impression's
clicks. Writes build/bench/follow.json; with --keep benchmarks/follow.json, of which
docs/write_updates.py writes the lines of docs/updating.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from benchmarks.bench_serve import environment, service
from benchmarks.bench_updates import BUILD, trained

from tamis.bundle import DeltaChain, DeltaFolder, Kind, Versions

KEPT = Path(__file__).parent / "follow.json"


class Watch(threading.Thread):
    """Notes when the answers of the service use each position of the journal."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self._url, self.ended = url, threading.Event()
        self.seen: list[tuple[float, int]] = []
        """(time, position of the newest delta), at each change."""

    def run(self) -> None:
        with httpx.Client(base_url=self._url, timeout=60) as client:
            while not self.ended.wait(0.02):
                delta = client.get("/health/ready").json().get("delta")
                if delta and (not self.seen or delta["position"] > self.seen[-1][1]):
                    self.seen.append((time.time(), delta["position"]))


def visits(url: str, users: list[str], rate: float, seconds: float) -> list[tuple[float, int]]:
    """(time of the acknowledgement, number in the journal) of each event that was sent."""
    random, sent = np.random.default_rng(0), list[tuple[float, int]]()
    began = time.monotonic()
    with httpx.Client(base_url=url, timeout=60) as client:
        for number in range(int(rate * seconds)):
            time.sleep(max(0.0, began + number / rate - time.monotonic()))
            user = users[number % len(users)]
            answer = client.post("/v1/recommend", json={"user_id": user, "n": 10}).json()
            events = [
                {
                    "user_id": user,
                    "item_id": item["item_id"],
                    "behaviour": behaviour,
                    "recommendation_id": answer["recommendation_id"],
                    "position": item["place"],
                }
                for item in answer["items"]
                for behaviour in ("impression", "click")[: 1 + (random.random() < 0.2)]
            ]
            taken = client.post("/v1/events", json=events).raise_for_status().json()
            sent += [(time.time(), one["sequence"]) for one in taken["events"]]
    return sent


def quantiles(seconds: list[float]) -> dict[str, float]:
    return {f"p{q}": float(np.percentile(seconds, q)) for q in (50, 99)}


def measure(project: Path, given: argparse.Namespace) -> dict[str, Any]:
    """What one run of service and follower shows."""
    version = Versions(project).current(Kind.SERVING)
    users = [f"u{k}" for k in range(200)]
    with service(project, given.workers) as port:
        url = f"http://127.0.0.1:{port}"
        words = ["-m", "tamis", "update", str(project), "--follow", "--every", f"{given.every}s"]
        piped: Any = {"stdout": subprocess.PIPE, "text": True, "env": environment()}
        follower = subprocess.Popen([sys.executable, *words, "--json"], **piped)
        watch = Watch(url)
        watch.start()
        try:
            sent = visits(url, users, given.rate, given.seconds)
            time.sleep(3 * given.every)  # what was sent last is learnt, too
        finally:
            watch.ended.set()
            watch.join()
            follower.send_signal(signal.SIGTERM)
            report = json.loads(follower.communicate(timeout=60)[0])
    folder, chain, published = DeltaFolder(version), DeltaChain(version), list[tuple[float, int]]()
    for delta in folder.after(chain):
        chain.advance(delta)
        published.append((folder.file(delta.number).stat().st_mtime, delta.position))
    found: dict[str, list[float]] = {"delta": [], "answer": []}
    for at, number in sent:
        for what, line in (("delta", published), ("answer", watch.seen)):
            reached = next((when for when, position in line if position >= number), None)
            if reached is not None:
                found[what].append(reached - at)
    first = {position: when for when, position in reversed(published)}
    used = [when - first[position] for when, position in watch.seen if position in first]
    return {
        "events": len(sent),
        "learnt": len(found["answer"]),
        "deltas": len(published),
        "seconds": {what: quantiles(values) for what, values in found.items()},
        "from delta to answer": quantiles(used),
        "event seconds": {
            "p50": report["event_seconds_p50"],
            "p99": report["event_seconds_p99"],
        },
        "every": given.every,
        "rate": given.rate,
        "workers": given.workers,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rate", type=float, default=3, help="slates per second")
    parser.add_argument("--every", type=float, default=5, help="seconds between updates")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--keep", action="store_true")
    given = parser.parse_args()
    project = BUILD / "follow-now"
    shutil.rmtree(project, ignore_errors=True)
    shutil.copytree(trained(BUILD / "updates-0", 0), project)
    result = measure(project, given)
    path = KEPT if given.keep else BUILD / "follow.json"
    path.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
