"""`tamis serve --workers 2`: one port, two processes; swaps, kills and a stop under load."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from tamis.bundle import Version, Versions

WAITS = 400.0
"""Seconds within which everything happens on a busy machine."""


@dataclass
class Server:
    """A running service of two workers."""

    url: str
    process: subprocess.Popen[str]
    log: list[str]
    project: Path

    @contextmanager
    def workers(self) -> Iterator[dict[int, httpx.Client]]:
        """A kept connection to each worker: new connections go to the one that has fewer."""
        found = self._connected()
        try:
            yield found
        finally:
            for client in found.values():
                client.close()

    def _connected(self) -> dict[int, httpx.Client]:
        found: dict[int, httpx.Client] = {}
        spare: list[httpx.Client] = []  # kept until the end: the worker that has fewer gets more
        until = time.monotonic() + WAITS
        while len(found) < 2 and time.monotonic() < until:
            client = httpx.Client(base_url=self.url, timeout=60)
            answer = client.get("/health/ready")
            worker = answer.json()["worker"] if answer.status_code == 200 else None
            if worker is None or worker in found:
                spare.append(client)
            else:
                found[worker] = client
        for client in spare:
            client.close()
        assert set(found) == {0, 1}
        return found

    def pids(self) -> list[int]:
        """The processes of the workers."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in children.read_text().split()]


@pytest.fixture(scope="module")
def server(
    numbered: Path,
    another_version: Callable[..., Version],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    project = tmp_path_factory.mktemp("workers") / "shop"
    shutil.copytree(numbered, project)
    first, _ = (another_version(project, f"2999-{name}", 5 + k) for k, name in enumerate("ab"))
    Versions(project).publish(first)
    process = subprocess.Popen(
        [sys.executable, "-m", "tamis", "serve", str(project), "--port", "0", "--workers", "2"],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    log: list[str] = []
    reader = threading.Thread(target=lambda: log.extend(process.stderr or ()))
    reader.start()
    try:
        wait_until(lambda: any("http://" in line for line in log), log)
        found = re.search(r"http://[\d.:]+", "".join(log))
        assert found
        wait_until(lambda: sum("is ready with version" in line for line in log) == 2, log)
        yield Server(found[0], process, log, project)
    finally:
        if process.poll() is None:
            process.kill()  # its workers end with it
        process.wait()
        reader.join()
        assert process.stderr
        process.stderr.close()


def wait_until(reached: Callable[[], bool], log: list[str] | None = None) -> None:
    until = time.monotonic() + WAITS
    while not reached() and time.monotonic() < until:
        time.sleep(0.02)
    assert reached(), "".join(log or ())


@dataclass
class Load:
    """Clients that ask for recommendations until they are stopped."""

    url: str
    answers: list[dict] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def client(self, number: int) -> None:
        with httpx.Client(base_url=self.url, timeout=60) as client:
            while not self.ended.is_set():
                try:
                    answer = client.post("/v1/recommend", json={"user_id": number})
                except httpx.TransportError as error:
                    self.failures.append(repr(error))
                    continue
                if answer.status_code == 200:
                    self.answers.append(answer.json())
                else:
                    self.failures.append(answer.text)
                time.sleep(0.03)


@pytest.fixture
def load(server: Server) -> Iterator[Load]:
    """Three clients."""
    running = Load(server.url)
    with ThreadPoolExecutor(3) as pool:
        for number in range(3):
            pool.submit(running.client, number)
        try:
            wait_until(lambda: len(running.answers) > 3)
            yield running
        finally:
            running.ended.set()


def is_whole(answer: dict) -> bool:
    """Whether the version, the titles and the number of items are of one version."""
    titles = {item["title"].partition(" ")[0] for item in answer["items"]}
    return titles == {answer["version"]} and len(answer["items"]) == (
        5 + "ab".index(answer["version"][-1])
    )


def test_both_workers_answer_alike_and_read_what_the_other_was_sent(server: Server) -> None:
    with server.workers() as workers:
        check_equal_answers(*workers.values())


def check_equal_answers(one: httpx.Client, two: httpx.Client) -> None:
    asked = {"user_id": "visitor", "n": 8}
    before = [client.post("/v1/recommend", json=asked).json() for client in (one, two)]
    slates = [[(i["item_id"], i["score"]) for i in answer["items"]] for answer in before]
    assert slates[0] == slates[1]
    liked = slates[0][0][0]
    for round_, (writer, reader) in enumerate(((one, two), (two, one))):
        event = {"user_id": "visitor", "item_id": slates[0][round_][0], "behaviour": "like"}
        assert writer.post("/v1/events", json={**event, "value": 5}).json()["accepted"] == 1
        answer = reader.post("/v1/recommend", json=asked).json()
        assert answer["known"]
        assert event["item_id"] not in [item["item_id"] for item in answer["items"]]
    after = [client.post("/v1/recommend", json=asked).json()["items"] for client in (one, two)]
    assert after[0] == after[1]
    assert liked not in [item["item_id"] for item in after[0]]


def test_metrics_are_those_of_both_workers(server: Server) -> None:
    with server.workers() as workers:
        one, two = workers.values()
        time.sleep(1.5)  # until each worker knows what the other one has answered before
        before = answered(one)
        for client in (one, two, two):
            client.post("/v1/recommend", json={"user_id": "visitor"})
        for client in (one, two):  # those of the other one are up to a second old
            wait_until(lambda c=client: answered(c) == before + 3, server.log)
        text = one.get("/metrics").text
    assert text.count("tamis_resident_memory_bytes{") == 2
    assert "tamis_journal_up 1.0" in text


def answered(client: httpx.Client) -> float:
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("tamis_answers_total{"))


def test_versions_over_http(server: Server, load: Load) -> None:
    with httpx.Client(base_url=server.url, timeout=60) as client:
        listed = client.get("/v1/versions").json()
        assert [v["name"] for v in listed["versions"] if v["current"]] == ["2999-a"]
        for name, change in (("2999-b", "2999-b/activate"), ("2999-a", "rollback")):
            assert client.post(f"/v1/versions/{change}").json()["name"] == name
            with server.workers() as workers:
                for worker in workers.values():
                    wait_until(lambda w=worker, n=name: ready(w)["version"] == n, server.log)
        assert client.post("/v1/versions/nosuch/activate").status_code == 404
    assert {answer["version"] for answer in load.answers} == {"2999-a", "2999-b"}
    assert all(is_whole(answer) for answer in load.answers)
    assert not load.failures


def ready(client: httpx.Client) -> dict:
    return client.get("/health/ready").json()


def test_a_damaged_version_is_not_activated(server: Server, another_version) -> None:
    damaged = another_version(server.project, "2999-d", 5)
    (damaged.path / "rank" / "estimator.json").write_text("{")
    with httpx.Client(base_url=server.url, timeout=60) as client:
        answer = client.post("/v1/versions/2999-d/activate")
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conflict")
        Versions(server.project).publish(damaged)  # all the same
        wait_until(lambda: ready(client)["problem"] is not None, server.log)
        assert "estimator.json" in ready(client)["problem"]
        assert client.post("/v1/recommend", json={"user_id": 1}).json()["version"] == "2999-a"
        client.post("/v1/versions/2999-a/activate")
        wait_until(lambda: ready(client)["problem"] is None, server.log)


def test_a_killed_worker_fails_what_it_had_in_flight_alone(server: Server, load: Load) -> None:
    victim = server.pids()[-1]
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: victim not in server.pids() and len(server.pids()) == 2, server.log)
    wait_until(lambda: sum("is ready with version" in line for line in server.log) == 3)
    made = len(load.answers)
    with server.workers():
        pass
    wait_until(lambda: len(load.answers) > made + 3)
    assert len(load.failures) <= 3, load.failures  # each client has one request in flight at most
    assert all("503" not in failure for failure in load.failures)


def test_a_stop_finishes_what_is_in_flight(server: Server, load: Load) -> None:
    with httpx.Client(base_url=server.url, timeout=60) as client:
        answer = client.post("/v1/recommend", json={"user_id": 5, "recommendation_id": "last"})
        assert answer.status_code == 200
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(timeout=WAITS) == 0
    load.ended.set()
    assert all(  # no answer was cut off: the clients' next connections are refused or closed
        "ConnectError" in failure
        or "RemoteProtocolError('Server disconnected" in failure
        or "ReadError" in failure
        for failure in load.failures
    )
    from tamis.journal import open_journal

    journal = open_journal(server.project, "shop")
    try:
        assert journal.answers.find("last") is not None, "answers that waited were written"
    finally:
        journal.close()
