"""Nothing acknowledged is lost: a killed service, a full disk, a Redis server that is killed."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from litestar.testing import TestClient

from tamis.journal import Event, Journal, open_journal, redis_connection
from tamis.schema import StoreError
from tamis.serve import create_app
from tamis.service import LiveRecommender
from tamis.testing import kill_under_load, redis_server, serve_process

EVENT = {"user_id": "u1", "item_id": "i3", "behaviour": "like"}


@pytest.fixture
def project(corner: Path, tmp_path: Path) -> Path:
    shutil.copytree(corner, tmp_path / "corner")
    return tmp_path / "corner"


def event_ids(journal: Journal, after: int = 0) -> list[str]:
    found = [n.entry.event_id for n in journal.read(after, 10**6) if isinstance(n.entry, Event)]
    journal.close()
    return found


def test_a_killed_service_loses_and_doubles_no_event(project: Path) -> None:
    """SIGKILL under load, twice; `make bench` runs it with 500 kills."""
    report = kill_under_load(
        lambda port: serve_process(project, port),
        lambda: event_ids(open_journal(project, "corner")),
        event=EVENT,
        kills=2,
        seconds=(0.2, 0.4),
    )
    assert (report.kills, report.lost, report.doubled) == (2, [], [])
    assert report.acknowledged > 20
    assert report.sent_again > 0, "some calls were under way when the service was killed"
    assert report.answers > 0


def test_a_service_starts_while_redis_is_away(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers by its version, and takes events and counts them once the server is there."""
    monkeypatch.setattr(redis_connection, "PAUSE", 0.0)
    with redis_server() as address:
        port = int(address.rpartition(":")[2].partition("/")[0])
    live = LiveRecommender.open(project, address)
    answer = live.recommend("u1", n=5)
    assert len(answer.items) == 5
    assert any("does not answer" in text for text in answer.degraded)
    event = EVENT | {"user_id": "visitor"}
    with pytest.raises(StoreError, match="does not answer"):
        live.take([event])
    with redis_server(port):
        assert live.take([event])[0].status == "accepted"
        answer = live.recommend("visitor", n=5)
        assert (answer.known, answer.degraded) == (True, ())
        live.close()


@pytest.fixture(params=["a full file system", "a file that may not grow"])
def full_disk(
    request: pytest.FixtureRequest, project: Path
) -> Iterator[tuple[Callable[[LiveRecommender], None], Callable[[LiveRecommender], None]]]:
    """(fill, free): what takes the room of the journal, and what gives it back."""
    if request.param == "a file that may not grow":

        def limit(live: LiveRecommender, pages: int) -> None:
            file = cast("Any", live.journal)._journal._file
            file.writer.execute(f"PRAGMA max_page_count = {pages}").fetchall()

        yield lambda live: limit(live, 1), lambda live: limit(live, 10**6)
        return
    folder = project / "journal"
    held = project / "held"
    folder.rename(held)
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(words, capture_output=True).returncode:
        pytest.skip("this user may not mount a file system")
    try:
        for file in held.iterdir():
            shutil.copy(file, folder)
        ballast = folder / "ballast"

        def fill(live: LiveRecommender) -> None:
            free = shutil.disk_usage(folder).free
            ballast.write_bytes(b"x" * (free - free % 4096))

        yield fill, lambda live: ballast.unlink()
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_refuses_events_and_answers_go_on(
    project: Path,
    full_disk: tuple[Callable[[LiveRecommender], None], Callable[[LiveRecommender], None]],
) -> None:
    fill, free = full_disk
    live = LiveRecommender.open(project)
    with TestClient(create_app(lambda: live), raise_server_exceptions=False) as client:
        while client.get("/health/ready").status_code != 200:
            pass
        send = [{**EVENT, "event_id": f"full{k}"} for k in range(500)]
        assert client.post("/v1/events", json=send[:2]).json()["accepted"] == 2
        fill(live)
        refused, numbers = None, iter(range(100))
        while refused is None:
            turn = next(numbers)
            rows = [{**row, "event_id": f"{turn}:{row['event_id']}"} for row in send]
            answer = client.post("/v1/events", json=rows)
            refused = answer if answer.status_code != 200 else None
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert "free some space" in refused.json()["error"]["message"]
        answer = client.post("/v1/recommend", json={"user_id": "u1", "n": 5})
        assert (answer.status_code, len(answer.json()["items"])) == (200, 5)
        free(live)
        assert client.post("/v1/events", json=rows).json()["accepted"] == len(rows)
        assert client.post("/v1/events", json=send[:2]).json()["duplicates"] == 2


def test_a_redis_server_that_is_killed_loses_nothing_acknowledged(
    project: Path, tmp_path: Path
) -> None:
    (tmp_path / "redis").mkdir()
    acknowledged: list[str] = []
    ended = threading.Event()

    def send(live: LiveRecommender) -> None:
        number = 0
        while not ended.is_set():
            name = f"e{number}"
            try:
                live.take([{**EVENT, "event_id": f"redis:{name}"}])
            except StoreError:
                continue  # the same event again
            acknowledged.append(f"redis:{name}")
            number += 1

    with redis_server(keep=tmp_path / "redis") as address:
        port = int(address.rpartition(":")[2].partition("/")[0])
        live = LiveRecommender.open(project, address)
        sender = threading.Thread(target=send, args=(live,))
        sender.start()
        while len(acknowledged) < 100:
            assert live.recommend("u1", n=5).items
    before = len(acknowledged)
    answer = live.recommend("u1", n=5)
    assert (len(answer.items), answer.degraded[0][:9]) == (5, "journal: ")
    with redis_server(port, keep=tmp_path / "redis"):
        while len(acknowledged) < before + 100:
            assert live.recommend("u1", n=5).items
        ended.set()
        sender.join()
        live.close()
        found = event_ids(open_journal(project, "corner", address))
    assert found == acknowledged, "in order, each once"
