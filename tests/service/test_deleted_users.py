"""What a deleted user leaves: nothing of the user, and the same items as before."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tamis.cascade import Candidates, Fallbacks, Queries
from tamis.data import Ragged, Table
from tamis.features._lists import History
from tamis.jobs import export
from tamis.journal import Stretch, UserDelete, open_journal
from tamis.service import LiveRecommender, Request
from tamis.service.views import Views

FOLDER = Path("journal") / "snapshots"
LATE = 4_000_000_000_000
"""A time after every event, ms since 1970 UTC."""


@pytest.fixture
def project(corner: Path, tmp_path: Path) -> Path:
    shutil.copytree(corner, tmp_path / "corner")
    return tmp_path / "corner"


def of_items(live: LiveRecommender) -> tuple[list[int], Any]:
    """Rows and counters of two items that only the journal has, and of one of the version."""
    live.recommend("u1")
    parts = live._recommender.parts
    rows = parts.items.rows(["first", "second", "i3"])
    return rows.tolist(), parts.statistics.items(rows, np.full(3, LATE))


def test_a_restart_after_export_and_trim_numbers_and_counts_items_as_before(project: Path) -> None:
    live = LiveRecommender.open(project)
    live.take([{"user_id": "leaves", "item_id": "first", "behaviour": "like"}])
    live.take([{"user_id": "stays", "item_id": "second", "behaviour": "like"}])
    live.take([{"user_id": "leaves", "item_id": "i3", "behaviour": "like"}])
    live.delete_user("leaves")
    before = of_items(live)
    live.close()
    export(project, trim=True)
    again = LiveRecommender.open(project)
    after = of_items(again)
    assert after[0] == before[0], "rows"
    np.testing.assert_array_equal(after[1], before[1], "counters")
    assert again.get_user("leaves") is None
    (stays,) = again._recommender.parts.users.rows(["stays"])
    history = again._recommender.parts.queries(np.array([stays]), np.array([LATE])).history
    assert len(history.item) == 1, "no event of another user is among those of the user"
    again.close()


def test_a_user_who_came_again_stays_one_after_export_trim_and_restart(project: Path) -> None:
    """The export holds the events from before the deletion without their user."""

    def came_again(live: LiveRecommender) -> list[bool]:
        live.recommend("leaves")
        users = live._recommender.parts.users
        assert (users.rows(["leaves", "stays"]) >= 0).all()
        return users.is_again(users.rows(["leaves", "stays"])).tolist()

    live = LiveRecommender.open(project)
    event = {"user_id": "leaves", "item_id": "i3", "behaviour": "like"}
    live.take([event, {**event, "user_id": "stays"}])
    live.delete_user("leaves")
    live.take([event])
    assert came_again(live) == [True, False]
    live.close()
    export(project, trim=True)
    live = LiveRecommender.open(project)
    assert came_again(live) == [True, False]
    assert live.snapshot()
    live.close()
    live = LiveRecommender.open(project)
    assert came_again(live) == [True, False]
    live.close()


def test_a_patch_makes_a_deleted_item_anew(project: Path) -> None:
    live = LiveRecommender.open(project)
    live.put_items([{"item_id": "i1", "name": "One", "kind": "a"}])
    assert live.delete_item("i1") is not None
    assert live.get_item("i1") is None
    live.patch_items([{"item_id": "i1", "kind": "b"}])
    found = live.get_item("i1")
    assert found is not None
    assert found.columns == {"kind": "b"}, "as a deleted item has no columns"
    shown = {p.item_id for p in live.recommend("nobody", n=30).items}
    assert "i1" in shown
    live.close()


def test_an_answer_that_waits_is_not_written_after_the_deletion(project: Path) -> None:
    live = LiveRecommender.open(project)
    live.take([{"user_id": "leaves", "item_id": "i3", "behaviour": "like"}])
    before = live._recommender.answer(Request.of(user_id="leaves"))
    position = live.position
    live.delete_user("leaves")
    keep = live._recommender.parts.config.answers
    live._answers.add(before, position, keep)
    assert live.answered(before.answer.recommendation_id) is None
    live.take([{"user_id": "leaves", "item_id": "i3", "behaviour": "like"}])
    after = live.recommend("leaves")
    assert live.answered(after.recommendation_id) is not None, "the user came again"
    live.close()
    export(project)
    journal = open_journal(project, "corner")
    assert journal.answers.find(after.recommendation_id) is not None
    journal.close()


def test_an_export_looks_at_a_deletion_once(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    live = LiveRecommender.open(project)
    live.delete_user("u1")
    live.close()
    found: list[dict[str, int]] = []
    real = Stretch.without_users
    monkeypatch.setattr(
        Stretch, "without_users", lambda self, users: found.append(users) or real(self, users)
    )
    export(project)
    assert [set(users) for users in found] == [{"u1"}]
    journal = open_journal(project, "corner")
    journal.append([UserDelete(user_id="u2")])
    journal.close()
    export(project)
    assert [set(users) for users in found[1:]] == [{"u2"}] * 2, "in the files of both exports"


def test_every_channel_forgets_a_deleted_user(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    live = LiveRecommender.open(project)
    live.delete_user("u1")
    live.recommend("u1")
    assert caplog.records == []
    live.close()


def test_a_deletion_removes_the_snapshots_that_hold_the_user(project: Path) -> None:
    live = LiveRecommender.open(project)
    live.take([{"user_id": "leaves", "item_id": "i3", "behaviour": "like"}])
    live.recommend("u1")
    assert live.snapshot()
    assert list((project / FOLDER).glob("*/[0-9]*"))
    live.delete_user("leaves")
    assert not list((project / FOLDER).glob("*/[0-9]*"))
    live.recommend("u1")
    assert live.snapshot()
    (path,) = (project / FOLDER).glob("*/[0-9]*")
    live.delete_user("nobody")
    live.recommend("u1")
    assert not path.exists()
    live.close()


def test_snapshots_of_removed_versions_and_old_drafts_are_removed(project: Path) -> None:
    live = LiveRecommender.open(project)
    gone, own = project / FOLDER / "v0" / f"{7:020d}", project / FOLDER / live.version
    young, old = own / ".5-1", own / ".6-1"
    for folder in (gone, young, old):
        folder.mkdir(parents=True)
    os.utime(old, (1, 1))
    live.take([{"user_id": "u1", "item_id": "i3", "behaviour": "like"}])
    live.recommend("u1")
    assert live.snapshot()
    assert not gone.parent.exists()
    assert not old.exists()
    assert young.exists(), "another process may be writing it"
    live.close()


def test_the_next_snapshot_is_read_where_one_goes_away(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process replaces the snapshot while it is read."""
    live = LiveRecommender.open(project)
    live.take([{"user_id": "u1", "item_id": "i3", "behaviour": "like"}] * 2)
    live.recommend("u1")
    assert live.snapshot()
    position = live.position
    live.close()
    (newest,) = (project / FOLDER).glob("*/[0-9]*")
    other = newest.with_name(f"{position - 1:020d}")
    shutil.copytree(newest, other)
    (newest / "items" / "rows.json").unlink()
    restored: list[str] = []
    real = Views.restore
    monkeypatch.setattr(
        Views, "restore", lambda self, path: restored.append(path.name) or real(self, path)
    )
    again = LiveRecommender.open(project)
    assert restored == [other.name]
    assert again.position == position
    again.close()


def test_a_deletion_names_the_versions_that_hold_the_user(project: Path) -> None:
    live = LiveRecommender.open(project)
    (table,) = (project / "versions").glob(f"{live.version}/tables/users.parquet")
    for name in (".removed-v0", ".draft-1", "v2", "damaged"):
        place = project / "versions" / name / "tables"
        place.mkdir(parents=True)
        shutil.copy(table, place)
    shutil.rmtree(project / "versions" / "v2" / "tables")  # it is removed just now
    (project / "versions" / "damaged" / "tables" / "users.parquet").write_bytes(b"no")
    held = live.delete_user("u1").versions
    assert live.version in held
    assert "damaged" in held, "it may hold the user"
    assert not {".removed-v0", ".draft-1", "v2"} & set(held)
    live.close()


def test_the_last_slate_of_a_deleted_user_is_forgotten() -> None:
    users = Table("users", pl.Series(["ann", "bob"]), pl.DataFrame())
    fallbacks = Fallbacks(lambda: np.zeros(0, np.int32))
    slate = Candidates(np.array([0, 2]), np.array([4, 5], np.int32))
    queries = query_of(1)
    fallbacks.remember(queries, slate)
    assert [list(rows()) for _, rows in fallbacks.lists(queries)] == [[], [4, 5], [4, 5]]
    users.remove(1)
    fallbacks.update_users(users, np.array([0, 1], np.int32))
    assert [list(rows()) for _, rows in fallbacks.lists(queries)] == [[], []]


def query_of(user: int) -> Queries:
    no = Ragged.of([np.zeros(0, np.int32)])
    return Queries(np.array([user], np.int32), np.zeros(1, np.int64), History.empty(1), no)
