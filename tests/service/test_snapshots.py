"""A restart from a snapshot answers as the service did before, and a damaged one is replaced."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tamis.jobs import Project
from tamis.journal import EmbeddedJournal, Event, open_journal
from tamis.service import Answer, LiveRecommender
from tamis.testing import an_event

FOLDER = Path("journal") / "snapshots"


@pytest.fixture
def project(corner: Path, tmp_path: Path) -> Path:
    shutil.copytree(corner, tmp_path / "corner")
    return tmp_path / "corner"


def fill(live: LiveRecommender) -> None:
    """Everything that a journal may hold: events, new users and items, changes, deletions."""
    live.put_items([{"item_id": "new", "name": "New", "kind": "a"}])
    rows = [
        {"user_id": f"u{k % 7}", "item_id": f"i{(3 * k) % 30}", "behaviour": "like"}
        for k in range(60)
    ]
    live.take([*rows, {"user_id": "stranger", "item_id": "new", "behaviour": "like"}])
    live.patch_items([{"item_id": "i5", "name": "Changed"}])
    live.hide("i4")
    live.recommend("u1")  # the deletion below needs rows that are known
    live.delete_item("i6")
    live.delete_user("u2")


def slates(live: LiveRecommender) -> list[tuple[Any, ...]]:
    def read(answer: Answer) -> tuple[Any, ...]:
        return answer.known, [(p.item_id, p.title, p.score) for p in answer.items]

    return [read(live.recommend(user, n=20)) for user in ("u1", "u2", "u3", "stranger", "nobody")]


def applied(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that gets the number of the journal's entries that are applied at each start."""
    from tamis.service.views import Views

    found: list[int] = []
    real = Views.apply

    def counting(self: Views, entries: Any) -> None:
        found.append(sum(numbered.sequence > 100 for numbered in entries))  # not of a rehearsal
        real(self, entries)

    monkeypatch.setattr(Views, "apply", counting)
    return found


def test_a_restart_reads_the_snapshot_and_the_tail(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = LiveRecommender.open(project)
    fill(live)
    slates(live)
    assert live.snapshot()
    live.take([{"user_id": "u3", "item_id": "i9", "behaviour": "like"}])
    before = slates(live)
    live.close()
    counted = applied(monkeypatch)
    again = LiveRecommender.open(project)
    assert slates(again) == before
    assert sum(counted) == 1, "the snapshot holds the rest"
    assert not again.snapshot(every=60), "a young snapshot is there"
    again.close()


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: (path / "snapshot.json").unlink(),
        lambda path: (path / "histories" / "events.npz").write_bytes(b"PK no"),
        lambda path: shutil.rmtree(path / "items"),
        lambda path: (path / "views.json").write_text("{}"),
    ],
)
def test_a_damaged_snapshot_is_rebuilt_from_the_version_and_the_journal(
    damage: Callable[[Path], Any], project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    live = LiveRecommender.open(project)
    fill(live)
    before = slates(live)
    assert live.snapshot()
    live.close()
    (path,) = (project / FOLDER).glob("*/[0-9]*")
    damage(path)
    with caplog.at_level(logging.WARNING, "tamis.service"):
        again = LiveRecommender.open(project)
    assert "the service starts from the version and the journal instead" in caplog.text
    assert slates(again) == before
    assert again.snapshot(), "a new one takes its place"
    again.close()


def test_a_snapshot_of_more_than_the_journal_holds_is_not_used(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = LiveRecommender.open(project)
    start = live.position
    fill(live)
    before, entries = slates(live), live.position - start
    assert live.snapshot()
    live.close()
    (path,) = (project / FOLDER).glob("*/[0-9]*")
    path.rename(path.with_name(f"{10**6:020d}"))
    counted = applied(monkeypatch)
    again = LiveRecommender.open(project)
    assert sum(counted) == entries, "all entries are read, and none from the snapshot"
    assert slates(again) == before
    again.close()


def test_a_snapshot_of_entries_that_the_journal_lost_is_not_used(
    project: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The journal lost its end and grew beyond the snapshot's position since."""
    shutil.copytree(project / "journal", tmp_path / "before")
    live = LiveRecommender.open(project)
    fill(live)
    slates(live)
    assert live.snapshot()
    lost = live.position
    live.close()
    for file in (tmp_path / "before").glob("journal.sqlite*"):
        shutil.copy(file, project / "journal")
    (project / "journal" / "journal.sqlite-wal").unlink(missing_ok=True)
    journal = open_journal(project, "corner")
    start = journal.head
    journal.append([an_event(10_000 + k) for k in range(99)])
    assert start < lost < journal.head
    journal.close()
    with caplog.at_level(logging.WARNING, "tamis.service"):
        again = LiveRecommender.open(project)
    assert f"does not hold entry {lost}" in caplog.text
    assert again.position == start + 99
    assert not again.recommend("stranger", n=1).known
    assert not list((project / FOLDER).glob("*/[0-9]*")), "it is deleted"
    again.close()


def test_another_journal_is_read_from_its_start(
    corner: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its numbers are not those of the journal that the version was trained on."""
    path, project = tmp_path / "journal.sqlite", Project(corner)
    own = project.recommend("u1", n=3)
    assert project.recommender.views.position > 1
    journal = EmbeddedJournal(path)
    like = {"user_id": "stranger", "item_id": own.items[0].item_id, "behaviour": "like"}
    journal.append([Event(event_id="e", time=own.time, arrival=own.time, **like)])
    journal.close()
    monkeypatch.setattr("tamis.journal.open_journal", lambda *_: EmbeddedJournal(path))
    assert project.recommend("stranger", n=3, store="redis://elsewhere").known
    monkeypatch.undo()
    assert not project.recommend("stranger", n=3).known
