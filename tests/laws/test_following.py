"""What a stage takes up while it serves equals what a fit on the later tables reads."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamis.cascade import Queries
from tamis.data import Labels, Ragged, Table
from tamis.features import History
from tamis.filters import AttributeFilter
from tamis.rerank._categories import ItemCategories
from tamis.schema import ChannelConfig
from tamis.service import registry
from tamis.testing import check_filter, queries_of, two_clans
from tamis.testing._following import after_changes
from tamis.testing.channels import CONTEXT

WORDS = st.lists(st.sampled_from(["a", "b", "c", "d", "E", "e"]), max_size=3)


@st.composite
def changed_lists(draw):
    """Lists of words before and after some of them changed and others were added at the end."""
    before = draw(st.lists(WORDS, max_size=6))
    after = before + draw(st.lists(WORDS, max_size=4))
    for row in draw(st.sets(st.integers(0, max(len(before) - 1, 0)), max_size=3)):
        if row < len(before):
            after[row] = draw(WORDS)
    changed = [k for k, words in enumerate(after) if k >= len(before) or words != before[k]]
    return before, after, np.array(changed, np.int32)


def column(lists) -> pl.Series:
    return pl.Series("words", lists, pl.List(pl.String))


@given(changed_lists())
def test_labels_after_changes_are_those_of_all_rows(lists):
    before, after, rows = lists
    changed = Labels.of(column([after[row] for row in rows]))
    found, new = Labels.of(column(before)).replaced(rows, changed, len(after))
    expected = Labels.of(column(after))
    assert found.indptr.tolist() == expected.indptr.tolist()
    assert found.names[found.code].tolist() == expected.names[expected.code].tolist()
    assert sorted(found.names) == list(found.names)
    assert set(expected.names) <= set(found.names)
    former = Labels.of(column(before)).names
    assert found.names[new].tolist() == former.tolist()


@given(changed_lists())
def test_ragged_lists_after_changes(lists):
    before, after, rows = lists
    as_rows = [np.array([len(w) + ord(w[0]) for w in words], np.int32) for words in after]
    old = Ragged.of([np.array([len(w) + ord(w[0]) for w in x], np.int32) for x in before])
    found = old.replaced(rows, Ragged.of([as_rows[row] for row in rows]), len(after))
    expected = Ragged.of(as_rows)
    assert found.indptr.tolist() == expected.indptr.tolist()
    assert found.values.tolist() == expected.values.tolist()


@given(changed_lists())
def test_categories_after_changes_are_those_of_all_rows(lists):
    before, after, rows = lists

    def read(words) -> ItemCategories:
        ids = pl.Series([str(k) for k in range(len(words))], dtype=pl.String)
        return ItemCategories.read(Table("items", ids, pl.DataFrame([column(words)])), "words")

    found = read(before).replaced(rows, read([after[row] for row in rows]), len(after))
    for i, words in enumerate(after):
        assert set(found.names[found.of[i]]) == set(words)


def test_the_suite_detects_a_filter_that_does_not_take_up_changes():
    class Stale(AttributeFilter):
        def update_items(self, items, rows):
            mask = self.arrays["mask"]
            self._arrays = {"mask": np.append(mask, [True] * (len(items) - len(mask)))}

    with pytest.raises(AssertionError, match="after update_items, Stale gives other verdicts"):
        check_filter(lambda: Stale(column="category", op="==", value="even"))


def test_a_changed_table_keeps_the_rows_of_its_ids():
    table = Table("items", pl.Series(["x", "y"]), pl.DataFrame({"price": [1.0, 2.0]}))
    part = table.part(np.array([1], np.int32))
    assert part.ids.to_list() == ["y"]
    assert part.frame["price"].to_list() == [2.0]


# channels that read the tables


LISTS = {
    "again": ({"weights": "declared", "half_life": 5.0, "due": 1.0, "repeat_rate": 1.0},),
    "author": (
        {},
        {"source": "followed", "behaviours": ["like"]},
        {"source": "similar", "order": "newest"},
    ),
    "city": ({}, {"new_item_weight": 0.0}),
    "declared_interests": ({}, {"columns": ["category", "author"], "user_column": "taste"}),
    "demographic": ({"min_users": 5}, {"min_users": 5, "columns": ["taste", "city"]}),
    "fresh": ({"max_age": 90.0},),
    "geohash": ({}, {"precision": 6, "coarsest": 1}),
    "hot": ({}, {"by": "category"}, {"by": "city"}, {"by": "audience", "column": "taste"}),
    "rules": (
        {"rule": [{"name": "cheap", "where": "price < 9", "sort": "price asc"}]},
        {"rule": [{"name": "yours", "same": "category", "sort": "published desc"}]},
        {"rule": [{"name": "named", "sort": "author asc", "max_age": 30}]},
    ),
}
"""Channels whose answers about the changed rows follow from the tables alone."""


LEARNT = {"author source=similar", "demographic", "hot by=city", "hot by=audience"}
"""Those that learn which items the users of a city, or the fans of an author, like: what they have
learnt of a known user or item stays when his city, or its author, changes."""


def listed():
    for name, several in LISTS.items():
        for options in several:
            first = next((f" {k}={v}" for k, v in options.items() if isinstance(v, str)), "")
            learnt = bool(LEARNT & {name, name + first})
            yield pytest.param(name, options, learnt, id=f"{name} {options}")


def with_other_values(data, only_new):
    """The tables after changes, among them new cities, authors and categories; and the rows."""
    items, rows = after_changes(data.items)
    if only_new:
        known = pl.concat([data.items.frame, items.frame[-2:]])
        items, rows = Table("items", items.ids, known), rows[1:]
    n = len(data.items)
    new = pl.Series(range(n + 2)) == n
    other = [pl.when(new).then(pl.lit("new")).otherwise(c).alias(c) for c in WORDS_OF_ITEMS]
    places = [
        pl.when(new).then(pl.lit(v)).otherwise(c).alias(c)
        for c, v in (("latitude", 48.9), ("longitude", 2.4))
    ]
    born = pl.when(new).then(pl.lit(data.end - DAY)).otherwise("published").alias("published")
    items = Table("items", items.ids, items.frame.with_columns(*other, *places, born))
    users, people = after_changes(data.users)
    if only_new:
        known = pl.concat([data.users.frame, users.frame[-2:]])
        users, people = Table("users", users.ids, known), people[1:]
    fresh = pl.Series(range(len(users))) == len(data.users)
    home = [pl.when(fresh).then(pl.lit("new")).otherwise(c).alias(c) for c in ("city", "taste")]
    return (items, rows), (Table("users", users.ids, users.frame.with_columns(*home)), people)


WORDS_OF_ITEMS = ("category", "author", "city")
DAY = 86_400_000


def asked(data, users: int) -> Queries:
    """The queries of two clans, and those of new users whose histories hold the new items."""
    given = queries_of(data)
    n, item = len(given), len(data.items)
    count = np.diff(given.history.indptr)
    again = np.concatenate(
        [
            np.arange(a, b)
            for a, b in zip(given.history.indptr, given.history.indptr[1:], strict=False)
        ]
    )
    columns = {
        name: np.concatenate([values, values[again], values[:2]])
        for name, values in vars(given.history).items()
        if name != "indptr"
    }
    columns["item"][-2:], columns["behaviour"][-2:] = [item, item + 1], 0
    columns["time"][-2:] = data.end - DAY
    bounds = np.concatenate([[0], np.cumsum([*count, *count[:-1], count[-1] + 2])])
    history = History(bounds.astype(np.int64), **columns)
    user = np.concatenate([given.user, np.where(given.user < 0, -1, users + given.user % 2)])
    context = given.context.take([*range(n), *range(n)])
    context = replace(context, interests=(*context.interests[:n], *((("new",),) * n)))
    context = replace(context, city=(*context.city[:n], *((None,) * (n - 1)), "new"))
    latitude, longitude = context.latitude.copy(), context.longitude.copy()
    latitude[n:-1], longitude[n:-1] = np.nan, np.nan
    context = replace(context, latitude=latitude, longitude=longitude)
    exclude = Ragged.of([given.exclude[q] for q in range(n)] * 2)
    return Queries(user.astype(np.int32), np.tile(given.time, 2), history, exclude, context)


@pytest.mark.parametrize(("name", "options", "learnt"), list(listed()))
def test_a_channel_takes_up_changes_as_if_it_had_been_fitted_after_them(
    name, options, learnt, tmp_path
):
    data = two_clans()
    (items, rows), (users, people) = with_other_values(data, only_new=learnt)
    declared = ChannelConfig(**options)
    registry.build("recall", name, declared).fit(data, CONTEXT).save(tmp_path)
    channel = registry.load("recall", name, declared, tmp_path)
    queries = asked(data, len(data.users))
    before = channel.recall(queries, 30)  # rows that are not known yet do no harm
    assert before.item.max() < len(data.items)
    channel.update_items(items, rows)
    channel.update_users(users, people)
    expected = registry.build("recall", name, declared)
    expected.fit(replace(data, items=items, users=users), CONTEXT)
    found, wanted = channel.recall(queries, 30), expected.recall(queries, 30)
    assert found.item.tolist() == wanted.item.tolist()
    np.testing.assert_array_equal(found.score, wanted.score)


# channels with vectors of the items


def with_twins(data) -> tuple[Table, np.ndarray]:
    """The items and two new ones, which have the columns of items 0 and 1, but other numbers."""
    frame = pl.concat([data.items.frame, data.items.frame[:2]])
    ids = pl.concat([data.items.ids, pl.Series(data.items.ids.name, ["twin 0", "twin 1"])])
    rows = np.arange(len(data.items), len(data.items) + 2, dtype=np.int32)
    return Table("items", ids, frame), rows


MOVING = {"embedding_dim": 8, "epochs": 30, "batch_size": 32, "histories": "behaviours"}
VECTORS = {
    "content": {"columns": ["category", "author", "price"]},
    "fm": {"embedding_dim": 8, "epochs": 30, "batch_size": 32, "statistics": "both"},
    "fm with histories": MOVING | {"use": "fm", "statistics": "both"},
    "fm without ids": {
        "use": "fm",
        "epochs": 30,
        "batch_size": 32,
        "item_id_dropout": 0.5,
        "histories": "declared",
    },
    "two_tower": {"embedding_dim": 8, "epochs": 60, "item_id_dropout": 0.5, "start": "random"},
}


@pytest.fixture(scope="module", params=VECTORS)
def loaded(request, tmp_path_factory):
    """(channel, log, items with twins, their rows): saved, loaded and updated."""
    name, folder = request.param, tmp_path_factory.mktemp(request.param)
    declared, data = ChannelConfig(**VECTORS[name]), two_clans()
    registry.build("recall", name, declared).fit(data, CONTEXT).save(folder)
    channel = registry.load("recall", name, declared, folder)
    before = channel.item_vectors().copy()
    items, rows = with_twins(data)
    channel.update_items(items, rows)
    return channel, data, rows, before


def test_a_new_item_has_the_vector_of_its_content(loaded):
    channel, data, rows, before = loaded
    vectors = channel.item_vectors()
    assert (vectors[: len(data.items)] == before).all()
    assert vectors[rows].any(axis=1).all()
    if channel.name == "content":
        assert (vectors[rows] == before[:2]).all()  # bit for bit
    gathered, place = channel.vectors_of(np.array([3, *rows], np.int32))
    assert (gathered[place] == vectors[[3, *rows]]).all()


def test_a_new_item_is_recalled_for_users_who_like_its_content(loaded):
    channel, data, rows, _ = loaded
    queries = queries_of(data)
    n = len(data.users)
    found = channel.recall(queries, len(data.items) + 2).item[:n]
    clan = np.arange(n) % 2
    at = np.array([[np.flatnonzero(q == row)[0] for row in rows] for q in found])
    own, other = at[np.arange(n), clan], at[np.arange(n), 1 - clan]
    assert (own < other).mean() > 0.9


def test_an_item_that_changes_has_the_vector_of_its_columns(loaded):
    channel, data, rows, before = loaded
    items, _ = with_twins(data)
    some = np.arange(len(data.items), dtype=np.int32)
    channel.update_items(items, some)  # with the columns that they had at the fit
    np.testing.assert_allclose(channel.item_vectors()[some], before, atol=1e-5)
    later = pl.concat([items.frame[:-1], items.frame[:1]])  # the second twin joins the other clan
    channel.update_items(Table("items", items.ids, later), rows[1:])
    vectors = channel.item_vectors()[rows]
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-5)


def test_items_that_come_together_or_one_by_one_are_the_same(loaded, tmp_path):
    channel, data, rows, _ = loaded
    items, _ = with_twins(data)
    channel.update_items(items, rows)
    together = channel.item_vectors()[rows]
    for row in rows:
        channel.update_items(items, np.array([row], np.int32))
    assert (channel.item_vectors()[rows] == together).all()  # bit for bit


def test_a_like_of_a_new_item_counts_for_the_user(loaded):
    channel, data, rows, _ = loaded
    items, _ = with_twins(data)
    channel.update_items(items, rows)  # as another test may have changed a twin
    given = np.array([*range(len(data.items)), *rows], np.int32)
    n = len(given)
    history = History(
        np.arange(n + 1, dtype=np.int64),
        given,
        np.zeros(n, np.uint8),
        np.full(n, data.end - DAY, np.int64),
        np.full(n, np.nan, np.float32),
    )
    time, nothing = np.full(n, data.end, np.int64), Ragged.of([rows[:0]] * n)
    asked = Queries(np.full(n, -1, np.int32), time, history, nothing, None)
    if channel.name == "content":
        found = channel.recall(asked, 2).item
        assert (np.sort(found[:2]) == np.sort(found[-2:])).all()  # as those of its twins
        return
    vectors = channel.user_vectors(asked)
    for clan, vector in enumerate(vectors[-2:]):
        same = np.flatnonzero((vectors[:-2] == vector).all(axis=1))
        assert same.size > 0, "it counts as the most similar item that the fit knew"
        assert (same % 2 == clan).all()


@pytest.mark.parametrize("name", ["fm", "two_tower"])
def test_a_new_user_has_the_vector_of_his_attributes(name, tmp_path):
    declared, data = ChannelConfig(**VECTORS[name] | {"statistics": "none"}), two_clans()
    registry.build("recall", name, declared).fit(data, CONTEXT).save(tmp_path)
    channel = registry.load("recall", name, declared, tmp_path)
    users = Table(
        "users",
        pl.concat([data.users.ids, pl.Series(data.users.ids.name, ["new"])]),
        pl.concat([data.users.frame, data.users.frame[:1]]),
    )
    queries = queries_of(data)
    n = len(data.users)
    asked = replace(queries, user=np.array([0, n, n + 1] + [-1] * (len(queries) - 3), np.int32))
    empty = History(np.zeros(len(queries) + 1, np.int64), *(np.zeros(0, t) for t in HISTORY))
    asked = replace(asked, history=empty)
    channel.update_users(users, np.array([n], np.int32))
    found = channel.user_vectors(asked)
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)
    assert not np.allclose(found[1], found[2], atol=1e-3)  # a user beyond is unknown


HISTORY = (np.int32, np.uint8, np.int64, np.float32)
