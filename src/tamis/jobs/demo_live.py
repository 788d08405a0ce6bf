"""`tamis demo --live`: two services on one simulated world, one of which learns as it goes.

Both begin with the same version. The same world visits both: tastes drift, items are born. One is
followed by `tamis update --follow`, the other is left alone, so that the difference of what their
slates are truly worth is what the updates bring.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any

import httpx

from tamis.bundle import Kind, Versions
from tamis.evaluate import write_live_page
from tamis.jobs.live_traffic import Period, live_traffic
from tamis.jobs.simulated_project import simulate
from tamis.jobs.training import train
from tamis.runtime import Progress
from tamis.schema import ConfigError, DataError, VersionError
from tamis.service import CONFIG
from tamis.simulator import LifeConfig

ITEMS, USERS, DAYS = 1_500, 1_500, 20
DAYS_PER_MINUTE = 1.0
"""Simulated days of a minute: tastes drift and items are born at this speed."""
DRIFT, BIRTHS = 0.2, 0.02
"""Shares of a taste that are replaced, and of the catalogue that is born, per simulated day."""
STARTS = 120.0
"""Seconds within which a service is ready."""
LEARNING = "[cascade.channels.two_tower]\n"
ONLINE = '\n[online]\nwait = "5s"\nlateness = "1s"\n'
UPDATED, PLAIN = "with updates", "without updates"


@dataclass
class LiveLine:
    """One of the two services, as it is now."""

    name: str
    periods: list[Period] = field(default_factory=list[Period])
    delta: int = 0
    """Number of the newest delta that answers know; 0 without updates."""
    delta_age: float | None = None
    """Seconds since the newest event of that delta; None without one."""


@dataclass
class LiveDemo:
    """The result of `tamis demo --live`, also while it runs."""

    project: Path
    report: Path
    seconds: float
    version: str = ""
    lines: list[LiveLine] = field(default_factory=list[LiveLine])

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "project": str(self.project),
            "report": str(self.report),
            "seconds": self.seconds,
            "version": self.version,
            "services": {
                line.name: {
                    "delta": line.delta,
                    "delta_age": line.delta_age,
                    "reward": _mean([p.reward for p in line.periods if p.visits]),
                    "best": _mean([p.best for p in line.periods if p.visits]),
                    "periods": [asdict(period) for period in line.periods],
                }
                for line in self.lines
            },
        }


def demo_live(
    folder: Path | str = "tamis-live",
    *,
    minutes: float = 5.0,
    rate: float = 6.0,
    every: float = 30.0,
    on_change: Callable[[LiveDemo], None] | None = None,
    progress: bool = False,
) -> LiveDemo:
    """Serves a simulated shop twice, with and without incremental updates, and reports the reward.

    Args:
        folder: of the two projects and the report; a project that is there already is used again.
        minutes: how long visits come, above 0 and at most 60.
        rate: visits per second to each service.
        every: seconds between two updates.
        on_change: called with the state after every few seconds.
        progress: whether the preparations report their progress.

    Raises ConfigError for numbers out of range, DataError where a service does not start.
    """
    if not (0 < minutes <= 60 and 0 < rate <= 1_000 and every > 0):
        raise ConfigError(
            f"minutes = {minutes}, rate = {rate}, every = {every}: give up to 60 minutes, up to "
            "1,000 visits per second, and a time above 0 between updates"
        )
    root = Path(folder)
    updated, plain = _prepared(root, progress)
    found = LiveDemo(updated, root / "live.html", 60 * minutes)
    found.version = Versions(updated).current(Kind.SERVING).name
    found.lines = [LiveLine(UPDATED), LiveLine(PLAIN)]
    with ExitStack() as running:
        with Progress("live", progress) as steps:
            steps.begin("start two services")
            urls = [running.enter_context(_service(project)) for project in (updated, plain)]
            running.enter_context(_follower(updated, every))
            steps.message(f"{rate:g} visits a second to each for {minutes:g} minutes")
        _play(found, urls, rate, on_change)
    write_live_page(found.to_dict(), found.report)
    return found


def _prepared(root: Path, progress: bool) -> tuple[Path, Path]:
    """The two projects, trained; the second is a copy of the first without its journal."""
    updated, plain = root / "updated", root / "plain"
    if not _is_trained(updated):
        shutil.rmtree(updated, ignore_errors=True)
        simulate(updated, items=ITEMS, users=USERS, days=DAYS, until_now=True, progress=progress)
        declared = updated / CONFIG
        text = declared.read_text("utf-8")
        if LEARNING not in text:
            raise DataError(f"{declared} declares no channel two_tower to learn online")
        text = text.replace(LEARNING, f"{LEARNING}online = true\n", 1)
        declared.write_text(text + ONLINE, "utf-8")
        train(updated, only=Kind.SERVING.value, progress=progress)
    for rest in ("journal", "deltas"):  # of an earlier demo
        shutil.rmtree(updated / rest, ignore_errors=True)
    shutil.rmtree(plain, ignore_errors=True)
    shutil.copytree(updated, plain)
    return updated, plain


def _is_trained(project: Path) -> bool:
    try:
        Versions(project).current(Kind.SERVING)
    except VersionError:
        return False
    return True


@contextmanager
def _service(project: Path) -> Generator[str]:
    """`tamis serve` in a process of its own; yields its address once it is ready."""
    words = ["serve", str(project), "--port", "0"]
    with _process(words, project / "serve.log") as (process, log):
        yield _address(process, log)


@contextmanager
def _follower(project: Path, every: float) -> Generator[None]:
    """`tamis update --follow` in a process of its own."""
    words = ["update", str(project), "--follow", "--every", f"{every:g}s"]
    with _process(words, project / "update.log") as (process, log):
        until = time.monotonic() + STARTS
        while "follow" not in log.read_text("utf-8", "replace"):
            if process.poll() is not None or time.monotonic() > until:
                raise DataError(f"the updates did not start; see {log}")
            time.sleep(0.2)
        yield


@contextmanager
def _process(words: list[str], log: Path) -> Generator[tuple[subprocess.Popen[bytes], Path]]:
    """A command of Tamis, which writes to `log` and is ended at the end."""
    command = [sys.executable, "-m", "tamis", *words]
    out: IO[bytes]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
        try:
            yield process, log
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    """The address of a service that answers. Raises DataError with its log where it ends."""
    until = time.monotonic() + STARTS
    while time.monotonic() < until and process.poll() is None:
        found = re.search(r"http://127\.0\.0\.1:\d+", log.read_text("utf-8", "replace"))
        if found is not None:
            with suppress(httpx.HTTPError):  # it may not be listening yet
                if httpx.get(f"{found[0]}/health/ready", timeout=5).status_code == 200:
                    return found[0]
        time.sleep(0.2)
    said = log.read_text("utf-8", "replace")[-2000:]
    raise DataError(f"a service did not start; the end of {log}:\n{said}")


def _play(
    found: LiveDemo, urls: list[str], rate: float, on_change: Callable[[LiveDemo], None] | None
) -> None:
    """The same world visits both services at once."""
    life = LifeConfig(
        drift=DRIFT, births=BIRTHS, deaths=BIRTHS, signups=0.0, departures=0.0, seed=0
    )
    turn, problems = threading.Lock(), list[BaseException]()

    def closed(line: LiveLine, url: str, period: Period) -> None:
        line.periods.append(period)
        _look(line, url)
        with turn:
            if on_change is not None:
                on_change(found)

    def visits(line: LiveLine, url: str) -> None:
        try:
            live_traffic(
                found.project,
                url,
                rate=rate,
                seconds=found.seconds,
                speed=DAYS_PER_MINUTE * 1_440,
                life=life,
                on_period=partial(closed, line, url),
            )
        except BaseException as error:  # raised again in the thread of the caller
            problems.append(error)

    threads = [
        threading.Thread(target=visits, args=pair) for pair in zip(found.lines, urls, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise problems[0]


def _look(line: LiveLine, url: str) -> None:
    """Notes the newest delta of a service."""
    try:
        delta = httpx.get(f"{url}/health/ready", timeout=5).json().get("delta")
    except (httpx.HTTPError, ValueError):
        return  # it is looked at again after the next period
    if delta is not None:
        line.delta = int(delta["number"])
        line.delta_age = max(time.time() - delta["newest"] / 1000, 0.0)


def _mean(values: list[float]) -> float | None:
    known = [value for value in values if value == value]
    return sum(known) / len(known) if known else None
