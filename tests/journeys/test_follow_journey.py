"""Events reach a running service, an update learns from them, and answers use its delta."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count, islice
from pathlib import Path

import httpx
import numpy as np
import pytest
import uvicorn

from tamis.bundle import DeltaChain, DeltaFolder, Kind, Versions
from tamis.jobs import follow
from tamis.serve import create_app
from tamis.service import Recommender, Serving

ONLINE = """
[online]
wait = "0s"
lateness = "0s"
[update]
nice = 0
"""
KILLS = int(os.environ.get("TAMIS_KILLS", "3"))
"""Times that a follower is killed; `TAMIS_KILLS=50` takes some minutes."""


@pytest.fixture(scope="module")
def shop(simulated: Path, tmp_path_factory: pytest.TempPathFactory, tamis_cli: Callable) -> Path:
    """A simulated project whose ids of users, items and authors learn online, as its channel
    two_tower does."""
    folder = Path(shutil.copytree(simulated, tmp_path_factory.mktemp("follow") / "shop"))
    declared = (folder / "tamis.toml").read_text("utf-8")
    declared = declared.replace(
        "epochs = 3\n\n[cascade.channels.hot]",
        "epochs = 3\nonline = true\n\n[cascade.channels.hot]",
    )
    assert "online = true" in declared
    (folder / "tamis.toml").write_text(declared + ONLINE, "utf-8")
    said = tamis_cli("train", folder, "--only", "serving", "--json")
    assert said.code == 0, said
    return folder


@pytest.fixture
def project(shop: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(shop, tmp_path / "shop"))


@pytest.fixture
def client(project: Path) -> Iterator[httpx.Client]:
    """A service of the project in a thread of this process."""
    listening = socket.create_server(("127.0.0.1", 0))
    app = create_app(partial(Serving.open, project))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    with httpx.Client(base_url=url, timeout=180) as client:
        until = time.monotonic() + 60
        while client.get("/health/ready").status_code != 200 and time.monotonic() < until:
            time.sleep(0.05)
        yield client
    server.should_exit = True
    thread.join()
    listening.close()


def visit(client: httpx.Client, user: str, number: int) -> list[str]:
    """Asks for a slate, and sends an impression of each item and a click on every other one."""
    answer = client.post("/v1/recommend", json={"user_id": user, "n": 6}).json()
    shown = [item["item_id"] for item in answer["items"]]
    events = []
    for place, item in enumerate(shown, start=1):
        for what in ("impression", "click")[: 1 + place % 2]:
            events.append(
                {
                    "user_id": user,
                    "item_id": item,
                    "behaviour": what,
                    "recommendation_id": answer["recommendation_id"],
                    "position": place,
                    "event_id": f"{number}-{place}-{what}",
                }
            )
    assert client.post("/v1/events", json=events).status_code == 200
    return shown


def users_of(project: Path) -> list[str]:
    opened = Recommender.open(project)
    return [opened.parts.users.id_of(k) for k in range(40)]


def scores(client: httpx.Client, user: str, items: list[str]) -> dict[str, float]:
    ranked = client.post("/v1/rank", json={"user_id": user, "item_ids": items}).json()
    return {one["item_id"]: one["score"] for one in ranked["items"]}


def test_an_answer_uses_the_delta_within_five_seconds(
    project: Path, client: httpx.Client, tamis_cli: Callable
) -> None:
    users = users_of(project)
    for number, user in enumerate(users):
        shown = visit(client, user, number)
    ready = client.get("/health/ready").json()
    assert "delta" not in ready
    before = scores(client, users[-1], shown)
    said = tamis_cli("update", project, "--follow", "--once", "--json")
    assert said.code == 0, said
    report = said.json
    assert report["deltas"] == 1
    assert report["rows"] > 200
    published = time.monotonic()
    while "delta" not in (ready := client.get("/health/ready").json()):
        assert time.monotonic() < published + 5
        time.sleep(0.05)
    assert ready["delta"]["number"] == 1
    assert ready["delta"]["position"] == report["position"]
    assert ready.get("problem") is None
    after = scores(client, users[-1], shown)
    assert before.keys() == after.keys()
    assert all(after[item] != before[item] for item in after)
    time.sleep(1.2)  # metrics are summed up each second
    text = client.get("/metrics").text
    assert "tamis_delta 1.0" in text
    assert "tamis_delta_refused 0.0" in text
    assert "tamis_deltas_total 1.0" in text


def test_both_the_ranker_and_the_towers_learn(project: Path, client: httpx.Client) -> None:
    for number, user in enumerate(users_of(project)):
        visit(client, user, number)
    base = Recommender.open(project)
    follow(project, once=True)
    changed = Recommender.open(project)
    changed.deltas.catch_up()
    (delta,) = DeltaFolder(Versions(project).current(Kind.SERVING)).after(
        DeltaChain(Versions(project).current(Kind.SERVING))
    )
    assert set(delta.tables) == {"rank", "channels/two_tower"}
    towers, before = (r.parts.channels["two_tower"] for r in (changed, base))
    rows = delta.vectors["channels/two_tower"].rows
    now = towers.item_vectors()
    assert (now[rows] != before.item_vectors()[rows]).any(axis=1).all()
    others = np.setdiff1d(np.arange(len(now)), rows)
    np.testing.assert_array_equal(now[others], before.item_vectors()[others])
    for name, array in before._arrays.items():
        if name.startswith("dense."):
            np.testing.assert_array_equal(towers._arrays[name], array, err_msg=name)
    # what the worker makes of a delta is what the towers make of their table
    items = changed.parts.items
    np.testing.assert_array_equal(now[rows], towers.vectors_now(items, rows))


def test_killed_at_any_moment_it_goes_on(project: Path, client: httpx.Client) -> None:
    """`kill -9` while it starts, reads, learns and writes: the version stays whole, the deltas are
    a sequence without gaps, and each run goes on from the last of them."""
    draw, users = random.Random(1), users_of(project)
    deltas = DeltaFolder(Versions(project).current(Kind.SERVING))
    numbers, position = count(1), 0
    for kill in range(KILLS):
        before = len(deltas.numbers())
        for number in islice(numbers, 4):
            visit(client, users[number % 40], number)
        process = follower(project)
        try:
            if kill % 3 == 2:
                time.sleep(10 * draw.random())
            else:
                wait_for(lambda before=before: len(deltas.numbers()) > before)
                for number in islice(numbers, draw.randrange(6)):
                    visit(client, users[number % 40], number)
                time.sleep(draw.random() / 5)
            assert process.poll() is None, process.communicate()[1]
        finally:
            process.send_signal(signal.SIGKILL)
            process.communicate()
        Versions(project).current(Kind.SERVING).verify()
        there = deltas.numbers()
        assert there == list(range(1, len(there) + 1))
        chain = DeltaChain(deltas.version)
        for delta in deltas.after(chain):
            if delta.number == before + 1:
                assert delta.since == position, "it went on where the former run had ended"
            position = delta.position
            chain.advance(delta)
    report = follow(project, once=True)
    assert report.position >= position
    wait_for(lambda: client.get("/health/ready").json()["delta"]["number"] == report.delta)
    assert client.get("/health/ready").json().get("problem") is None


def follower(project: Path) -> subprocess.Popen[bytes]:
    """`tamis update --follow` in a process of its own."""
    words = ["-m", "tamis", "update", str(project), "--follow", "--every", "0.05s"]
    return subprocess.Popen(
        [sys.executable, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def wait_for(condition: Callable[[], bool], seconds: float = 300) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)
