"""The journal as part of the data set: exported stretches, what is still in it, deleted users."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tamis.jobs import export
from tamis.journal import (
    DELETED_USER,
    Entry,
    Event,
    ItemDelete,
    ItemHide,
    ItemPatch,
    ItemPut,
    ItemShow,
    UserDelete,
    UserPatch,
    UserPut,
    open_journal,
    stretches,
)
from tamis.schema import StoreError
from tamis.service import ProjectFolder

T0 = 1_700_000_000_000
HOUR = 3_600_000
TOML = """
name = "shop"
[events]
path = "events.csv"
user = "who"
item = "what"
time = "at"
behaviour = "did"
value = "stars"
request = "answer"
context = ["device"]
[items]
path = "items.csv"
id = "what"
title = "name"
[users]
path = "users.csv"
id = "who"
[behaviours.like]
positive = true
[behaviours.view]
impression = true
[cascade.channels.hot]
[cascade.rank]
use = "deepfm"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "tamis.toml").write_text(TOML, "utf-8")
    rows = ["who,what,at,did,stars,answer,device"]
    rows += [f"ann,i1,{T0},like,5,r1,ios", f"bob,i2,{T0 + HOUR},like,4,r2,web"]
    rows += [f"bob,i1,{T0 + 2 * HOUR},view,,r2,web"]
    (tmp_path / "events.csv").write_text("\n".join(rows) + "\n", "utf-8")
    (tmp_path / "items.csv").write_text("what,name,price\ni1,One,1.5\ni2,Two,2.5\n", "utf-8")
    (tmp_path / "users.csv").write_text("who,age\nann,31\nbob,44\n", "utf-8")
    return tmp_path


def event(number: int, user: str, item: str, **fields: Any) -> Event:
    at = T0 + 10 * HOUR + number * HOUR
    return Event(
        **{
            "event_id": f"e{number}",
            "user_id": user,
            "item_id": item,
            "behaviour": "like",
            "time": at,
            "arrival": at + 5,
            **fields,
        }
    )


ENTRIES: list[Entry] = [
    event(0, "ann", "i2", value=3.5, context={"device": "ios"}, recommendation_id="x1", position=2),
    ItemPut(item_id="i3", columns={"name": "Three", "price": 3}),
    event(1, "cat", "i3", behaviour="view", recommendation_id="x1"),
    UserPut(user_id="cat", columns={"age": 20}),
    UserPatch(user_id="ann", columns={"age": 32}),
    ItemPatch(item_id="i1", columns={"price": 1.75}),
    event(2, "dan", "i9", time=T0, arrival=T0 + 50 * HOUR),
    ItemHide(item_id="i1"),
    ItemHide(item_id="i2"),
    ItemShow(item_id="i1"),
    ItemDelete(item_id="i9"),
]


def fill(project: Path, entries: list[Entry]) -> None:
    journal = open_journal(project, "shop")
    journal.append(entries)
    journal.close()


def plain(project: Path) -> list[tuple[Any, ...]]:
    """The events of the data set with external ids, in order."""
    data = ProjectFolder(project).data
    e = data.events
    users, items = data.users.ids.to_list(), data.items.ids.to_list()
    return [
        (users[u], items[i], data.behaviours[b].name, t, a)
        for u, i, b, t, a in zip(
            e.user.tolist(), e.item.tolist(), e.behaviour.tolist(), e.time.tolist(),
            e.arrival.tolist(), strict=True,
        )
    ]  # fmt: skip


def test_the_journal_is_part_of_the_data(project: Path) -> None:
    fill(project, ENTRIES)
    folder = ProjectFolder(project)
    data, found = folder.data, folder.journal_data
    assert found is not None
    assert found.position == len(ENTRIES)
    assert found.withdrawn() == [ItemHide(item_id="i2"), ItemDelete(item_id="i9")]
    late = T0 + 50 * HOUR  # happened long before it arrived
    assert plain(project) == [
        ("ann", "i1", "like", T0, T0),
        ("dan", "i9", "like", T0, late),
        ("bob", "i2", "like", T0 + HOUR, T0 + HOUR),
        ("bob", "i1", "view", T0 + 2 * HOUR, T0 + 2 * HOUR),
        ("ann", "i2", "like", T0 + 10 * HOUR, T0 + 10 * HOUR + 5),
        ("cat", "i3", "view", T0 + 11 * HOUR, T0 + 11 * HOUR + 5),
    ]
    events = data.events
    assert events.value[4] == np.float32(3.5)
    assert events.context is not None
    assert events.context.columns["device"].values.to_list() == [
        "ios", None, "web", "web", "ios", None,
    ]  # fmt: skip
    assert events.request[4] == events.request[5], "two events of one answer"
    assert events.request[4] not in events.request[:4]
    ages = dict(zip(data.users.ids, data.users.frame["age"], strict=True))
    assert ages == {"ann": 32, "bob": 44, "cat": 20, "dan": None}
    prices = dict(zip(data.items.ids, data.items.frame["price"], strict=True))
    assert prices == {"i1": 1.75, "i2": 2.5, "i3": 3.0, "i9": None}
    assert dict(zip(data.items.ids, data.items.frame["name"], strict=True))["i3"] == "Three"


def test_a_patch_makes_a_deleted_item_anew(project: Path) -> None:
    changes: list[Entry] = [
        ItemDelete(item_id="i1"),
        ItemPatch(item_id="i1", columns={"price": 9}),
        ItemPatch(item_id="i1", columns={"name": "Again"}),
        ItemDelete(item_id="i2"),
    ]
    fill(project, changes)
    folder = ProjectFolder(project)
    assert folder.journal_data is not None
    assert folder.journal_data.withdrawn() == [ItemDelete(item_id="i2")]
    items = folder.data.items
    assert items.cells(items.row("i1")) == {"price": 9.0, "name": "Again"}


def same_data(one: ProjectFolder, other: ProjectFolder) -> None:
    a, b = one.data, other.data
    for name in ("user", "item", "behaviour", "time", "arrival", "request", "position"):
        np.testing.assert_array_equal(getattr(a.events, name), getattr(b.events, name), name)
    np.testing.assert_array_equal(a.events.value, b.events.value)
    for first, second in ((a.users, b.users), (a.items, b.items)):
        assert first.ids.to_list() == second.ids.to_list()
        assert first.frame.equals(second.frame)
    assert one.journal_data is not None
    assert other.journal_data is not None
    assert one.journal_data.withdrawn() == other.journal_data.withdrawn()
    assert one.journal_data.position == other.journal_data.position


@pytest.mark.parametrize("exports", [[11], [4, 11], [1, 2, 3, 11], [5]])
@pytest.mark.parametrize("trim", [False, True])
def test_exporting_changes_no_data(exports: list[int], trim: bool, project: Path) -> None:
    """However the journal is cut into stretches, and whether they leave it."""
    fill(project, ENTRIES)
    before = ProjectFolder(project)
    _ = before.data, before.journal_data
    (project / "journal").rename(project / "whole")
    done = 0
    for upto in exports:
        fill(project, ENTRIES[done:upto])
        report = export(project, trim=trim)
        assert (report.exported, report.position) == (upto - done, upto)
        assert report.trimmed == (upto - done if trim else 0)
        done = upto
    fill(project, ENTRIES[done:])
    same_data(before, ProjectFolder(project))


def test_data_up_to_an_earlier_entry(project: Path) -> None:
    fill(project, ENTRIES[:3])
    then = ProjectFolder(project)
    _ = then.data, then.journal_data
    export(project)
    fill(project, ENTRIES[3:])
    same_data(then, ProjectFolder(project, journal_until=3))


def test_a_deleted_user_leaves_nothing(project: Path) -> None:
    fill(project, ENTRIES)
    export(project)
    fill(project, [UserDelete(user_id="ann"), UserDelete(user_id="cat"), event(9, "ann", "i1")])
    export(project)
    data = ProjectFolder(project).data
    assert [row for row in plain(project) if row[0] in ("ann", "cat")] == [
        ("ann", "i1", "like", T0 + 19 * HOUR, T0 + 50 * HOUR)  # after the event before it
    ]
    ages = dict(zip(data.users.ids, data.users.frame["age"], strict=True))
    assert ages == {"bob": 44, "dan": None, "ann": None}
    kept = pl.concat([stretch.events() for stretch in stretches(project)])
    assert kept["user_id"].to_list() == [DELETED_USER, DELETED_USER, "dan", "ann"]
    lost = kept.filter(pl.col("user_id") == DELETED_USER)
    assert lost["item_id"].to_list() == ["i2", "i3"], "the items' counters need them"
    assert set(lost["event_id"]) == {""}
    named = ("context", "recommendation_id", "position")
    assert all(lost[name].null_count() == len(lost) for name in named)
    columns = [
        entry.columns
        for stretch in stretches(project)
        for _, entry in stretch.changes()
        if isinstance(entry, UserPut | UserPatch)
    ]
    assert columns == [{}, {}], "nor their columns"
    files = (project / "journal" / "exported").rglob("events.parquet")
    texts = [str(pl.read_parquet(file).rows()) for file in files]
    assert not any("ios" in text or "cat" in text for text in texts)


def test_an_event_of_the_table_is_not_counted_twice(project: Path) -> None:
    again = event(3, "bob", "i2", time=T0 + HOUR, recommendation_id=None)
    fill(project, [event(4, "bob", "i2"), again, event(4, "bob", "i2", event_id="other")])
    text = (project / "tamis.toml").read_text("utf-8").replace('request = "answer"\n', "")
    (project / "tamis.toml").write_text(text, "utf-8")
    assert len(plain(project)) == 4
    folder = ProjectFolder(project)
    _ = folder.data
    assert folder.rejects.count("journal", "duplicate of an event") == 2


def test_unknown_ids_are_dropped_where_the_table_says_so(project: Path) -> None:
    text = (project / "tamis.toml").read_text("utf-8")
    text = text.replace("[items]\n", '[items]\nunknown = "drop"\n')
    (project / "tamis.toml").write_text(text, "utf-8")
    fill(project, ENTRIES)
    assert {item for _, item, *_ in plain(project)} == {"i1", "i2", "i3"}, "i3 was put"


def test_a_project_of_the_journal_alone(project: Path) -> None:
    """No file of events, users or items: all of them come by the service."""
    text = TOML.replace('path = "events.csv"\n', "")
    for name in ("users", "items"):
        text = text.replace(f'path = "{name}.csv"\n', "")
    text = text.replace('title = "name"\n', "").replace('[users]\nid = "who"\n', "")
    (project / "tamis.toml").write_text(text, "utf-8")
    fill(project, [ItemPut(item_id="i7", columns={"price": 2, "tags": ["a"]}), *ENTRIES])
    data = ProjectFolder(project).data
    assert [row[:2] for row in plain(project)] == [("dan", "i9"), ("ann", "i2"), ("cat", "i3")]
    prices = dict(zip(data.items.ids, data.items.frame["price"], strict=True))
    assert prices == {"i7": 2.0, "i3": 3.0, "i1": 1.75, "i2": None, "i9": None}
    assert data.items.frame["tags"].to_list()[0] == ["a"]
    assert dict(zip(data.users.ids, data.users.frame["age"], strict=True))["cat"] == 20


def test_entries_that_are_missing_are_reported(project: Path) -> None:
    fill(project, ENTRIES)
    export(project, trim=True)
    (stretch,) = stretches(project)
    stretch.path.rename(project / "elsewhere")
    with pytest.raises(StoreError, match=r"entries 1 to 11 have left the journal"):
        _ = ProjectFolder(project).data
