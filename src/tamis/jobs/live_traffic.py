"""`tamis simulate --live`: the users of a simulated project visit a running service.

Each visit asks for a slate, sees it, and sends what the user does as events. The world knows the
true worth of every slate, so the report says how good the service's answers are without the chance
that is in the clicks.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from anyio import CapacityLimiter, create_task_group, run, sleep

from tamis.runtime import Float64, Progress
from tamis.schema import ConfigError, DataError
from tamis.simulator import LifeConfig, LivingWorld, Outcomes, SimulationConfig, reward

DAY_MS = 86_400_000
AT_ONCE = 16
"""Visits under way at most; more wait, and the report says that the rate was not kept."""
PATIENCE = 30.0
"""Seconds to wait for a service that is opening its version."""
PERIOD = 5.0
"""Seconds of one line of the report; a quarter of short traffic."""
SLATE = 10


@dataclass
class Period:
    """What happened in a few seconds."""

    seconds: float
    """Since the start, at its end."""
    visits: int = 0
    failed: int = 0
    """Visits whose slate or events failed."""
    reward: float = 0.0
    """Mean true worth of the slates; see `tamis.simulator.REWARD`."""
    best: float = 0.0
    """The same of the best slates there were."""
    clicks: int = 0
    impressions: int = 0
    milliseconds: float = 0.0
    """Median of the answers."""
    new_items: float = 0.0
    """Share of the impressions on items that were born during the traffic."""
    versions: list[str] = field(default_factory=list[str])


@dataclass(frozen=True)
class LiveReport:
    """The result of `tamis simulate --live`."""

    url: str
    seconds: float
    visits: int
    failed: int
    reward: float
    best: float
    p50_ms: float
    p99_ms: float
    refused: dict[str, int]
    """Events that the service refused, by reason."""
    periods: list[Period]

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def live_traffic(
    project: Path | str,
    url: str,
    *,
    rate: float = 20.0,
    seconds: float = 60.0,
    speed: float = 1.0,
    life: LifeConfig | None = None,
    key: str | None = None,
    on_period: Callable[[Period], None] | None = None,
    progress: bool = False,
) -> LiveReport:
    """Plays visits against a running service for a bounded time.

    Args:
        project: folder that `tamis simulate` wrote; its users are those of the service.
        url: address of the service, such as http://127.0.0.1:8000.
        rate: visits per second.
        seconds: how long.
        speed: how much faster than the clock the world changes: at 1,440, a day a minute. Events
            have the times of the clock.
        life: how the world changes.
        key: API key, where the service asks for one.
        on_period: called with each period of the report at its end.

    Raises ConfigError for numbers out of range, DataError where the folder is not of a simulation
    or the service does not answer.
    """
    if not (0 < rate <= 10_000 and 0 < seconds <= 86_400 and speed >= 0):
        raise ConfigError(
            f"rate = {rate}, seconds = {seconds}, speed = {speed}: give a rate up to 10,000 visits "
            "per second, up to 86,400 seconds, and a speed of at least 0"
        )
    world = LivingWorld(_config(Path(project)), life)
    traffic = _Traffic(world, url.rstrip("/"), rate, seconds, speed, key, on_period)
    with Progress("traffic", progress) as shown:
        shown.begin(f"{rate:g} visits a second for {seconds:g} s")
        run(traffic.play, shown)
    return traffic.report()


def _config(folder: Path) -> SimulationConfig:
    """The settings of the simulation that wrote a folder."""
    file = folder / "simulation.json"
    if not file.is_file():
        raise DataError(
            f"{file} is missing: live traffic needs the world of a simulation; make a project with "
            f"`tamis simulate --out {folder}`"
        )
    return SimulationConfig.from_dict(json.loads(file.read_text("utf-8"))["config"])


class _Traffic:
    """Visits of a world's users to a service."""

    def __init__(
        self,
        world: LivingWorld,
        url: str,
        rate: float,
        seconds: float,
        speed: float,
        key: str | None,
        on_period: Callable[[Period], None] | None = None,
    ) -> None:
        self._on_period = on_period
        self._world, self._url = world, url
        self._rate, self._seconds, self._speed = rate, seconds, speed
        self._period = min(PERIOD, seconds / 4)
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        self._client = httpx.AsyncClient(base_url=url, timeout=10.0, headers=headers)
        self._born = world.items
        self._took: list[float] = []
        self._refused: Counter[str] = Counter()
        self._periods: list[Period] = []
        self._now: list[tuple[float, float, float]] = []
        """(reward, best, milliseconds) of the visits of the current period."""
        self._counts: Counter[str] = Counter()
        self._versions: set[str] = set()
        self._news = 0
        self._sums = np.zeros(3)
        self._began = 0.0

    async def play(self, shown: Progress) -> None:
        """All visits; every one begins at its time, however long those before take."""
        limit = CapacityLimiter(AT_ONCE)
        async with self._client:
            await self._ready()
            await self._play(limit, shown)

    async def _play(self, limit: CapacityLimiter, shown: Progress) -> None:
        self._began = time.perf_counter()
        async with create_task_group() as group:
            total = max(int(self._rate * self._seconds), 1)
            for number in range(total):
                due = self._began + number / self._rate
                await sleep(max(due - time.perf_counter(), 0))
                if time.perf_counter() - self._began > self._seconds:
                    break
                if self._elapsed() >= self._period * (len(self._periods) + 1):
                    self._close_period()
                    await self._live()
                    shown.update(number, total, f"reward {self._periods[-1].reward:.3f}")
                await limit.acquire_on_behalf_of(number)
                group.start_soon(self._visit, number, limit)
        self._close_period()

    def report(self) -> LiveReport:
        visits = sum(p.visits for p in self._periods)
        took = np.array(self._took or [np.nan])
        mean = self._sums / max(visits - sum(p.failed for p in self._periods), 1)
        return LiveReport(
            url=self._url,
            seconds=round(self._periods[-1].seconds, 2),
            visits=visits,
            failed=sum(p.failed for p in self._periods),
            reward=float(mean[0]),
            best=float(mean[1]),
            p50_ms=float(np.percentile(took, 50)),
            p99_ms=float(np.percentile(took, 99)),
            refused=dict(self._refused),
            periods=self._periods,
        )

    async def _ready(self) -> None:
        """Waits until the service is ready. Raises DataError where it does not become so."""
        until = time.perf_counter() + PATIENCE
        while True:
            try:
                answer = await self._client.get("/health/ready")
            except httpx.HTTPError as error:
                raise DataError(
                    f"no service answers at {self._url} ({type(error).__name__}): start it by "
                    "`tamis serve`, or correct --live"
                ) from error
            if answer.status_code == 200:
                return
            if time.perf_counter() > until:
                raise DataError(f"the service at {self._url} is not ready: {answer.text[:200]}")
            await sleep(0.5)

    async def _visit(self, number: int, limit: CapacityLimiter) -> None:
        """A user asks for a slate, sees it and reacts."""
        try:
            await self._ask(int(self._world.visitors(1)[0]))
        except (httpx.HTTPError, ValueError, KeyError) as error:
            self._counts["failed"] += 1
            self._refused[f"{type(error).__name__}: {error}"[:120]] += 1
        finally:
            self._counts["visits"] += 1
            limit.release_on_behalf_of(number)

    async def _ask(self, user: int) -> None:
        (user_id,) = self._world.user_ids(np.array([user]))
        began = time.perf_counter()
        answer = await self._client.post("/v1/recommend", json={"user_id": user_id, "n": SLATE})
        took = 1000 * (time.perf_counter() - began)
        answer.raise_for_status()
        found = answer.json()
        ids = [one["item_id"] for one in found["items"]]
        rows = self._world.item_rows(ids)
        places = np.arange(1, len(rows) + 1)
        users = np.full(len(rows), user)
        responses, outcomes = self._world.show(users, rows, places, self._world.time)
        best = self._world.best_slate(user, SLATE, self._world.time)[1]
        worth = float(reward(responses).sum())
        self._took.append(took)
        self._now.append((worth, best, took))
        self._sums += (worth, best, took)
        self._versions.add(found["version"])
        self._counts["impressions"] += len(rows)
        self._counts["clicks"] += int(outcomes.click.sum())
        self._news += int((rows >= self._born).sum())
        await self._send(_events(user_id, ids, outcomes, found))

    async def _send(self, events: Sequence[dict[str, Any]]) -> None:
        answer = await self._client.post("/v1/events", json=list(events))
        answer.raise_for_status()
        for one in answer.json()["events"]:
            if one["status"] == "refused":
                self._refused[one["error"]["message"][:120]] += 1

    async def _live(self) -> None:
        """The world goes on; the service gets its new items and users, and what was withdrawn."""
        until = self._world.time + int(self._period * self._speed * 1000)
        changes = self._world.live(until)
        now = int(time.time() * 1000)
        items = changes.items.to_dicts()
        for item in items:
            item["published"] = now
        await self._put("/v1/items", items)
        await self._put("/v1/users", changes.users.to_dicts())
        for item_id in changes.withdrawn:
            answer = await self._client.delete(f"/v1/items/{item_id}")
            if answer.status_code >= 400:
                self._refused[answer.text[:120]] += 1

    async def _put(self, path: str, rows: list[dict[str, Any]]) -> None:
        for start in range(0, len(rows), 500):
            answer = await self._client.put(path, json=rows[start : start + 500])
            if answer.status_code >= 400:
                self._refused[answer.text[:120]] += 1

    def _elapsed(self) -> float:
        return time.perf_counter() - self._began

    def _close_period(self) -> None:
        values: Float64 = np.array(self._now or [(np.nan, np.nan, np.nan)])
        shown = max(self._counts["impressions"], 1)
        self._periods.append(
            Period(
                seconds=self._elapsed(),
                visits=self._counts["visits"],
                failed=self._counts["failed"],
                reward=float(values[:, 0].mean()),
                best=float(values[:, 1].mean()),
                clicks=self._counts["clicks"],
                impressions=self._counts["impressions"],
                milliseconds=float(np.median(values[:, 2])),
                new_items=self._news / shown,
                versions=sorted(self._versions),
            )
        )
        if self._on_period is not None:
            self._on_period(self._periods[-1])
        self._now, self._news = [], 0
        self._counts.clear()
        self._versions.clear()


def _events(
    user_id: str, ids: Sequence[str], outcomes: Outcomes, answer: dict[str, Any]
) -> list[dict[str, Any]]:
    """The events of a visit, in the behaviours of the project that `tamis simulate` writes."""
    recommendation = answer["recommendation_id"]
    done = {
        "impression": np.ones(len(ids), np.bool_),
        "click": outcomes.click,
        "like": outcomes.like,
        "collect": outcomes.collect,
        "share": outcomes.share,
        "watch": outcomes.click,
        "cart": outcomes.cart,
        "purchase": outcomes.purchase,
    }
    events: list[dict[str, Any]] = []
    for behaviour, happened in done.items():
        for k in np.flatnonzero(happened).tolist():
            event = {
                "event_id": f"{recommendation}-{k}-{behaviour}",
                "user_id": user_id,
                "item_id": ids[k],
                "behaviour": behaviour,
                "recommendation_id": recommendation,
                "position": k + 1,
            }
            if behaviour == "watch":
                event["value"] = round(float(outcomes.watch[k]), 3)
            events.append(event)
    return events
