"""The running service: requests per second, p50 and p99 over HTTP, and what each part of it costs.

    python -m benchmarks.bench_serve [--demo tamis-demo] [--million build/bench/million]
        [--items 1000000] [--seconds 5] [--skip million,plain]

Every server is a process of its own on a free port of this machine; the load generator is another
(`benchmarks/serve/load.py`; its share of a core is in the table). Lines:

- in process: `LiveRecommender.recommend`, without HTTP;
- the service with 1 and 2 workers, 1, 4 and 16 clients, journal in a file and on Redis;
- 4 clients with 50 events per second arriving beside them, one per call;
- a million items;
- the same models behind a straightforward service (`benchmarks/serve/plain_service.py`), and how
  many of the items of its slates are in those of Tamis, for 50 users.

All lines, those of a journal in a file and on Redis too, are measured one after another in one run.

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
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from benchmarks.million import million
from rich.console import Console
from rich.table import Table

from tamis.bundle import Kind, Versions
from tamis.jobs import demo
from tamis.testing import redis_server

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


def in_process(project: Path, users: Path, seconds: float) -> Result:
    """p50 and p99 of `LiveRecommender.recommend` in a process of its own, and shares of stages."""
    words = ["-m", "benchmarks.bench_serve", "--inside", str(project), str(users), str(seconds)]
    done = subprocess.run(
        [sys.executable, *words], stdout=subprocess.PIPE, text=True, check=True, env=environment()
    )
    return json.loads(done.stdout.splitlines()[-1])


def inside(project: Path, users: Path, seconds: float) -> Result:
    """The measurement of `in_process`, in this process."""
    from tamis.service import LiveRecommender

    live = LiveRecommender.open(project)
    asked = json.loads(users.read_text("utf-8"))["users"]
    slates = [
        [place.item_id for place in live.recommend(user, n=20).items] for user in asked[:COMPARED]
    ]
    times: list[float] = []
    stages: dict[str, float] = {}
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        began = time.perf_counter()
        answer = live.recommend(asked[len(times) % len(asked)], n=20)
        times.append(1000 * (time.perf_counter() - began))
        for stage, spent in answer.seconds.items():
            stages[stage] = stages.get(stage, 0.0) + 1000 * spent
    live.close()
    total = sum(times)
    return {
        "answers": len(times),
        "per_second": 1000 * len(times) / total,
        "p50": float(np.percentile(times, 50)),
        "p99": float(np.percentile(times, 99)),
        "failed": 0,
        "generator": 0.0,
        "stages": {stage: spent / total for stage, spent in stages.items()},
        "slates": slates,
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


def measure(name: str, project: Path, place: Path, given: argparse.Namespace) -> dict[str, Result]:
    """Every line of one project."""
    results: dict[str, Result] = {}
    users = ids_of(project, place / f"{name}.json")
    results["in process"] = in_process(copied(project, place), users, given.seconds)
    stores = ("file", "redis") if name == "demo" and shutil.which("redis-server") else ("file",)
    for store in stores:
        opened: Any = redis_server() if store == "redis" else nullcontext("")
        with opened as address:
            for workers in (1, 2):
                copy = copied(project, place)
                with service(copy, workers, address) as port:
                    for clients in CLIENTS:
                        line = f"{store}, {workers} workers, {clients} clients"
                        results[line] = load(port, users, clients, given.seconds)
                    if store == "file" and workers == 1 and name == "demo":
                        line = f"{store}, 1 workers, 4 clients, 50 events/s"
                        more = ("--events", "50", "--behaviour", given.behaviour)
                        results[line] = load(port, users, 4, given.seconds, *more)
    return results


def bounds(found: dict[str, dict[str, Result]]) -> list[tuple[str, float, str, bool]]:
    """(what, measured, bound, kept) of everything that this run can tell."""
    said: list[tuple[str, float, str, bool]] = []
    shop = found.get("demo") or found.get("million")
    assert shop is not None
    one, two = (shop[f"file, {w} workers, 16 clients"]["per_second"] for w in (1, 2))
    single = shop["file, 1 workers, 1 clients"]
    added = single["p50"] - shop["in process"]["p50"]
    said.append(("HTTP adds to the p50, ms", added, "at most 2", added <= 2))
    said.append(("2 workers answer, times 1", two / one, "at least 1.6", two / one >= 1.6))
    quiet = shop["file, 1 workers, 4 clients"]["per_second"]
    if busy := shop.get("file, 1 workers, 4 clients, 50 events/s"):
        cost = 1 - busy["per_second"] / quiet
        said.append(("50 events/s cost, share", cost, "at most 0.1", cost <= 0.1))
    if "million" in found and "demo" in found:
        line = "file, 1 workers, 1 clients"
        ratio = found["million"][line]["p99"] / found["demo"][line]["p99"]
        said.append(
            ("p99 of a million items, times the demo's", ratio, "at most 2.5", ratio <= 2.5)
        )
    if "plain" in found:
        ratio = quiet / found["plain"]["straightforward, 4 clients"]["per_second"]
        said.append(("times the straightforward service", ratio, "at least 4", ratio >= 4))
        equal = found["plain"]["straightforward, 4 clients"]["overlap"]
        said.append(("share of its slates' items in ours", equal, "at least 0.5", equal >= 0.5))
    return said


def tables(found: dict[str, dict[str, Result]]) -> None:
    """Prints every line, the shares of the stages, and the bounds."""
    out = Table("", "line", *("answers/s", "p50 ms", "p99 ms", "failed", "generator"), box=None)
    for name, lines in found.items():
        for line, result in lines.items():
            cells = [f"{result[k]:,.1f}" for k in ("per_second", "p50", "p99")]
            out.add_row(name, line, *cells, str(result["failed"]), f"{result['generator']:.2f}")
    console = Console(width=120)
    console.print("All lines are from one run: journal in a file and on Redis, workers, clients.")
    console.print(out)
    for name, lines in found.items():
        stages = lines.get("in process", {}).get("stages", {})
        shares = sorted(stages.items(), key=lambda pair: -pair[1])
        if shares:
            console.print(f"{name}: " + ", ".join(f"{k} {100 * v:.0f} %" for k, v in shares))
    checks = Table("bound", "measured", "", "", box=None)
    for what, value, bound, kept in bounds(found):
        checks.add_row(what, f"{value:.2f}", bound, "kept" if kept else "NOT KEPT")
    console.print(checks)


def main() -> None:
    if sys.argv[1:2] == ["--inside"]:
        project, users, seconds = sys.argv[2:]
        print(json.dumps(inside(Path(project), Path(users), float(seconds))))
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--demo", type=Path, default=Path("tamis-demo"))
    parser.add_argument("--million", type=Path, default=BUILD / "million")
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--behaviour", default="like", help="of the events of the demo")
    parser.add_argument("--skip", default="", help="million, plain, or both, with a comma")
    given = parser.parse_args()
    BUILD.mkdir(parents=True, exist_ok=True)
    if not (given.demo / "tamis.toml").exists():
        demo(given.demo)
    if not Versions(given.demo).pointer(Kind.SERVING).exists():
        raise SystemExit(f"{given.demo} has no serving version: run `tamis train {given.demo}`")
    found: dict[str, dict[str, Result]] = {}
    with tempfile.TemporaryDirectory(dir=BUILD) as folder:
        place = Path(folder)
        found["demo"] = measure("demo", given.demo, place, given)
        if "plain" not in given.skip:
            with plain(copied(given.demo, place)) as port:
                users = place / "demo.json"
                equal = overlap(port, users, found["demo"]["in process"]["slates"])
                found["plain"] = {
                    f"straightforward, {n} clients": load(port, users, n, given.seconds)
                    | {"overlap": equal}
                    for n in CLIENTS
                }
        if "million" not in given.skip:
            million(given.million, given.items)
            found["million"] = measure("million", given.million, place, given)
    for lines in found.values():
        lines.get("in process", {}).pop("slates", None)
    tables(found)
    (BUILD / "serve.json").write_text(json.dumps(found, indent=1), "utf-8")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
