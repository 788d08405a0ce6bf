"""The contract of a recall channel, as a check for any channel."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.cascade import (
    Channel,
    Context,
    EmbedsItems,
    Explains,
    FitContext,
    FollowsItems,
    FollowsUsers,
    GivesReasons,
    Queries,
    Recalled,
)
from tamis.data import UNKNOWN, Dataset, Events, Ragged, Table
from tamis.features import History
from tamis.schema import Behaviour, TableConfig, TamisError
from tamis.testing._components import check_component, refuses_unfitted
from tamis.testing._following import after_changes

DAY_MS = 86_400_000
_START = 1_700_000_000_000
_CLANS = ("even", "odd")
_CITIES = ("Paris", "Tokyo")
_PLACES = np.array([[48.8566, 2.3522], [35.6762, 139.6503]])
"""Latitude and longitude of the two cities."""

CONTEXT = FitContext(
    seed=7,
    items=TableConfig(
        path="items.csv",
        id="id",
        category="category",
        author="author",
        published="published",
        latitude="latitude",
        longitude="longitude",
        city="city",
    ),
    users=TableConfig(path="users.csv", id="id", city="city"),
)
"""What a project of the two clans declares."""


def check_channel(
    make: Callable[[], Channel],
    *,
    personalised: bool = True,
    load: Callable[[Path], Channel] | None = None,
) -> None:
    """Raises AssertionError naming the rule that a channel breaks.

    Args:
        make: returns a new, unfitted channel. It is called several times, and the channels are
            fitted on `two_clans`: two groups of users, each with its own items and category, with
            the column roles of `CONTEXT`.
        personalised: whether the channel should separate the groups; False for channels like hot.
        load: opens a saved channel; None: `load` of its class. Needed for a channel that wraps
            another one, which the stage registry loads.
    """
    check_component(make)
    data = two_clans()
    channel = make().fit(data, CONTEXT)
    queries = queries_of(data)
    for k in (1, 5, len(data.items) + 3):
        _check_shape(channel.recall(queries, k), queries, len(data.items), k)
    _check_prefix(channel, queries)
    _check_batch_is_single(channel, queries)
    _check_saved(make, channel, queries, load)
    _check_refit(make, channel, data, queries)
    _check_unfitted_and_empty(make, data)
    if personalised:
        _check_clans(channel, data)
    if isinstance(channel, Explains):
        _check_because(channel, queries)
    if isinstance(channel, GivesReasons):
        _check_reason(channel, queries)
    _check_new_rows(channel, data)


def two_clans(users: int = 24, items: int = 16, seed: int = 3) -> Dataset:
    """A log with two groups of users: even users like even items, odd users like odd items.

    Each user has liked about half of the group's items, one a day, and has dismissed one
    item of the other group (an event that is not positive). Columns: users' `taste` and items'
    `category` are the group, which has two `author`s and one `city` (the users' too; `latitude` and
    `longitude` of items lie in it); items' `price` is a number. Item i was `published` i + 1 days
    before the log begins.
    """
    random = np.random.default_rng(seed)
    likes = [(u, i) for u in range(users) for i in range(items) if (u + i) % 2 == 0]
    likes = [pair for pair in likes if random.random() < 0.55 or pair[1] // 2 == pair[0] // 2]
    others = [(u, (u + 1) % 2) for u in range(users)]
    pairs = np.array(likes + others, dtype=np.int32)
    kind = np.repeat(np.array([0, 1], np.uint8), [len(likes), len(others)])
    order = random.permutation(len(pairs))
    time = _START + np.arange(len(pairs), dtype=np.int64) * DAY_MS // 8
    n = len(pairs)
    events = Events(
        user=pairs[order, 0],
        item=pairs[order, 1],
        behaviour=kind[order],
        time=time,
        arrival=time,
        value=np.full(n, np.nan, np.float32),
        request=np.full(n, -1, np.int64),
        position=np.zeros(n, np.int16),
    )
    return Dataset(
        _users_table(users),
        _items_table(items),
        events,
        (Behaviour(name="like", positive=True, weight=1.0), Behaviour(name="click", weight=0.0)),
    )


def _users_table(n: int) -> Table:
    clan = np.arange(n) % 2
    return _table(
        "users", n, taste=pl.Series(_CLANS).gather(clan), city=pl.Series(_CITIES).gather(clan)
    )


def _items_table(n: int) -> Table:
    row = np.arange(n)
    clan = row % 2
    return _table(
        "items",
        n,
        category=pl.Series(_CLANS).gather(clan),
        price=pl.Series(row.astype(np.float64)),
        author=pl.Series([f"{_CLANS[c]} {(r // 2) % 2}" for r, c in zip(row, clan, strict=True)]),
        published=pl.Series(_START - (row + 1) * DAY_MS),
        latitude=pl.Series(_PLACES[clan, 0] + row * 1e-4),
        longitude=pl.Series(_PLACES[clan, 1] - row * 1e-4),
        city=pl.Series(_CITIES).gather(clan),
    )


def queries_of(data: Dataset) -> Queries:
    """One query per user at the end of the data, then an unknown user, then one without history.

    Each query excludes the items that its user has seen, except for every third, which excludes
    none. The users' requests give place, city and category of their group; the last two give none.
    """
    events, n_users = data.events, len(data.users)
    lists = [np.flatnonzero(events.user == u) for u in range(n_users)]
    lists += [np.zeros(0, np.int64)] * 2
    at = np.concatenate(lists)
    seen = [
        np.unique(events.item[x]).astype(np.int32) if q % 3 else np.zeros(0, np.int32)
        for q, x in enumerate(lists)
    ]
    user = np.array([*range(n_users), UNKNOWN, 0], np.int32)
    history = History(
        np.concatenate([[0], np.cumsum([len(x) for x in lists])]).astype(np.int64),
        events.item[at],
        events.behaviour[at],
        events.time[at],
        events.value[at],
    )
    time = np.full(len(user), data.end, np.int64)
    return Queries(user, time, history, Ragged.of(seen), _context(n_users))


def _context(n_users: int) -> Context:
    clan = np.arange(n_users) % 2
    nowhere = np.full((2, 2), np.nan)
    place = np.concatenate([_PLACES[clan], nowhere])
    return Context(
        place[:, 0],
        place[:, 1],
        (*(_CITIES[c] for c in clan), None, None),
        (*((_CLANS[c],) for c in clan), (), ()),
    )


def one_query(queries: Queries, q: int) -> Queries:
    """The q-th query alone."""
    history = queries.history
    span = slice(history.indptr[q], history.indptr[q + 1])
    columns: dict[str, NDArray[Any]] = {
        name: column[span] for name, column in vars(history).items() if name != "indptr"
    }
    indptr = np.array([0, span.stop - span.start], np.int64)
    return replace(
        queries,
        user=queries.user[q : q + 1],
        time=queries.time[q : q + 1],
        history=History(indptr=indptr, **columns),
        exclude=Ragged.of([queries.exclude[q]]),
        context=None if queries.context is None else queries.context.take([q]),
    )


def _table(name: str, n: int, **columns: pl.Series) -> Table:
    return Table(
        name, pl.Series("id", [f"{name[0]}{row}" for row in range(n)]), pl.DataFrame(columns)
    )


def _check_shape(found: Recalled, queries: Queries, n_items: int, k: int) -> None:
    item, score = found.item, found.score
    assert item.shape == score.shape == (len(queries), k), (
        f"recall(queries, {k}) of {len(queries)} queries must answer ({len(queries)}, {k}) arrays, "
        f"not item {item.shape} and score {score.shape}"
    )
    assert item.dtype == np.int32, f"items must be int32, not {item.dtype}"
    assert score.dtype == np.float32, f"scores must be float32, not {score.dtype}"
    assert ((item >= -1) & (item < n_items)).all(), f"items must be rows below {n_items}, or -1"
    assert (np.isneginf(score) == (item == -1)).all(), "padding is item -1 with score -inf"
    assert not np.isnan(score).any(), "a score is NaN"
    for q in range(len(queries)):
        real = item[q][item[q] >= 0]
        assert (item[q, : len(real)] >= 0).all(), f"query {q}: padding stands before an item"
        assert len(np.unique(real)) == len(real), f"query {q}: an item comes twice: {real}"
        refused = np.intersect1d(real, queries.exclude[q])
        assert not len(refused), f"query {q}: excluded items were recalled: {refused}"
        falling = score[q, : len(real)]
        assert (np.diff(falling) <= 0).all(), f"query {q}: scores rise along the list: {falling}"


def _check_prefix(channel: Channel, queries: Queries) -> None:
    """A smaller k gives the head of the longer list."""
    few, many = channel.recall(queries, 3), channel.recall(queries, 6)
    _same(few, Recalled(many.item[:, :3], many.score[:, :3]), "k = 3 is not the head of k = 6")


def _check_batch_is_single(channel: Channel, queries: Queries) -> None:
    batch = channel.recall(queries, 5)
    for q in range(len(queries)):
        alone = channel.recall(one_query(queries, q), 5)
        here = Recalled(batch.item[q : q + 1], batch.score[q : q + 1])
        _same(alone, here, f"query {q} is answered differently alone and in a batch")


def _check_saved(
    make: Callable[[], Channel],
    channel: Channel,
    queries: Queries,
    load: Callable[[Path], Channel] | None,
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / "channel"
        channel.save(saved)
        config = getattr(make(), "config", None)
        loaded = type(channel).load(saved, config) if load is None else load(saved)
        _same(
            loaded.recall(queries, 5), channel.recall(queries, 5), "save and load changed answers"
        )
        assert loaded.name == channel.name, f"load changed the name to {loaded.name!r}"


def _check_refit(
    make: Callable[[], Channel], channel: Channel, data: Dataset, queries: Queries
) -> None:
    """A second fit, even after other data, equals a first fit."""
    before = channel.recall(queries, 5)
    half = replace(data, events=data.events.take(slice(0, len(data.events) // 2)))
    again = make().fit(half, CONTEXT).fit(data, CONTEXT)
    _same(again.recall(queries, 5), before, "a second fit is not the fit of a new channel")


def _check_unfitted_and_empty(make: Callable[[], Channel], data: Dataset) -> None:
    """Recall before fit raises NotFittedError; a log without events is refused or finds nothing."""
    refuses_unfitted(lambda: make().recall(queries_of(data), 3), "recall")
    empty = replace(data, events=data.events.take(slice(0, 0)))
    try:
        found = make().fit(empty, CONTEXT).recall(queries_of(empty), 3)
    except TamisError:
        return
    _check_shape(found, queries_of(empty), len(data.items), 3)


def _check_clans(channel: Channel, data: Dataset) -> None:
    """Users of the even group get even items first, those of the odd group odd items."""
    queries = queries_of(data)
    everything = replace(queries, exclude=Ragged.empty(len(queries)))
    best = channel.recall(everything, 3)
    for u in range(len(data.users)):
        clan = best.item[u][best.item[u] >= 0] % 2
        assert len(clan), f"user {u} has liked items, and nothing was recalled"
        assert (clan == u % 2).all(), (
            f"user {u} likes items of clan {u % 2} only, and was recalled {best.item[u]}"
        )


def _check_because(channel: Channel, queries: Queries) -> None:
    """A reason, where there is one, is an item of the user's history."""
    assert isinstance(channel, Explains)
    found = channel.recall(queries, 2)
    for q in range(len(queries)):
        alone = one_query(queries, q)
        for item in found.item[q][found.item[q] >= 0].tolist():
            reason = channel.because(alone, item)
            assert reason is None or reason in alone.history.item, (
                f"query {q}: item {item} is explained by {reason}, which the user never met"
            )


def _check_reason(channel: Channel, queries: Queries) -> None:
    """A reason is a text, or None."""
    assert isinstance(channel, GivesReasons)
    found = channel.recall(queries, 2)
    for q in range(len(queries)):
        for item in found.item[q][found.item[q] >= 0].tolist():
            reason = channel.reason(one_query(queries, q), item)
            assert reason is None or (isinstance(reason, str) and reason), (
                f"query {q}: the reason of item {item} must be a text or None, not {reason!r}"
            )


def _check_new_rows(channel: Channel, data: Dataset) -> None:
    """Users and items that the channel does not know yet do no harm; known ones stay recalled."""
    (items, new), (users, people) = after_changes(data.items), after_changes(data.users)
    queries = with_new_rows(queries_of(data), len(data.users), len(data.items))
    k = len(items) + 3
    if not isinstance(channel, FollowsItems):  # a service asks it about known rows only
        return
    before = channel.recall(queries, k)
    _check_shape(before, queries, len(data.items), k)
    channel.update_items(items, new)
    if isinstance(channel, FollowsUsers):
        channel.update_users(users, people)
    after = channel.recall(queries, k)
    _check_shape(after, queries, len(items), k)
    assert (after.item >= 0).any() or not (before.item >= 0).any(), (
        "after update_items and update_users, nothing is recalled"
    )
    if isinstance(channel, EmbedsItems):
        known = len(channel.item_vectors())
        assert known >= len(data.items), f"item_vectors has {known} of {len(data.items)} items"


def with_new_rows(queries: Queries, users: int, items: int) -> Queries:
    """The same queries by two new users in turn, whose histories end with two new items."""
    history, n = queries.history, len(queries)
    ends = np.repeat(history.indptr[1:], 2)
    last = np.maximum(len(history.item) - 1, 0)
    at = np.insert(np.arange(len(history.item)), ends, last)
    columns: dict[str, NDArray[Any]] = {
        name: column[at] for name, column in vars(history).items() if name != "indptr"
    }
    new = np.zeros(len(at), np.bool_)
    new[ends + np.arange(2 * n)] = True
    columns["item"] = columns["item"].copy()
    columns["item"][new] = np.tile(np.array([items + 1, items], np.int32), n)
    columns["behaviour"] = np.where(new, 0, columns["behaviour"]).astype(np.uint8)
    columns["time"] = np.where(new, np.repeat(queries.time - 1, 2).max(), columns["time"])
    indptr = history.indptr + 2 * np.arange(n + 1)
    user = users + np.arange(n, dtype=np.int32) % 2
    return replace(queries, user=user.astype(np.int32), history=History(indptr=indptr, **columns))


def _same(a: Recalled, b: Recalled, law: str) -> None:
    """Equal lists; scores may differ by rounding, and so may the order of items that nearly tie."""
    real_a, real_b = np.where(a.item < 0, 0, a.score), np.where(b.item < 0, 0, b.score)
    scale = max(1e-6, float(np.abs(real_b).max(initial=0)))
    close = np.abs(real_a - real_b) <= 1e-5 * scale
    assert ((a.item < 0) == (b.item < 0)).all(), f"{law}: {a.item} against {b.item}"
    assert close.all(), f"{law}: scores {a.score} against {b.score}"
    for q in np.flatnonzero((a.item != b.item).any(axis=1)):
        for place in np.flatnonzero(a.item[q] != b.item[q]):
            ties = np.abs(real_b[q] - real_b[q, place]) <= 1e-5 * scale
            assert ties.sum() > 1 or place == a.item.shape[1] - 1, (
                f"{law}: query {q}: {a.item[q]} against {b.item[q]}"
            )
