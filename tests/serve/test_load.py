"""Overload: work is lowered first, then requests are refused at once; metrics count both."""

from __future__ import annotations

import inspect
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import numpy as np
import pytest
from fake_service import Fake
from litestar.testing import TestClient
from prometheus_client.parser import text_string_to_metric_families

from tamis.schema import ServeConfig
from tamis.serve import create_app
from tamis.serve.errors import OverloadedError
from tamis.serve.listening import listen
from tamis.serve.metrics import ServiceMetrics
from tamis.serve.open_service import SEARCHES, OpenService
from tamis.serve.routes import ROUTES
from tamis.service import Answer, Request

SCOPE: dict[str, Any] = {
    "type": "http",
    "asgi": {"version": "3.0"},
    "http_version": "1.1",
    "method": "POST",
    "scheme": "http",
    "path": "/v1/recommend",
    "raw_path": b"/v1/recommend",
    "query_string": b"",
    "root_path": "",
    "headers": [(b"content-type", b"application/json"), (b"content-length", b"900000")],
    "client": ("127.0.0.1", 1),
    "server": ("127.0.0.1", 80),
}


class Slow(Fake):
    """Answers when it is let; keeps the effort of each answer."""

    def __init__(self) -> None:
        super().__init__()
        self.release = threading.Event()
        self.efforts: list[float] = []

    def recommend(self, request: Request, *, effort: float = 1.0) -> Answer:
        self.efforts.append(effort)
        assert self.release.wait(30)
        return super().recommend(request)


@pytest.fixture
def slow() -> Slow:
    return Slow()


@pytest.fixture
def client(slow: Slow) -> Iterator[TestClient]:
    with TestClient(create_app(slow, config=ServeConfig(queue=8))) as client:
        while client.get("/health/ready").status_code != 200:
            pass
        yield client


def metrics(client: TestClient) -> dict[tuple[str, ...], float]:
    """(name, label values …) → value."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not holds() and time.monotonic() < end:
        time.sleep(0.01)


def test_a_full_queue_lowers_work_and_then_refuses(client: TestClient, slow: Slow) -> None:
    service = client.app.state["service"]
    with ThreadPoolExecutor(9) as pool:
        asked = [pool.submit(client.post, "/v1/recommend", json={"n": 1})]
        until(lambda: len(slow.efforts) == 1)
        asked += [pool.submit(client.post, "/v1/recommend", json={"n": 1}) for _ in range(7)]
        until(lambda: service.waiting == 8)
        refused = client.post("/v1/recommend", json={"n": 1})
        rank = client.post("/v1/rank", json={"item_ids": [1, 2]})
        others = [client.get("/v1/items/1"), client.post("/v1/items/1/hide")]
        others += [client.delete("/v1/items/1"), client.get("/v1/users/ann")]
        others += [client.get("/v1/recommendations/r/why-not/1")]
        health = client.get("/health/live")
        slow.release.set()
        answers = [one.result() for one in asked]
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
    assert refused.headers["retry-after"] == "1"
    assert (rank.status_code, health.status_code) == (503, 200)
    assert {one.json()["error"]["code"] for one in others} == {"overloaded"}
    assert [one.status_code for one in answers] == [200] * 8
    # the first began alone; then 7 waited, down to the last
    assert slow.efforts[0] == 1.0
    assert slow.efforts[1:] == [0.25, 0.25, 0.25, 0.5, 0.5, 1.0, 1.0]
    found = metrics(client)
    assert found["tamis_overload_total", "refused"] == 7
    assert found["tamis_overload_total", "lowered"] == 5
    assert found["tamis_waiting_requests",] == 0
    assert client.post("/v1/recommend", json={"n": 1}).status_code == 200


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.handler_name)
def test_every_route_that_computes_is_refused_under_load(route) -> None:
    source = inspect.getsource(route.fn)
    assert ("service.run(" in source) == bool(route.opt.get("computes"))
    assert ("service.search(" in source) == bool(route.opt.get("searches"))


def test_slow_searches_leave_threads_to_other_requests() -> None:
    """More searches than the event loop has threads; beyond the queue, they are refused."""
    release, running = threading.Event(), list[int]()
    service = OpenService(Fake(), queue=50)

    def search() -> None:
        running.append(1)
        assert release.wait(60)

    async def work() -> None:
        await service.open()
        async with anyio.create_task_group() as group:
            for _ in range(50):
                group.start_soon(service.search, search)
            while len(running) < SEARCHES:
                await anyio.sleep(0.001)
            with pytest.raises(OverloadedError, match="50 slow searches wait already"):
                await service.search(search)
            assert await service.beside(lambda: len(running)) == SEARCHES
            assert await service.run(lambda: len(running)) == SEARCHES
            release.set()
        assert (len(running), service.searching, service.refused) == (50, 0, 1)

    anyio.run(work)


def test_a_refusal_reads_no_body_and_takes_milliseconds(client: TestClient, slow: Slow) -> None:
    """The processor time of a refusal, which other programs do not change as they change its time,
    is far below 10 ms."""
    service = client.app.state["service"]
    statuses: list[int] = []

    async def refuse() -> None:
        async def receive() -> Any:
            raise AssertionError("the body is not read")

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])
                assert (b"retry-after", b"1") in message["headers"]

        await client.app(SCOPE | {"state": {}}, receive, send)

    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(client.post, "/v1/recommend", json={"n": 1}) for _ in range(8)]
        until(lambda: service.waiting == 8)
        anyio.run(refuse)
        began = time.thread_time()
        for _ in range(100):
            anyio.run(refuse)
        took = (time.thread_time() - began) / 100
        slow.release.set()
        assert [one.result().status_code for one in asked] == [200] * 8
    assert statuses == [503] * 101
    assert took < 0.01


def test_metrics_of_answers(client: TestClient, slow: Slow) -> None:
    slow.release.set()
    for user in ("ann", "half", None):
        client.post("/v1/recommend", json={"user_id": user, "n": 1})
    client.post("/v1/recommend", json={"n": "ten"})
    found = metrics(client)
    route = ("POST", "/v1/recommend")
    assert found["tamis_requests_total", *route, "200"] == 3
    assert found["tamis_requests_total", *route, "400"] == 1
    assert found["tamis_request_seconds_count", "/v1/recommend"] == 4
    assert found["tamis_stage_seconds_count", "rank"] == 3
    assert found["tamis_stage_seconds_sum", "rank"] == pytest.approx(0.009)
    assert found["tamis_stage_seconds_bucket", "0.0025", "recall:hot"] == 3
    assert found["tamis_stage_seconds_bucket", "0.0025", "rank"] == 0
    assert found["tamis_candidates_total", "in", "filter"] == 150
    assert found["tamis_candidates_total", "out", "filter"] == 120
    assert found["tamis_filtered_total", "seen"] == 30
    assert found["tamis_degraded_total", "recall two_tower"] == 1
    assert found["tamis_answers_total", "true"] == 1
    assert found["tamis_answers_total", "false"] == 2
    assert found["tamis_version", "serving-7"] == 1
    assert found["tamis_resident_memory_bytes",] > 2**20


def test_sums_of_a_version_begin_again_after_a_swap() -> None:
    metrics = ServiceMetrics()
    for total in (2, 5, 1, 1):
        metrics.faults({("rank", "failed"): total})
        metrics.journal(None, 3, lost=total)
    metrics.version("v1")
    metrics.version("v2")
    text = metrics.text().decode()
    assert 'tamis_stage_faults_total{fault="failed",stage="rank"} 6.0' in text
    assert "tamis_lost_answers_total 6.0" in text
    assert "tamis_journal_up 0.0" in text
    assert 'tamis_version{version="v1"} 0.0' in text
    assert 'tamis_version{version="v2"} 1.0' in text


def test_noted_requests_do_not_pile_up(
    client: TestClient, slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a reader of the metrics, the notes are summed up in a thread, each second."""
    slow.release.set()
    metrics: ServiceMetrics = client.app.state["metrics"]
    threads: set[str] = set()
    fold = metrics.fold
    monkeypatch.setattr(metrics, "fold", lambda: (threads.add(threading.current_thread()), fold()))
    for _ in range(25):
        client.post("/v1/recommend", json={"n": 1})
    until(lambda: not metrics._noted)
    assert not metrics._noted
    loop = client.blocking_portal._event_loop_thread_id
    assert loop not in {thread.ident for thread in threads}


def test_notes_do_not_hold_answers(slow: Slow) -> None:
    """An answer with reasons may take a megabyte: it can be freed once it is sent."""
    slow.release.set()
    metrics = ServiceMetrics()
    answer = slow.recommend(Request(user_id="ann", n=3, explain=True))
    gone = [weakref.ref(answer), weakref.ref(answer.items[0])]
    metrics.answer(answer)
    del answer
    assert [one() for one in gone] == [None, None]
    assert 'tamis_answers_total{known="true"} 1.0' in metrics.text().decode()


def test_an_answer_of_less_work_has_fewer_candidates(numbered) -> None:
    from tamis.service import Recommender

    recommender = Recommender.open(numbered)
    whole = recommender.recommend(7, 10)
    part = recommender.recommend(7, 10, effort=0.25)
    assert part.degraded == ("load: made of 25% of the candidates",)
    assert (len(whole.items), len(part.items), whole.degraded) == (10, 10, ())
    assert whole.candidates["rank", "in"] == 60
    assert part.candidates["rank", "in"] == 15
    assert part.candidates["recall", "out"] < whole.candidates["recall", "out"]
    sizes = np.array(list(whole.candidates.values()))
    assert (sizes > 0).all()
    kept = whole.candidates["recall", "out"] - whole.candidates["filter", "out"]
    assert kept == sum(whole.removed.values())


def test_connections_send_without_waiting_for_an_acknowledgement() -> None:
    """Without TCP_NODELAY, each answer on a kept connection took 40 ms longer."""
    with (
        listen("127.0.0.1", 0) as listening,
        socket.create_connection(listening.getsockname()) as client,
    ):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            client.close()
