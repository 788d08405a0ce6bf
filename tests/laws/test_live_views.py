"""Views after any entries equal the state built offline from tables and log as of the same entry.

The version is small and not trained: its features, statistics and histories are those of a log of
a few events.
"""

from __future__ import annotations

import gc
import itertools
import sys
import tempfile
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, cast

import msgspec
import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.cascade import Candidates, Channel, FitContext, KnownRows, Queries, queries_at
from tamis.data import Dataset, Events, Ragged, Table
from tamis.features import FeatureSpace, Histories, OfflineStatistics, OnlineStatistics
from tamis.filters import ExposedFilter
from tamis.journal import (
    EmbeddedJournal,
    Entry,
    Event,
    ItemDelete,
    ItemHide,
    ItemPatch,
    ItemPut,
    ItemShow,
    Numbered,
    UserDelete,
    UserPatch,
    UserPut,
)
from tamis.recall import Fresh, Hot
from tamis.rerank import Explore
from tamis.schema import SparseFeat, TextConfig, VarLenSparseFeat, parse_config
from tamis.service.assembly import Parts
from tamis.service.views import Views

DAY, HOUR = 86_400_000, 3_600_000
START = 19_000 * DAY
END = START + 10 * DAY
NAMES = ("impression", "click", "like")
CONFIG = parse_config(
    {
        "name": "p",
        "events": {"path": "e.csv", "behaviour": "what", "arrival": "arrived"},
        "users": {"path": "u.csv"},
        "items": {"path": "i.csv", "author": "author", "category": "genres"},
        "behaviours": {"impression": {"impression": True}, "click": {}, "like": {"positive": True}},
        "cascade": {"channels": {"hot": {}}, "rank": {"use": "lr"}},
    }
)
FEATURES = [
    SparseFeat("user_id"),
    SparseFeat("gender"),
    SparseFeat("item_id"),
    VarLenSparseFeat("genres", max_len=3),
    SparseFeat("author"),
]
USERS, ITEMS = ("u0", "u1", "u2"), ("i0", "i1", "i2", "i3")
ITEM_CELLS: dict[str, dict[str, Any]] = {
    "new1": {"genres": ["a", "b"], "author": "ann", "published": START + 3 * DAY},
    "new2": {"genres": ["c"], "author": "bob"},
    "new3": {"author": "zoe", "published": START + 12 * DAY},
}
USER_CELLS: dict[str, dict[str, Any]] = {"n1": {"gender": "f"}, "n2": {}, "n3": {"gender": "x"}}


def log_of(rows: Sequence[tuple[int, int, int, int, int, float]]) -> Events:
    """Rows of user, item, behaviour, time, arrival and value, stably sorted by time."""
    rows = sorted(rows, key=lambda row: row[3])
    user, item, behaviour, time, arrival, value = zip(*rows, strict=True) if rows else [()] * 6
    return Events(
        np.array(user, np.int32),
        np.array(item, np.int32),
        np.array(behaviour, np.uint8),
        np.array(time, np.int64),
        np.array(arrival, np.int64),
        np.array(value, np.float32),
        np.full(len(rows), -1, np.int64),
        np.zeros(len(rows), np.int16),
    )


BEFORE = [
    (k % 3, k % 4, k % 3, START + k * 9 * HOUR, START + k * 9 * HOUR, float("nan"))
    for k in range(20)
]


HALF_LIFE = 5.0
CONTEXT = FitContext(items=CONFIG.items, users=CONFIG.users)


def channels() -> dict[str, Channel]:
    """Those that count likes as they come."""
    return {
        "hot": Hot(half_life=HALF_LIFE),
        "by category": Hot(half_life=HALF_LIFE, by="category", fall_back=True),
        "by audience": Hot(half_life=HALF_LIFE, by="audience", column="gender", fall_back=True),
        "fresh": Fresh(order="best", column="published", max_age=100),
    }


def recalled(channel: Channel, parts: Parts, now: int) -> list[dict[int, float]]:
    """{item: score} for all users, and for an unknown one."""
    user = np.arange(-1, len(parts.users), dtype=np.int32)
    found = channel.recall(queries_at(parts.histories, user, np.full(len(user), now)), 20)
    lists = zip(found.item.tolist(), found.score.tolist(), strict=True)
    return [{i: s for i, s in zip(*one, strict=True) if i >= 0} for one in lists]


def check_channels(parts: Parts, log: Dataset, now: int) -> None:
    """The channels after the likes that came equal those that are fitted on the whole log; hot's
    scores are relative to its end."""
    for name, channel in channels().items():
        expected = recalled(channel.fit(log, CONTEXT), parts, now)
        found = recalled(parts.channels[name], parts, now)
        later = (log.end - END_OF_LOG) / DAY / HALF_LIFE if name != "fresh" else 0.0
        for one, other in zip(found, expected, strict=True):
            if name == "fresh":  # the mean rate stays that of the version
                assert one.keys() == other.keys()
                continue
            assert one == pytest.approx({i: s * 2**later for i, s in other.items()}, rel=1e-5)


END_OF_LOG = START + 19 * 9 * HOUR + 1


def version() -> Parts:
    """An open version of the log `BEFORE`."""
    return deepcopy(fitted())


@cache
def fitted() -> Parts:
    users = pl.DataFrame({"gender": ["f", "m", None]})
    items = pl.DataFrame(
        {
            "genres": [["a"], ["a", "b"], None, ["c"]],
            "author": ["ann", "bob", "ann", None],
            "published": [START, None, START + 2 * DAY, None],
        }
    )
    data = Dataset(
        Table("users", pl.Series("id", USERS), users),
        Table("items", pl.Series("id", ITEMS), items),
        log_of(BEFORE),
        tuple(CONFIG.behaviours.values()),
    )
    groups = ("author", "genres", "user:gender", "own:genres")
    space = FeatureSpace.fit(
        data, FEATURES, config=CONFIG, windows=("1d", "7d", "all"), groups=groups
    )
    statistics = OnlineStatistics.of(data, space.recipes)
    statistics.end = END
    return Parts(
        config=CONFIG,
        users=data.users,
        items=data.items,
        space=deepcopy(space),  # as in a version on disk, which holds the recipes twice
        statistics=statistics,
        histories=Histories.of(data),
        channels={name: channel.fit(data, CONTEXT) for name, channel in channels().items()},
        filters={"exposed": ExposedFilter(months=2).fit(data)},
        prerank=None,
        rank=cast("Any", None),
        rerank={"explore": Explore(hours=720, impressions=4).fit(data)},
    )


ids = st.sampled_from(["u0", "u0", *USERS, *USER_CELLS]), st.sampled_from([*ITEMS, *ITEM_CELLS])
event = st.tuples(
    *ids,
    st.sampled_from(NAMES),
    st.sampled_from([0, 0, 1, HOUR, 5 * HOUR, 3 * DAY, 20 * DAY]),  # after the last arrival
    st.sampled_from([0, 0, 0, 1, HOUR, 2 * DAY, 15 * DAY, -HOUR]),  # late by
    st.sampled_from([None, 1.0, 4.5]),
)
put = st.one_of(
    st.sampled_from(sorted(ITEM_CELLS)).map(lambda i: ItemPut(item_id=i, columns=ITEM_CELLS[i])),
    st.sampled_from(sorted(USER_CELLS)).map(lambda u: UserPut(user_id=u, columns=USER_CELLS[u])),
)


@dataclass
class Stream:
    """Entries, and what each of them is in a log that a training would read."""

    entries: list[Entry] = field(default_factory=list[Entry])
    rows: list[tuple[str, str, int, int, int, float] | None] = field(default_factory=list[Any])


def stream_of(drawn: Sequence[Any]) -> Stream:
    """Events one after another; puts of ids that came before are left out: what had come before
    a put counts for no attribute, which a log cannot say."""
    made, arrival, newest, seen = Stream(), END, END, set[str]()
    for number, one in enumerate(drawn):
        if isinstance(one, ItemPut | UserPut):
            name = one.item_id if isinstance(one, ItemPut) else one.user_id
            if name not in seen:
                made.entries.append(one)
                made.rows.append(None)
            seen.add(name)
            continue
        user, item, behaviour, pause, late, value = one
        arrival += pause
        newest = max(newest, arrival)
        time = arrival - late
        seen |= {user, item}
        made.entries.append(
            Event(
                event_id=f"e{number}",
                user_id=user,
                item_id=item,
                behaviour=behaviour,
                time=time,
                arrival=arrival,
                value=value,
            )
        )
        number = NAMES.index(behaviour), min(time, newest), newest
        made.rows.append((user, item, *number, np.nan if value is None else value))
    return made


def numbered(entries: Sequence[Entry], first: int = 1) -> list[Numbered]:
    return [Numbered(first + k, entry) for k, entry in enumerate(entries)]


def offline(parts: Parts, rows: Sequence[Any]) -> tuple[OfflineStatistics, Histories, Dataset]:
    """The state of tables that hold the users and items of `parts`, and of the whole log."""
    later = [(parts.users.row(r[0]), parts.items.row(r[1]), *r[2:]) for r in rows if r is not None]
    data = Dataset(
        Table("users", parts.users.ids, parts.users.frame),
        Table("items", parts.items.ids, parts.items.frame),
        log_of([*BEFORE, *later]),
        tuple(CONFIG.behaviours.values()),
    )
    return OfflineStatistics(data, parts.statistics.recipes), Histories.of(data), data


def check_statistics(left: Any, right: Any, users: int, items: int, now: int) -> None:
    """All statistics of all users, items, groups and pairs at `now`."""
    user, item = np.arange(-1, users, dtype=np.int32), np.arange(-1, items, dtype=np.int32)
    u_time, i_time = np.full(len(user), now), np.full(len(item), now)
    np.testing.assert_array_equal(left.users(user, u_time), right.users(user, u_time))
    np.testing.assert_array_equal(left.items(item, i_time), right.items(item, i_time))
    for number, group in enumerate(right.recipes.groups):
        sets = group.groups.set_of(item)
        expected = right.group(number, sets, i_time)
        np.testing.assert_array_equal(left.group(number, sets, i_time), expected)
    query, every = np.repeat(np.arange(len(user)), len(item)), np.tile(item, len(user))
    for number in range(len(right.recipes.pairs)):
        expected = right.pair(number, user, u_time, query, every)
        np.testing.assert_array_equal(left.pair(number, user, u_time, query, every), expected)


def check_histories(left: Histories, right: Histories, users: int, now: int) -> None:
    user = np.arange(-1, users, dtype=np.int32)
    one, other = (h.at(user, np.full(len(user), now)) for h in (left, right))
    for column in ("indptr", "item", "behaviour", "time", "value"):
        np.testing.assert_array_equal(getattr(one, column), getattr(other, column), column)


@settings(max_examples=30)
@given(drawn=st.lists(st.one_of(event, event, event, put), max_size=25), data=st.data())
def test_views_equal_the_state_of_the_log_as_of_any_entry(
    drawn: list[Any], data: st.DataObject
) -> None:
    """Late arrivals, ties, new users and items; at an entry in between, and at the end."""
    stream, parts = stream_of(drawn), version()
    views = Views(parts, END)
    for position in sorted({data.draw(st.integers(0, len(stream.entries))), len(stream.entries)}):
        views.apply(numbered(stream.entries[:position]))
        statistics, histories, log = offline(parts, stream.rows[:position])
        now = views.earliest + data.draw(st.sampled_from([0, HOUR, 2 * DAY]))
        sizes = len(parts.users), len(parts.items)
        check_statistics(parts.statistics, statistics, *sizes, now)
        check_statistics(parts.statistics, statistics, *sizes, now + HOUR)  # after a read
        check_histories(parts.histories, histories, sizes[0], now)
        check_channels(parts, log, now)
        for row in range(-1, sizes[0]):
            expected = shown_lately(log, row, now) if row >= 0 else []
            assert views.exposure.shown(row, now).tolist() == expected


def shown_lately(log: Dataset, user: int, now: int) -> list[int]:
    """The items of the user's impressions since the version, of this month (UTC) and the last."""
    events, months = log.events, {}
    for at in (*events.time.tolist(), now):
        moment = datetime.fromtimestamp(at / 1000, UTC)
        months[at] = 12 * moment.year + moment.month
    since = months[now] - 1
    rows = range(len(events))
    mine = [r for r in rows if (events.user[r], events.behaviour[r]) == (user, 0)]
    mine = [r for r in mine if events.arrival[r] >= END and months[int(events.time[r])] >= since]
    return sorted({int(events.item[r]) for r in mine})


def test_events_that_arrive_at_once_have_the_order_of_the_log() -> None:
    """By time, whatever comes first in the journal, and in pages of their own."""
    events = stream_of(
        [("u0", f"i{k}", "click", 0, late, None) for k, late in enumerate((1, 5, 3, 5))]
    )
    parts = version()
    views = Views(parts, END)
    for one in numbered(events.entries):
        views.apply([one])
    check_histories(parts.histories, offline(parts, events.rows)[1], 3, END + 1)
    history = parts.histories.at(np.zeros(1, np.int32), np.array([END + 1]), last=4)
    assert history.item.tolist() == [1, 3, 2, 0]


change = st.one_of(
    st.sampled_from([*ITEMS, *ITEM_CELLS]).flatmap(
        lambda i: st.sampled_from(
            [
                ItemPut(item_id=i, columns=ITEM_CELLS.get(i, {"author": "bob"})),
                ItemPatch(item_id=i, columns={"genres": ["b"], "published": END + DAY}),
                ItemPatch(item_id=i, columns={"author": "ann"}),
                ItemPatch(item_id=i, columns={"genres": ["mistyped"]}),
                ItemDelete(item_id=i),
                ItemHide(item_id=i),
                ItemShow(item_id=i),
            ]
        )
    ),
    st.sampled_from([*USERS, *USER_CELLS]).flatmap(
        lambda u: st.sampled_from(
            [
                UserPut(user_id=u, columns={"gender": "m"}),
                UserPatch(user_id=u, columns={"gender": "f"}),
                UserPatch(user_id=u, columns={"gender": "a new one"}),
                UserDelete(user_id=u),
            ]
        )
    ),
)


def inputs_of(parts: Parts, now: int) -> Any:
    """All numbers that a ranker reads, of all users with all items."""
    user, item = np.arange(len(parts.users)), np.arange(-1, len(parts.items), dtype=np.int32)
    user, time = user.astype(np.int32), np.full(len(user), now)
    query, every = np.repeat(np.arange(len(user)), len(item)), np.tile(item, len(user))
    history = parts.histories.at(user, time)
    rows = parts.space.rows(user, time, history, query, every, statistics=parts.statistics)
    return rows.take(torch.arange(len(rows))).dense.numpy()


def equal_views(one: tuple[Parts, Views], other: tuple[Parts, Views]) -> None:
    """Tables, features, statistics, histories and exclusions."""
    (left, first), (right, second) = one, other
    assert (first.position, first.earliest) == (second.position, second.earliest)
    for name in ("users", "items"):
        ours, theirs = getattr(left, name), getattr(right, name)
        assert ours.ids.to_list() == theirs.ids.to_list()
        assert ours.frame.equals(theirs.frame)
        for kind in ("ids", "dense"):
            attributes = (getattr(p.space._fitted, name) for p in (left, right))
            np.testing.assert_array_equal(*(getattr(a, kind) for a in attributes))
    now = first.earliest + HOUR
    inputs = [inputs_of(parts, now) for parts in (left, right)]
    np.testing.assert_array_equal(*inputs)
    check_statistics(left.statistics, right.statistics, len(left.users), len(left.items), now)
    check_histories(left.histories, right.histories, len(left.users), now)
    for channel in left.channels:
        assert recalled(left.channels[channel], left, now) == recalled(
            right.channels[channel], right, now
        )
    for row in range(-1, len(left.users)):
        excluded = first.excluded(row, now), second.excluded(row, now)
        np.testing.assert_array_equal(*excluded)
    counts = [parts.rerank["explore"].appended() for parts in (left, right)]
    for name, values in counts[0].items():
        np.testing.assert_array_equal(values, counts[1][name])


@settings(max_examples=30)
@given(
    drawn=st.lists(st.one_of(event, event, change), min_size=1, max_size=25),
    cuts=st.sets(st.integers(1, 24), max_size=4),
    kept=st.integers(0, 25),
)
def test_views_do_not_depend_on_pages_reads_and_restarts(
    drawn: list[Any], cuts: set[int], kept: int
) -> None:
    """Entries at once; in pages, with a read after each; and from a snapshot in between."""
    entries: list[Entry] = []
    for one in drawn:
        entries += stream_of([one]).entries if isinstance(one, tuple) else [one]
    whole, paged, restored = ((parts := version(), Views(parts, END)) for _ in range(3))
    whole[1].apply(numbered(entries))
    bounds = [0, *sorted(c for c in cuts if c < len(entries)), len(entries)]
    for begin, end in itertools.pairwise(bounds):
        paged[1].apply(numbered(entries)[begin:end])
        user, now = np.arange(len(paged[0].users), dtype=np.int32), paged[1].earliest
        paged[0].statistics.users(user, np.full(len(user), now))
    equal_views(whole, paged)
    before = version()
    former = Views(before, END)
    former.apply(numbered(entries)[:kept])
    with tempfile.TemporaryDirectory() as folder:
        former.snapshot(Path(folder))
        restored[1].restore(Path(folder))
    restored[1].apply(numbered(entries))
    equal_views(whole, restored)


def test_new_sets_of_values_are_numbered_alike_in_features_and_statistics() -> None:
    """Sets that no item of the version has, of a later row first; as if each came alone."""
    parts, alone = version(), version()
    put = ItemPut(item_id="new1", columns={"genres": ["b", "c"]})
    changes = [put, ItemPatch(item_id="i0", columns={"genres": ["a", "c"]})]
    clicks = stream_of([("u0", i, "click", 0, 0, None) for i in ("new1", "new1", "i0")]).entries
    views = Views(parts, END), Views(alone, END)
    entries = numbered([changes[0], clicks[0], changes[1], *clicks[1:]])
    views[0].apply(entries)
    for one in entries:
        views[1].apply([one])
    np.testing.assert_array_equal(*(inputs_of(p, END + HOUR) for p in (parts, alone)))


def test_a_deleted_user_comes_back_without_a_past() -> None:
    parts = version()
    views = Views(parts, END)
    liked = stream_of([("u1", "i0", "like", 0, 0, None), ("n1", "i1", "click", 1, 0, None)])
    patched = UserPatch(user_id="n1", columns={"gender": "f"})
    deleted = [UserDelete(user_id="u1"), UserDelete(user_id="n1"), UserDelete(user_id="nobody")]
    views.apply(numbered([*liked.entries, patched, *deleted]))
    assert [views.user_row(u) for u in ("u1", "n1", "nobody")] == [-1, -1, -1]
    old = np.array([1, 3], np.int32)
    now = np.full(2, views.earliest)
    assert len(parts.histories.at(old, now).item) == 0
    unknown = np.full(2, -1, np.int32)
    columns = parts.statistics.users(old, now), parts.statistics.users(unknown, now)
    np.testing.assert_array_equal(*columns)
    assert parts.users.cells(3) == {}
    likes = parts.statistics.items(np.array([0], np.int32), now[:1])
    again = stream_of([("u1", "i3", "click", 5, 0, None)]).entries
    views.apply(numbered(again, first=100))
    row = views.user_row("u1")
    assert row == 4
    history = parts.histories.at(np.array([row], np.int32), np.array([views.earliest]))
    assert history.item.tolist() == [3]
    encoded = parts.space._fitted.users.ids
    assert encoded[row].tolist() == encoded[-1].tolist()  # the old id has no embedding any more
    columns = likes, parts.statistics.items(np.array([0], np.int32), now[:1])
    np.testing.assert_array_equal(*columns)  # what users did counts for items


def test_a_deleted_item_is_in_no_answer_until_it_is_put_or_patched() -> None:
    views = Views(version(), END)
    views.apply(
        numbered([ItemDelete(item_id="i1"), ItemHide(item_id="i2"), ItemDelete(item_id="x")])
    )
    assert views.excluded(0, END).tolist() == [1, 2, 4]
    assert "deleted" in str(views.why_excluded(0, END, 1))
    views.apply(numbered([ItemPatch(item_id="i1", columns={"author": "ann"})], first=4))
    assert views.excluded(0, END).tolist() == [2, 4]
    assert views.items.cells(1) == {"author": "ann"}, "nothing from before the deletion"
    shown = [ItemPatch(item_id="i1", columns={}), ItemShow(item_id="i2")]
    views.apply(numbered([*shown, ItemPut(item_id="x", columns={})], first=5))
    assert views.excluded(0, END).tolist() == []
    assert views.why_excluded(0, END, 1) is None


def test_items_of_authors_follow_their_changes() -> None:
    """Numbers of items: of publishing times that come, move and go, and of first events."""
    parts = version()
    views = Views(parts, END)
    stream = stream_of([("u0", i, "click", 0, 0, None) for i in ("i1", "new2", "i3")])
    changes = [
        ItemPatch(item_id="i1", columns={"author": "ann"}),  # no publishing time
        ItemPatch(item_id="i0", columns={"author": "bob", "published": END + DAY}),
        ItemPatch(item_id="i2", columns={"genres": ["c"]}),  # another column
        ItemPut(item_id="i2", columns={"author": "bob"}),  # no publishing time any more
        ItemPut(item_id="new1", columns=ITEM_CELLS["new1"]),
        ItemPut(item_id="new2", columns=ITEM_CELLS["new2"]),
    ]
    for one in numbered([*stream.entries, *changes]):
        views.apply([one])
    statistics, _, _ = offline(parts, stream.rows)
    code = np.tile(np.arange(2, dtype=np.int32), 2)
    time = np.repeat([END + HOUR, END + 2 * DAY], 2)
    live, built = (s._groups[0]._author.items(code, time) for s in (parts.statistics, statistics))
    assert live.tolist() == built.tolist() == [2, 2, 2, 3]


def failing_once(work: Any) -> Any:
    """`work`, of which the first call raises."""
    calls = itertools.count()

    def run(*given: Any) -> Any:
        if next(calls) == 0:
            raise MemoryError("no memory")
        return work(*given)

    return run


@pytest.mark.parametrize(
    ("part", "method", "position"),
    [
        (None, "count_rows", 1),  # the rows of the second run
        (None, "take_up", 2),
        ("statistics", "forget_user", 3),
    ],
)
def test_entries_that_fail_to_be_applied_are_applied_once(
    part: str | None, method: str, position: int
) -> None:
    events = stream_of([("u0", "i1", "like", 0, 0, 4.5), ("u1", "new1", "click", 1, 0, None)])
    put = ItemPut(item_id="new1", columns=ITEM_CELLS["new1"])
    entries = numbered([events.entries[0], put, events.entries[1], UserDelete(user_id="u0")])
    whole, broken = ((parts := version(), Views(parts, END)) for _ in range(2))
    whole[1].apply(entries)
    owner = broken[0] if part is None else getattr(broken[0], part)
    setattr(owner, method, failing_once(getattr(owner, method)))
    with pytest.raises(MemoryError):
        broken[1].apply(entries)
    assert broken[1].position == position
    broken[1].apply(entries)
    broken[1].apply([Numbered(5, ItemShow(item_id="i0"))])
    whole[1].apply([Numbered(5, ItemShow(item_id="i0"))])
    equal_views(whole, broken)


def test_an_event_that_one_view_could_not_take_is_not_counted_twice() -> None:
    whole, broken = ((parts := version(), Views(parts, END)) for _ in range(2))
    entries = numbered(stream_of([("u0", "i1", "like", 0, 0, 4.5)]).entries)
    whole[1].apply(entries)
    broken[0].histories.add = failing_once(broken[0].histories.add)
    with pytest.raises(MemoryError):
        broken[1].apply(entries)
    broken[1].apply(entries)
    now = whole[1].earliest + HOUR
    check_statistics(whole[0].statistics, broken[0].statistics, 3, 4, now)


def test_features_that_fail_to_take_up_new_items_keep_them_out_of_answers() -> None:
    parts = version()
    views = Views(parts, END)
    parts.space.update_items = failing_once(parts.space.update_items)
    put = [ItemPut(item_id="new1", columns={}), UserPut(user_id="n1", columns={"gender": "f"})]
    views.apply(numbered(put))
    assert views.excluded(0, END).tolist() == [4]
    assert parts.space.n_users == 4


def test_a_column_with_fractions_keeps_them_after_a_restart() -> None:
    """Also where the cell with the fraction is gone: of a deleted user, or overwritten."""
    live, again = version(), version()
    for parts in (live, again):
        frame = parts.users.frame.with_columns(age=pl.Series([20, 30, None]))
        parts.users = parts.users.with_frame(frame)
    views = Views(live, END), Views(again, END)
    puts = [UserPut(user_id="n1", columns={"age": 1.5}), UserDelete(user_id="n1")]
    puts += [UserPatch(user_id="u1", columns={"age": 7.5})]
    views[0].apply(numbered([*puts, UserPatch(user_id="u1", columns={"age": 8})]))
    with tempfile.TemporaryDirectory() as folder:
        views[0].snapshot(Path(folder))
        views[1].restore(Path(folder))
    assert live.users.schema["age"] == again.users.schema["age"] == pl.Float64
    assert live.users.frame.equals(again.users.frame)


def test_pages_are_as_long_as_the_time_that_is_left(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By a clock that moves by 1 ms for each entry that is applied."""
    parts = version()
    views, clock, apply = Views(parts, END), [0.0], Views.apply

    def slowly(self: Views, entries: Sequence[Numbered]) -> None:
        apply(self, entries)
        clock[0] += 0.001 * len(entries)

    monkeypatch.setattr("tamis.service.views.views.perf_counter", lambda: clock[0])
    monkeypatch.setattr(Views, "apply", slowly)
    journal = EmbeddedJournal(tmp_path / "journal.sqlite")
    journal.append([ItemHide(item_id=f"i{k % 4}") for k in range(500)])
    for budget in (0.02, 0.1, 0.02):
        began, before = clock[0], views.position
        lag = views.catch_up(journal, budget)
        assert lag == journal.head - views.position > 0
        assert views.position - before >= 20
        assert clock[0] - began <= 2 * budget
    assert views.catch_up(journal, float("inf")) == 0
    journal.close()


class TextsWithoutOne:
    """An index of texts that cannot encode that of one row."""

    def __init__(self, row: int) -> None:
        self.row, self.taken = row, list[int]()

    def update_items(self, items: Table, rows: Any, config: TextConfig) -> None:
        if self.row in rows:
            raise ValueError("no such letter")
        self.taken += rows.tolist()


def test_a_text_that_cannot_be_encoded_holds_up_no_other_item(
    caplog: pytest.LogCaptureFixture,
) -> None:
    parts, texts = version(), TextsWithoutOne(4)
    views = Views(parts, END)
    declared = CONFIG.items.model_copy(
        update={"text": TextConfig(columns=("author",), name="genres")}
    )
    parts.config = CONFIG.model_copy(update={"items": declared})
    parts.text = cast("Any", texts)
    views.apply(numbered([ItemPut(item_id=f"new{k}", columns={}) for k in (1, 2, 3)]))
    assert texts.taken == [5, 6]
    assert "the text of item 'new1' could not be encoded" in caplog.text
    assert parts.space.n_items == 7


class OwnFilter:
    """A filter of one's own that does not take up new items."""

    reason = "own"

    def excluded(self, queries: Queries) -> None:
        return None

    def keep(self, queries: Queries, candidates: Candidates) -> Any:
        return np.ones(len(candidates), np.bool_)


class Failing(OwnFilter):
    """One whose `update_items` fails."""

    def update_items(self, items: Table, rows: Any) -> None:
        raise ValueError("no such column")


@pytest.mark.parametrize("own", [OwnFilter(), Failing()])
def test_new_items_wait_where_a_filter_cannot_judge_them(own: Any) -> None:
    parts = version()
    views = Views(parts, END)
    put = ItemPut(item_id="new1", columns=ITEM_CELLS["new1"])
    views.apply(numbered([put]))
    assert views.excluded(0, END).tolist() == []
    parts.filters = {**parts.filters, "own": own}
    views.apply(numbered([ItemPut(item_id="new2", columns={})], first=2))
    assert views.excluded(0, END).tolist() == [4, 5]
    assert "update_items" in str(views.why_excluded(0, END, 4))
    assert views.why_excluded(0, END, 3) is None


def test_a_stage_that_takes_up_nothing_new_gets_no_row_beyond_the_version() -> None:
    parts = version()
    views = Views(parts, END)
    rows = [("n1", i, "click", 0, 0, None) for i in ("i1", "new1", "i2")]
    views.apply(numbered(stream_of(rows).entries))
    queries = queries_at(parts.histories, np.array([3], np.int32), np.array([END + DAY]))
    queries = queries.excluding(Ragged.of([np.array([0, 4], np.int32)]))
    known = KnownRows(users=3, items=4)
    asked = known.for_stage(OwnFilter(), queries)
    assert asked.user.tolist() == [-1]
    assert asked.history.item.tolist() == [1, 2]
    assert asked.history.indptr.tolist() == [0, 2]
    assert (asked.exclude.indptr.tolist(), asked.exclude.values.tolist()) == ([0, 1], [0])
    assert known.for_stage(parts.filters["exposed"], queries) is queries
    one = queries_at(parts.histories, np.array([0], np.int32), np.array([END + DAY]))
    for exclude, left in (([0, 4], [0]), ([1], [1]), ([0, 4], [0])):
        again = one.excluding(Ragged.of([np.array(exclude, np.int32)]))
        for _ in range(2):
            assert known.for_stage(OwnFilter(), again).exclude.values.tolist() == left


def bytes_held(*roots: object) -> int:
    """Bytes of everything that objects refer to, but code."""
    stack, seen, total = list(roots), set[int](), 0
    while stack:
        one = stack.pop()
        code = isinstance(one, type | ModuleType | FunctionType | BuiltinFunctionType | MethodType)
        if code or id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, np.ndarray):
            total += one.nbytes if one.base is None else 0
            stack.append(one.base)
        else:
            total += sys.getsizeof(one)
            stack += gc.get_referents(one)
    return total


def test_memory_grows_with_events_and_not_with_time_or_reads() -> None:
    parts = version()
    views = Views(parts, END)
    n, everybody = 4_000, np.arange(3, dtype=np.int32)
    held = partial(bytes_held, views, parts.statistics, parts.histories, parts.users, parts.items)

    def more(days: int) -> int:
        """Applies `n` events of known users and items over some days; bytes held after them."""
        pause, shift = days * DAY // n, views.earliest - END
        rows = [(USERS[k % 3], ITEMS[k % 4], NAMES[k % 3], pause, 0, None) for k in range(n)]
        moved = [
            msgspec.structs.replace(e, time=e.time + shift, arrival=e.arrival + shift)
            for e in stream_of(rows).entries
            if isinstance(e, Event)
        ]
        views.apply(numbered(moved, views.position + 1))
        return held()

    def read(days: int) -> int:
        """Reads as requests on so many days do; bytes held after them."""
        for day in range(days):
            now = np.full(3, views.earliest + day * DAY)
            parts.statistics.users(everybody, now)
            parts.statistics.items(everybody, now)
            views.excluded(1, int(now[0]))
            parts.histories.at(everybody, now, last=20)
        return held()

    read(days=1)  # columns that are kept for the next read
    at_first, in_a_day, in_a_year = held(), more(days=1), more(days=365)
    assert 20 * n <= in_a_day - at_first <= 120 * n  # bytes per event, spare rows included
    assert in_a_year - in_a_day <= 120 * n
    assert read(days=300) == read(days=1)
