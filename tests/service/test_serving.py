"""Versions are exchanged while requests run: none fails, none mixes two versions."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tamis.bundle import Kind, Version, Versions
from tamis.jobs import activate, rollback
from tamis.schema import VersionError
from tamis.service import Answer, LiveRecommender, Serving


@pytest.fixture
def project(numbered: Path, another_version: Callable[..., Version], tmp_path: Path) -> Path:
    """With the versions 2999-a (slates of 5) and 2999-b (slates of 6); 2999-a is published."""
    shutil.copytree(numbered, tmp_path / "shop")
    first, _ = (another_version(tmp_path / "shop", f"2999-{x}", 5 + k) for k, x in enumerate("ab"))
    Versions(tmp_path / "shop").publish(first)
    return tmp_path / "shop"


@pytest.fixture
def serving(project: Path) -> Iterator[Serving]:
    opened = Serving(LiveRecommender.open(project), project, interval=None)
    yield opened
    opened.close()


def check_whole(answer: Answer) -> None:
    """An answer is of one version: its name, the items' titles and their number agree."""
    assert not answer.degraded
    assert len(answer.items) == 5 + "ab".index(answer.version[-1])
    assert {place.title.partition(" ")[0] for place in answer.items} == {answer.version}


@pytest.fixture
def load(serving: Serving) -> Iterator[list[Answer]]:
    """The answers of a thread that makes requests until the test ends; a failure ends it."""
    answers: list[Answer] = []
    failures: list[BaseException] = []
    ended = threading.Event()

    def run() -> None:
        try:
            while not ended.is_set():
                answers.append(serving.live.recommend(str(len(answers) % 50)))
                time.sleep(0.01)
        except BaseException as error:  # reported at the end of the test
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    yield answers
    ended.set()
    thread.join()
    assert not failures, failures


def wait_for_answers(answers: list[Answer], more: int) -> None:
    until, wanted = time.monotonic() + 60, len(answers) + more
    while len(answers) < wanted and time.monotonic() < until:
        time.sleep(0.001)
    assert len(answers) >= wanted


def test_twenty_swaps_under_load(project: Path, serving: Serving, load: list[Answer]) -> None:
    versions = Versions(project)
    for k in range(20):
        versions.publish(versions.open(f"2999-{'ba'[k % 2]}"))
        assert serving.look()
        wait_for_answers(load, 2)
    assert serving.swaps == 20
    seen = [answer.version for answer in load]
    assert sum(a != b for a, b in pairwise(seen)) == 20
    for answer in load:
        check_whole(answer)
    serving.look()
    assert serving.open_versions == ["2999-a"], "the former ones are closed"


def test_events_reach_the_version_that_takes_over(project: Path, serving: Serving) -> None:
    item = serving.live.recommend("7").items[0].item_id
    event = {"user_id": "7", "item_id": item, "behaviour": "like", "value": 5}
    assert serving.live.take([event])[0].status == "accepted"
    activate(project, "2999-b")
    assert serving.look()
    answer = serving.live.recommend("7", n=100)
    assert item not in [place.item_id for place in answer.items]
    assert (answer.version, serving.live.position) == ("2999-b", serving.live.journal.head)


def test_a_request_ends_with_the_version_that_it_began_with(
    project: Path, serving: Serving
) -> None:
    live = serving.live
    activate(project, "2999-b")
    assert serving.look()
    serving.look()
    assert serving.open_versions == ["2999-b", "2999-a"]
    check_whole(live.recommend("7"))
    del live
    serving.look()
    assert serving.open_versions == ["2999-b"]


@pytest.mark.parametrize("damage", ["file", "pointer", "gone"])
def test_what_cannot_be_opened_leaves_the_former_version(
    project: Path, serving: Serving, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    versions = Versions(project)
    target = versions.open("2999-b")
    versions.publish(target)
    if damage == "file":
        (target.path / "rank" / "estimator.json").write_text("{")
    elif damage == "pointer":
        versions.pointer(Kind.SERVING).write_text("../..")
    else:
        shutil.rmtree(target.path)
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            assert not serving.look()
    assert serving.problem is not None
    assert "2999-a goes on" in serving.problem
    assert caplog.text.count("the published version was not opened") == 1
    check_whole(serving.live.recommend("7"))
    assert rolled_back(project, serving) == "2999-a"
    assert serving.problem is None


def rolled_back(project: Path, serving: Serving) -> str:
    activate(project, "2999-a")
    serving.look()
    return serving.live.version


def test_a_damaged_version_is_not_activated(project: Path) -> None:
    versions = Versions(project)
    (versions.open("2999-b").path / "rank" / "estimator.json").write_text("{")
    with pytest.raises(VersionError, match=r"estimator\.json is missing or differs"):
        activate(project, "2999-b")
    assert versions.current(Kind.SERVING).name == "2999-a"
    with pytest.raises(VersionError, match="nosuch is not a version"):
        activate(project, "nosuch")


def test_the_thread_notices_a_rollback(project: Path) -> None:
    activate(project, "2999-b")
    serving = Serving(LiveRecommender.open(project), project, interval=0.02)
    try:
        assert rollback(project).name == "2999-a"
        until = time.monotonic() + 60
        while serving.live.version != "2999-a" and time.monotonic() < until:
            time.sleep(0.01)
        assert serving.live.version == "2999-a"
    finally:
        serving.close()


def test_a_version_is_not_removed_while_it_serves(project: Path, serving: Serving) -> None:
    versions = Versions(project)
    assert "2999-a" not in versions.remove_old(Kind.SERVING, keep=0)
    versions.publish(versions.open("2999-b"))
    assert "2999-a" not in versions.remove_old(Kind.SERVING, keep=0), "it is open"
    assert serving.look()
    serving.look()
    assert versions.remove_old(Kind.SERVING, keep=0) == ["2999-a"]
