"""The running service: requests per second, p50 and p99 over HTTP, and what each part of it costs.

    python -m benchmarks.bench_serve [--demo tamis-demo] [--million build/bench/million]
        [--items 1000000] [--seconds 2] [--rounds 5] [--skip million,plain]

Every server is a process of its own on a free port of this machine; the load generator is another
(`benchmarks/serve/load.py`; its share of a core is in the table). Lines:

- in process: `LiveRecommender.recommend`, without HTTP;
- the service with 1 and 2 workers, 1, 4 and 16 clients, journal in a file and on Redis;
- 4 clients with 50 events per second arriving beside them, one per call;
- a million items;
- the same models behind a straightforward service (`benchmarks/serve/plain_service.py`), and how
  many of the items of its slates are in those of Tamis, for 50 users.

All that is compared is open at once and measured in turn, a few seconds each, over several rounds:
a machine's pace may change within a minute. A line shows the median of its rounds, a bound the
median of the ratios (or differences) within rounds.

Then the bounds, each from this run: HTTP adds at most 2 ms to the p50 in process; 2 workers answer
at least 1.6 times what 1 does; p99 with a million items is at most 2.5 times the demo's; 50 events
per second cost at most 10 % of the requests; the straightforward service answers at most a quarter.
Two workers and the generator need three cores: on two, the generator takes from the workers.
On a busy machine none of this means anything: run it alone.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
from benchmarks.million import million
from rich.console import Console
from rich.table import Table

from tamis.bundle import Kind, Versions
from tamis.jobs import demo
from tamis.testing import redis_server

if TYPE_CHECKING:  # a service is opened in a process of its own
    from tamis.service import LiveRecommender

ROOT = Path(__file__).parent.parent
BUILD = ROOT / "build" / "bench"
STARTS = 300.0
"""Seconds within which a server is ready."""
CLIENTS = (1, 4, 16)
COMPARED = 50
"""Users whose slates are compared with those of the straightforward service."""
Result = dict[str, Any]


def environment() -> dict[str, str]:
    """One thread per process: an answer is computed by one."""
    limits = {f"{x}_NUM_THREADS": "1" for x in ("OMP", "OPENBLAS", "MKL")}
    path = [str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        **limits,
        "POLARS_MAX_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
    }


@contextmanager
def service(project: Path, workers: int, store: str = "") -> Generator[int]:
    """`tamis serve`; yields its port once all workers are ready."""
    words = ["-m", "tamis", "serve", str(project), "--port", "0", "--workers", str(workers)]
    words += ["--store", store] if store else []
    file = project / "serve.log"
    with file.open("a") as log:
        process = subprocess.Popen([sys.executable, *words], stderr=log, env=environment())
        try:
            yield _when_ready(process, file, workers)
        finally:
            _end(process)


def _when_ready(process: subprocess.Popen[bytes], file: Path, workers: int) -> int:
    until, text = time.monotonic() + STARTS, ""
    while time.monotonic() < until and process.poll() is None:
        text = file.read_text("utf-8")
        port = re.search(r"http://127\.0\.0\.1:(\d+)", text)
        ready = len(re.findall(r"is open$", text, flags=re.M))
        if port and ready >= workers:
            return int(port[1])
        time.sleep(0.1)
    raise SystemExit(f"the service did not start:\n{text}")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def plain(project: Path) -> Generator[int]:
    """The straightforward service; yields its port once it is ready."""
    python, port = plain_python(), _free_port()
    words = ["-m", "benchmarks.serve.plain_service", str(project), str(port)]
    process = subprocess.Popen([str(python), *words], env=environment(), cwd=ROOT)
    try:
        until = time.monotonic() + STARTS
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{port}/health/ready")
                break
            except httpx.TransportError:
                if process.poll() is not None or time.monotonic() > until:
                    raise SystemExit("the straightforward service did not start") from None
                time.sleep(0.2)
        yield port
    finally:
        _end(process)


def plain_python() -> Path:
    """An environment with FastAPI, made where it is missing; the rest is this one's packages."""
    place = BUILD / "venv-plain"
    python = place / "bin" / "python"
    if not (place / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        link = place / "lib" / version / "site-packages" / "tamis-environment.pth"
        link.write_text(sysconfig.get_paths()["purelib"] + "\n", "utf-8")
        pip = [str(python), "-m", "pip", "install", "--quiet", "fastapi==0.165.0"]
        subprocess.run(pip, check=True)
        (place / "ready").touch()
    return python


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def load(port: int, users: Path, clients: int, seconds: float, *more: str) -> Result:
    """What the load generator measures."""
    words = ["-m", "benchmarks.serve.load", "127.0.0.1", str(port), str(users)]
    words += ["--clients", str(clients), "--seconds", str(seconds), *more]
    done = subprocess.run(
        [sys.executable, *words], stdout=subprocess.PIPE, text=True, check=True, env=environment()
    )
    return json.loads(done.stdout)


@contextmanager
def in_process(project: Path, users: Path) -> Generator[Callable[[float], Result]]:
    """Measures `LiveRecommender.recommend` for some seconds, in a process of its own."""
    words = ["-m", "benchmarks.bench_serve", "--inside", str(project), str(users)]
    piped: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, *words], env=environment(), **piped)
    asked, told = process.stdin, process.stdout
    assert asked is not None
    assert told is not None

    def measured(seconds: float) -> Result:
        print(seconds, file=asked, flush=True)
        return json.loads(told.readline())

    try:
        yield measured
    finally:
        asked.close()
        process.wait()


def inside(project: Path, users: Path) -> None:
    """What `in_process` talks to: reads seconds, prints what was measured."""
    from tamis.service import LiveRecommender

    live = LiveRecommender.open(project)
    asked = json.loads(users.read_text("utf-8"))["users"]
    slates = [
        [place.item_id for place in live.recommend(user, n=20).items] for user in asked[:COMPARED]
    ]
    for line in sys.stdin:
        print(json.dumps(_window(live, asked, float(line)) | {"slates": slates}), flush=True)
    live.close()


def _window(live: LiveRecommender, asked: Sequence[str], seconds: float) -> Result:
    """p50 and p99 of answers within some seconds, and shares of the stages."""
    times: list[float] = []
    stages: dict[str, float] = {}
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        began = time.perf_counter()
        answer = live.recommend(asked[len(times) % len(asked)], n=20)
        times.append(1000 * (time.perf_counter() - began))
        for stage, spent in answer.seconds.items():
            stages[stage] = stages.get(stage, 0.0) + 1000 * spent
    total = sum(times)
    return {
        "answers": len(times),
        "per_second": 1000 * len(times) / total,
        "p50": float(np.percentile(times, 50)),
        "p99": float(np.percentile(times, 99)),
        "failed": 0,
        "generator": 0.0,
        "stages": {stage: spent / total for stage, spent in stages.items()},
    }


def overlap(port: int, users: Path, slates: list[list[str]]) -> float:
    """Mean share of slates, of the first users, that the service at a port answers too."""
    asked = json.loads(users.read_text("utf-8"))["users"]
    shares: list[float] = []
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        for user, slate in zip(asked, slates, strict=False):
            answer = client.post("/v1/recommend", json={"user_id": user, "n": 20})
            theirs = {item["item_id"] for item in answer.raise_for_status().json()["items"]}
            shares.append(len(theirs.intersection(slate)) / len(slate))
    return float(np.mean(shares))


def copied(project: Path, place: Path) -> Path:
    """The project without its journal, so that runs do not see one another's events."""
    target = place / f"{project.name}-{time.monotonic_ns()}"
    skip = shutil.ignore_patterns("journal", "build")
    shutil.copytree(project, target, copy_function=_link, ignore=skip)
    return target


def _link(source: str, target: str) -> None:
    """A hard link, or a copy on another file system."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def ids_of(project: Path, target: Path, count: int = 2_000) -> Path:
    """Users with a history, and items, for the load generator."""
    from tamis.service import Recommender

    recommender = Recommender.open(project)
    parts = recommender.parts
    random = np.random.default_rng(0)
    users = random.permutation(len(parts.users))[:count]
    items = random.integers(0, len(parts.items), len(users))
    text = {
        "users": parts.users.ids.gather(users).to_list(),
        "items": parts.items.ids.gather(items).to_list(),
    }
    target.write_text(json.dumps(text), "utf-8")
    return target


Lines = dict[str, list[Result]]
"""Name of a line → what was measured in each round."""


def measure(name: str, project: Path, place: Path, given: argparse.Namespace) -> Lines:
    """Every line of one project."""
    users = ids_of(project, place / f"{name}.json")
    stores = {"file": ""}
    with ExitStack() as opened:
        if name == "demo" and shutil.which("redis-server"):
            stores["redis"] = opened.enter_context(redis_server())
        inner = opened.enter_context(in_process(copied(project, place), users))
        lines: dict[str, Callable[[float], Result]] = {"in process": inner}
        for (store, address), workers in product(stores.items(), (1, 2)):
            port = opened.enter_context(service(copied(project, place), workers, address))
            for clients in CLIENTS:
                line = f"{store}, {workers} workers, {clients} clients"
                lines[line] = partial(load, port, users, clients)
            if store == "file" and workers == 1 and name == "demo":
                more = ("--events", "50", "--behaviour", given.behaviour)
                lines[f"{line.rpartition(',')[0]}, 4 clients, 50 events/s"] = partial(
                    _beside_events, port, users, more
                )
        if name == "demo" and "plain" not in given.skip:
            port = opened.enter_context(plain(copied(project, place)))
            shares = overlap(port, users, inner(0.1)["slates"])
            for clients in CLIENTS:
                lines[f"straightforward, {clients} clients"] = partial(
                    _with_overlap, port, users, clients, shares
                )
        for measured in lines.values():
            measured(1.0)  # nothing compiles or is read from a disk afterwards
        rounds = [
            {line: f(given.seconds) for line, f in lines.items()} for _ in range(given.rounds)
        ]
    return {line: [one[line] for one in rounds] for line in lines}


def _beside_events(port: int, users: Path, more: Sequence[str], seconds: float) -> Result:
    return load(port, users, 4, seconds, *more)


def _with_overlap(port: int, users: Path, clients: int, shares: float, seconds: float) -> Result:
    return load(port, users, clients, seconds) | {"overlap": shares}


def bounds(found: dict[str, Lines]) -> list[tuple[str, float, str, bool]]:
    """(what, measured, bound, kept) of everything that this run can tell."""
    shop = found["demo"]
    one = "file, 1 workers"

    def ratio(line: str, to: str, what: str = "per_second") -> float:
        pairs = zip(shop[line], shop[to], strict=True)
        return float(np.median([a[what] / b[what] for a, b in pairs]))

    singles = zip(shop[f"{one}, 1 clients"], shop["in process"], strict=True)
    added = float(np.median([http["p50"] - inner["p50"] for http, inner in singles]))
    two = ratio("file, 2 workers, 16 clients", f"{one}, 16 clients")
    cost = 1 - ratio(f"{one}, 4 clients, 50 events/s", f"{one}, 4 clients")
    said = [
        ("HTTP adds to the p50, ms", added, "at most 2", added <= 2),
        ("2 workers answer, times 1", two, "at least 1.6", two >= 1.6),
        ("50 events/s cost, share", cost, "at most 0.1", cost <= 0.1),
    ]
    if "million" in found:
        line = f"{one}, 1 clients"
        times = _median(found["million"][line], "p99") / _median(shop[line], "p99")
        said.append(
            ("p99 of a million items, times the demo's", times, "at most 2.5", times <= 2.5)
        )
    if simple := shop.get("straightforward, 4 clients"):
        times = ratio(f"{one}, 4 clients", "straightforward, 4 clients")
        said.append(("times the straightforward service", times, "at least 4", times >= 4))
        equal = simple[0]["overlap"]
        said.append(("share of its slates' items in ours", equal, "at least 0.5", equal >= 0.5))
    return said


def _median(rounds: Sequence[Result], what: str) -> float:
    return float(np.median([one[what] for one in rounds]))


def tables(found: dict[str, Lines]) -> None:
    """Prints every line, the shares of the stages, and the bounds."""
    out = Table("", "line", *("answers/s", "p50 ms", "p99 ms", "failed", "generator"), box=None)
    for name, lines in found.items():
        for line, rounds in lines.items():
            cells = [f"{_median(rounds, k):,.1f}" for k in ("per_second", "p50", "p99")]
            failed = str(sum(one["failed"] for one in rounds))
            out.add_row(name, line, *cells, failed, f"{_median(rounds, 'generator'):.2f}")
    console = Console(width=120)
    console.print("Medians over rounds; the lines of a project are measured in turn in one run.")
    console.print(out)
    for name, lines in found.items():
        stages = lines["in process"][-1]["stages"]
        shares = sorted(stages.items(), key=lambda pair: -pair[1])
        console.print(f"{name}: " + ", ".join(f"{k} {100 * v:.0f} %" for k, v in shares))
    checks = Table("bound", "measured", "", "", box=None)
    for what, value, bound, kept in bounds(found):
        checks.add_row(what, f"{value:.2f}", bound, "kept" if kept else "NOT KEPT")
    console.print(checks)


def main() -> None:
    if sys.argv[1:2] == ["--inside"]:
        inside(*map(Path, sys.argv[2:]))
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--demo", type=Path, default=Path("tamis-demo"))
    parser.add_argument("--million", type=Path, default=BUILD / "million")
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=2, help="of a line in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--behaviour", default="like", help="of the events of the demo")
    parser.add_argument("--skip", default="", help="million, plain, or both, with a comma")
    given = parser.parse_args()
    BUILD.mkdir(parents=True, exist_ok=True)
    if not (given.demo / "tamis.toml").exists():
        demo(given.demo)
    if not Versions(given.demo).pointer(Kind.SERVING).exists():
        raise SystemExit(f"{given.demo} has no serving version: run `tamis train {given.demo}`")
    found: dict[str, Lines] = {}
    with tempfile.TemporaryDirectory(dir=BUILD) as folder:
        place = Path(folder)
        found["demo"] = measure("demo", given.demo, place, given)
        if "million" not in given.skip:
            million(given.million, given.items)
            found["million"] = measure("million", given.million, place, given)
    for one in (one for lines in found.values() for one in lines["in process"]):
        one.pop("slates")
    tables(found)
    (BUILD / "serve.json").write_text(json.dumps(found, indent=1), "utf-8")


if __name__ == "__main__":
    main()
