"""List channels against results computed by hand or by definition."""

import math
import tomllib
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.cascade import Context, FitContext, Queries
from tamis.data import Dataset, Events, Follows, Ragged, Table
from tamis.features import History
from tamis.recall import Author, City, DeclaredInterests, Demographic, Fresh, Geohash, Hot, Rules
from tamis.recall._common.postings import ListSelection, Postings, best_of_lists
from tamis.schema import Behaviour, ChannelConfig, ConfigError, TableConfig
from tamis.service import registry

DAY = 86_400_000
NOW = 1_700_000_000_000
"""ms; the log of every test ends one ms later."""
BEHAVIOURS = (
    Behaviour(name="like", positive=True),
    Behaviour(name="buy", positive=True, weight=3.0),
    Behaviour(name="follow", weight=0.0),
    Behaviour(name="show", impression=True, weight=0.0),
)
LIKE, BUY, FOLLOW, SHOW = range(4)
ROLES = {
    "category": "category",
    "author": "author",
    "published": "published",
    "latitude": "latitude",
    "longitude": "longitude",
    "city": "city",
}


def log(events, items, users=None) -> Dataset:
    """events: (user, item, behaviour, days ago); items, users: columns."""
    frame = pl.DataFrame(items)
    people = pl.DataFrame(users or {"x": [0] * (1 + max((e[0] for e in events), default=0))})
    events = sorted(events, key=lambda e: -e[3])
    user, item, behaviour, ago = (np.array(x) for x in zip(*events, strict=True))
    time = (NOW - ago * DAY).astype(np.int64)
    n = len(events)
    return Dataset(
        Table("users", pl.Series([f"u{k}" for k in range(people.height)]), people),
        Table("items", pl.Series([f"i{k}" for k in range(frame.height)]), frame),
        Events(
            user.astype(np.int32),
            item.astype(np.int32),
            behaviour.astype(np.uint8),
            time,
            time,
            np.full(n, np.nan, np.float32),
            np.full(n, -1, np.int64),
            np.zeros(n, np.int16),
        ),
        BEHAVIOURS,
    )


def roles(data: Dataset) -> FitContext:
    """A context in which every column with the name of a role has this role."""
    named = {k: v for k, v in ROLES.items() if v in data.items.frame.columns}
    city = "city" if "city" in data.users.frame.columns else None
    return FitContext(
        items=TableConfig(path="i", id="id", **named),
        users=TableConfig(path="u", id="id", city=city),
    )


def fit(channel, data):
    return channel.fit(data, roles(data))


def ask(*histories, user=-1, time=NOW, exclude=(), context=None) -> Queries:
    """One query per history of (item, behaviour) pairs, oldest first."""
    q = len(histories)
    events = [event for past in histories for event in past]
    history = History(
        np.concatenate([[0], np.cumsum([len(p) for p in histories])]).astype(np.int64),
        np.array([e[0] for e in events], np.int32),
        np.array([e[1] for e in events], np.uint8),
        np.full(len(events), NOW - DAY, np.int64),
        np.full(len(events), np.nan, np.float32),
    )
    lists = Ragged.of([np.array(sorted(exclude), np.int32)] * q)
    return Queries(np.full(q, user, np.int32), np.full(q, time, np.int64), history, lists, context)


def request_context(interests=(), city=None, place=(math.nan, math.nan)) -> Context:
    return Context(
        np.array([place[0]], float), np.array([place[1]], float), (city,), (tuple(interests),)
    )


def items(found, q=0) -> list[int]:
    return [i for i in found.item[q].tolist() if i >= 0]


# postings


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9), st.integers(-4, 4)), max_size=30),
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4)), max_size=4, unique_by=lambda x: x[0]),
    st.sets(st.integers(0, 9)),
    st.integers(1, 12),
)
def test_best_of_lists_merges_the_selected_lists(triples, chosen, refused, k):
    triples = list({(t[0], t[1]): t for t in triples}.values())
    columns = np.array(triples, np.int64).reshape(-1, 3).T
    postings = Postings.of(columns[0], columns[1], columns[2].astype(float), 4)
    lists = np.array([c[0] for c in chosen], np.int64)
    weights = np.array([2.0 ** c[1] for c in chosen])
    pick = ListSelection.summed(np.zeros(len(chosen), np.int64), lists, weights, 1)
    found = best_of_lists(postings, pick, ask([], exclude=refused), k, 10)
    best: dict[int, float] = {}
    for at, item, key in triples:
        for which, weight in chosen:
            if at == which and item not in refused:
                best[item] = max(best.get(item, -99), weight + key)
    expected = sorted(best.values(), reverse=True)[:k]
    assert np.log2(found.score[0, : len(expected)]).tolist() == expected
    assert all(best[i] == s for i, s in zip(items(found), expected, strict=True))


# hot


def test_hot_by_category_weighs_the_user_s_categories_by_their_share():
    data = log(
        [*((u, 0, LIKE, 0) for u in range(4)), (0, 1, LIKE, 0), *((u, 2, LIKE, 0) for u in (0, 1))],
        {"category": ["a", "a", "b", "c"]},
    )
    channel = fit(Hot(by="category", half_life=math.inf), data)
    found = channel.recall(ask([(1, LIKE)], [(1, BUY), (2, LIKE)], [(3, SHOW)], []), 5)
    assert items(found, 0) == [0, 1]
    # a has 3/4 of the second user's interest: 4 · 3/4 and 1 · 3/4; b has 1/4: 2 · 1/4
    assert items(found, 1) == [0, 1, 2]
    np.testing.assert_allclose(found.score[1, :3], [3.0, 0.75, 0.5], rtol=1e-6)
    assert items(found, 2) == items(found, 3) == []
    assert channel.because(ask([(1, LIKE), (2, LIKE)]), 0) == 1
    assert channel.because(ask([(2, LIKE)]), 0) is None
    fallback = fit(Hot(by="category", fall_back=True), data).recall(ask([]), 5)
    assert items(fallback) == [0, 2, 1]


def test_hot_divides_a_like_among_the_item_s_categories():
    data = log([(0, 0, LIKE, 0), (0, 1, LIKE, 0), (0, 2, LIKE, 0)], {"category": ["a|b", "a", "b"]})
    channel = fit(Hot(by="category", separator="|"), data)
    found = channel.recall(ask([(0, LIKE), (1, LIKE)]), 3)
    np.testing.assert_allclose(found.score[0], [0.75, 0.75, 0.25], rtol=1e-5)
    assert items(found)[2] == 2


def test_hot_by_audience_and_band():
    events = [(0, 0, LIKE, 0), (1, 0, LIKE, 0), (2, 1, LIKE, 0), (3, 1, BUY, 30), (3, 0, LIKE, 0)]
    data = log(events, {"x": [0, 0]}, {"gender": ["f", "f", "m", "m"], "age": [15, 20, 40, None]})
    by_gender = fit(Hot(by="audience", column="gender", half_life=30), data)
    assert items(by_gender.recall(ask([], user=0), 2)) == [0]
    men = by_gender.recall(ask([], user=2), 2)
    assert items(men) == [1, 0]
    np.testing.assert_allclose(men.score[0], [1 + 3 / 2, 1], rtol=1e-5)
    by_age = fit(Hot(by="audience", column="age", boundaries=(18, 30)), data)
    assert items(by_age.recall(ask([], user=2), 2)) == [1]
    assert items(by_age.recall(ask([], user=3), 2)) == []  # no age, no band


def test_hot_by_city_prefers_the_city_of_the_request():
    events = [(0, 0, LIKE, 0), (1, 1, LIKE, 0)]
    data = log(events, {"x": [0, 0]}, {"city": ["Paris", "Lyon"]})
    channel = fit(Hot(by="city"), data)
    assert channel.reads == ("city",)
    assert Hot().reads == ()
    assert items(channel.recall(ask([], user=0), 2)) == [0]
    assert items(channel.recall(ask([], user=0, context=request_context(city=" lyon ")), 2)) == [1]
    assert items(channel.recall(ask([], user=0, context=request_context(city="Rome")), 2)) == []


def test_hot_without_a_declared_column_explains_what_to_declare():
    data = log([(0, 0, LIKE, 0)], {"kind": ["a"]}, {"gender": ["f"]})
    with pytest.raises(ConfigError, match=r"declare \[items\] category"):
        fit(Hot(by="category"), data)
    with pytest.raises(ConfigError, match='like column = "gender"'):
        fit(Hot(by="audience"), data)
    with pytest.raises(ConfigError, match=r"Did you mean `gender`\? Its columns: gender"):
        fit(Hot(by="audience", column="gendre"), data)


# fresh

BORN = {"published": [NOW - 40 * DAY, NOW - 2 * DAY, NOW - DAY, NOW + DAY, None]}


def test_fresh_recalls_recent_items_and_none_before_their_publication():
    channel = fit(Fresh(max_age=10), log([(0, 0, LIKE, 1)], BORN))
    found = channel.recall(ask([]), 5)
    assert items(found) == [2, 1]
    np.testing.assert_allclose(found.score[0, :2], [1 / 2, 1 / 3], rtol=1e-6)
    assert items(channel.recall(ask([], exclude=[2]), 5)) == [1]
    assert items(channel.recall(ask([], time=NOW - DAY), 5)) == [
        1
    ]  # item 0 is published at that very moment
    assert items(channel.recall(ask([], time=NOW + 2 * DAY), 5)) == [3, 2, 1]
    assert items(channel.recall(ask([], time=NOW - 35 * DAY), 5)) == [0]


def test_fresh_best_orders_by_the_smoothed_rate():
    shown = [(0, i, SHOW, 0) for i in (1, 1, 1, 1, 2)]
    data = log([*shown, (0, 1, LIKE, 0), (0, 2, LIKE, 0)], BORN)
    found = fit(Fresh(max_age=10, order="best", prior=5), data).recall(ask([]), 5)
    mean = 2 / 5
    assert items(found) == [2, 1]
    np.testing.assert_allclose(
        found.score[0, :2], [(1 + 5 * mean) / 6, (1 + 5 * mean) / 9], rtol=1e-6
    )


def test_fresh_best_counts_while_the_version_serves():
    shown = [(0, i, SHOW, 0) for i in (1, 1, 1, 1, 2)]
    channel = fit(Fresh(max_age=10, order="best", prior=5), log([*shown, (0, 1, LIKE, 0)], BORN))
    mean = 1 / 5
    more = log([(0, 2, SHOW, 0), (1, 2, LIKE, 0), (1, 2, FOLLOW, 0)], BORN).events
    channel.count_events(more)
    expected = [(1 + 5 * mean) / 7, (1 + 5 * mean) / 9]
    found = channel.recall(ask([]), 5)
    assert items(found) == [2, 1]
    np.testing.assert_allclose(found.score[0, :2], expected, rtol=1e-6)
    opened = fit(Fresh(max_age=10, order="best", prior=5), log([*shown, (0, 1, LIKE, 0)], BORN))
    opened.restore(channel.appended())
    assert opened.recall(ask([]), 5).score.tolist() == found.score.tolist()


def test_fresh_without_impressions_counts_likes_per_day():
    published = {"published": [NOW - 8 * DAY, NOW - 2 * DAY]}
    data = log([(0, 0, LIKE, 0), (1, 0, LIKE, 0), (0, 1, LIKE, 0)], published)
    found = fit(Fresh(max_age=10, order="best", prior=1), data).recall(ask([]), 2)
    mean = 3 / 10
    assert items(found) == [1, 0]
    np.testing.assert_allclose(found.score[0], [(1 + mean) / 3, (2 + mean) / 9], rtol=1e-4)


def test_fresh_reads_a_time_column_of_any_unit():
    data = log([(0, 0, LIKE, 0)], {"restocked": [(NOW - DAY) // 1000, (NOW - 99 * DAY) // 1000]})
    assert items(fit(Fresh(column="restocked"), data).recall(ask([]), 5)) == [0]
    with pytest.raises(ConfigError, match=r"declare \[items\] published"):
        fit(Fresh(), data)


# geohash

PLACES = {  # three in one cell in Paris, one in the next, one in Berlin, one nowhere
    "latitude": [48.8606, 48.8610, 48.8600, 48.8566, 52.52, None],
    "longitude": [2.3376, 2.3380, 2.3370, 2.4000, 13.40, 2.3],
    "published": [NOW - 400 * DAY] * 6,
}


def test_geohash_searches_the_cell_and_its_neighbours():
    data = log([(0, 0, LIKE, 0), (0, 1, LIKE, 0), (1, 1, LIKE, 0), (0, 3, BUY, 0)], PLACES)
    channel = fit(Geohash(near=0, precision=5), data)
    assert items(channel.recall(ask([], context=request_context(place=(48.8606, 2.3376))), 6)) == [
        3,
        1,
        0,
        2,
    ]
    assert items(channel.recall(ask([], context=request_context(place=(52.5, 13.4))), 6)) == [4]
    assert items(channel.recall(ask([]), 6)) == []
    finer = fit(Geohash(near=0, precision=6), data)
    here = ask([], context=request_context(place=(48.8606, 2.3376)))
    assert items(finer.recall(here, 6)) == [1, 0, 2]
    wider = fit(Geohash(near=0, precision=6, coarsest=1), data).recall(here, 6)
    assert items(wider) == [1, 0, 2, 3, 4]
    assert (np.diff(wider.score[0, :5]) <= 0).all()


def test_geohash_uses_the_last_positive_event_if_the_request_has_no_place():
    data = log([(0, 0, LIKE, 0)], PLACES)
    channel = fit(Geohash(near=0, precision=5), data)
    in_berlin = [(0, LIKE), (4, LIKE), (0, SHOW)]
    assert items(channel.recall(ask(in_berlin), 9)) == [4]
    assert channel.because(ask(in_berlin), 2) == 4
    placed = ask(in_berlin, context=request_context(place=(48.86, 2.337)))
    assert items(channel.recall(placed, 9))[0] == 0
    assert channel.because(placed, 2) is None
    assert items(channel.recall(ask([(5, LIKE)]), 9)) == []  # an item without a place
    assert items(channel.recall(ask([(-1, LIKE)]), 9)) == []  # an item outside the table


def test_geohash_requires_numeric_degrees():
    text = {"latitude": ["48 N"], "longitude": ["2 E"]}
    with pytest.raises(ConfigError, match=r"holds String, like \['48 N'\]; it must hold degrees"):
        fit(Geohash(), log([(0, 0, LIKE, 0)], text))
    with pytest.raises(ConfigError, match=r'declare \[items\] latitude = "COLUMN"'):
        fit(Geohash(), log([(0, 0, LIKE, 0)], {"x": [0]}))


def test_geohash_scores_fall_with_distance():
    places = {"latitude": [0.0, 0.0], "longitude": [0.0, 0.03]}
    likes = [(0, 0, LIKE, 0), *((u, 1, LIKE, 0) for u in range(3))]
    found = fit(Geohash(near=1.0, falloff=1.0, precision=5), log(likes, places)).recall(
        ask([], context=request_context(place=(0.0, 0.0))), 2
    )
    km = math.radians(0.03) * 6371
    assert items(found) == [0, 1]
    np.testing.assert_allclose(found.score[0], [1, 3 / (1 + km)], rtol=1e-4)


def test_geohash_ranks_new_and_popular_items_together():
    places = {"latitude": [0.0] * 3, "longitude": [0.0] * 3}
    published = {"published": [NOW - 300 * DAY, NOW - 1, NOW + DAY]}
    likes = [(0, 0, LIKE, 30), (1, 0, LIKE, 60)]
    data = log([*likes, (0, 0, SHOW, 0)], {**places, **published})
    found = fit(Geohash(half_life=30), data).recall(
        ask([], context=request_context(place=(0.0, 0.0))), 3
    )
    assert items(found) == [1, 0]
    np.testing.assert_allclose(found.score[0, :2], [1, 2**-1 + 2**-2 + 2**-10], rtol=1e-4)


# city


def test_city_of_the_request_then_the_user_then_the_last_item():
    data = log(
        [(0, 0, LIKE, 0), (0, 1, LIKE, 0), (1, 1, LIKE, 0)],
        {"city": ["Paris", "Paris", "Lyon", None, "Lyon"]},
        {"city": ["paris", None, "Rome"]},
    )
    channel = fit(City(half_life=math.inf), data)
    assert items(channel.recall(ask([], user=0), 5)) == [1, 0]
    assert items(channel.recall(ask([(2, LIKE)], user=0), 5)) == [1, 0]
    assert items(channel.recall(ask([(2, LIKE)], user=1), 5)) == [2, 4]
    assert channel.because(ask([(2, LIKE)], user=1), 4) == 2
    assert channel.because(ask([(2, LIKE)], user=0), 0) is None
    assert items(channel.recall(ask([], user=0, context=request_context(city="LYON")), 5)) == [2, 4]
    assert (
        items(channel.recall(ask([(0, LIKE)], user=0, context=request_context(city="Oslo")), 5))
        == []
    )
    assert items(channel.recall(ask([], user=-1), 5)) == []


# author

BOOKS = {
    "author": ["ann", "ann", "bob", "bob", "cid", None],
    "published": [NOW - d * DAY for d in (9, 3, 8, 2, 1, 1)],
}


def test_followed_authors_return_their_newest_items():
    data = log([(0, 0, LIKE, 0)], BOOKS)
    channel = fit(Author(source="followed"), data)
    past = [(0, FOLLOW), (2, FOLLOW), (4, LIKE)]
    found = channel.recall(ask(past), 9)
    assert items(found) == [3, 1, 2, 0]
    np.testing.assert_allclose(found.score[0, 0], 2 ** (-2 / 30), rtol=1e-4)
    assert items(channel.recall(ask([*past, (1, FOLLOW)]), 9)) == [3, 1, 2, 0]
    assert items(channel.recall(ask(past, time=NOW - 5 * DAY), 9)) == [2, 0]
    assert channel.because(ask(past), 1) == 0
    assert channel.because(ask(past), 4) is None


def test_followed_authors_come_from_the_table_of_follows_too(tmp_path):
    follows = Follows(
        np.array([0, 0, 1, 2], np.int32), pl.Series(["Bob", "nobody", "cid", "ann"]), np.zeros(0)
    )
    data = replace(log([(0, 0, LIKE, 0), (2, 5, LIKE, 0)], BOOKS), follows=follows)
    channel = fit(Author(source="followed"), data)
    channel.save(tmp_path)
    for rule in (channel, Author.load(tmp_path)):
        assert items(rule.recall(ask([], user=0), 9)) == [3, 2]
        assert items(rule.recall(ask([(1, FOLLOW), (2, FOLLOW)], user=0), 9)) == [3, 1, 2, 0]
        assert items(rule.recall(ask([], user=1), 9)) == [4]
        assert items(rule.recall(ask([], user=-1), 9)) == []
        assert items(rule.recall(ask([], user=99), 9)) == []  # added after the fit
        three = replace(ask([], [], []), user=np.array([1, -1, 2], np.int32))
        assert [items(rule.recall(three, 9), q) for q in range(3)] == [[4], [], [1, 0]]
    kinds = tuple(b for b in data.behaviours if b.name != "follow")
    liked = replace(data, behaviours=kinds, events=data.events.take(slice(0, 0)))
    assert items(fit(Author(source="followed"), liked).recall(ask([], user=1), 9)) == [4]


def test_liked_authors_are_weighted_by_the_user_s_events():
    data = log([(0, 1, LIKE, 0), (0, 2, LIKE, 0)], BOOKS)
    channel = fit(Author(new_item_weight=0, half_life=30), data)
    found = channel.recall(ask([(0, LIKE), (2, BUY), (5, LIKE)]), 9)
    assert items(found) == [2, 3, 1, 0]  # bob with r = 3, then ann; items without likes last
    assert found.score[0, 0] == pytest.approx(3, rel=1e-4)


def test_authors_of_items_that_a_named_behaviour_chose():
    data = log([(0, 1, LIKE, 0), (0, 2, LIKE, 0)], BOOKS)
    bought = fit(Author(behaviours=("buy",), new_item_weight=0), data)
    past = [(0, LIKE), (1, LIKE), (2, BUY)]
    assert items(bought.recall(ask(past), 9)) == [2, 3]  # bob, not the author liked twice
    assert items(bought.recall(ask([(0, LIKE)]), 9)) == []


def test_similar_authors_have_users_in_common():
    # users of ann: 0 1 2, of bob: 1 2, of cid: 3
    data = log(
        [(u, i, LIKE, 0) for u, i in [(0, 0), (1, 1), (2, 0), (1, 2), (2, 3), (3, 4)]], BOOKS
    )
    channel = fit(Author(source="similar", new_item_weight=0), data)
    arrays = channel._arrays
    assert np.diff(arrays["similar_indptr"]).tolist() == [1, 1, 0]
    assert arrays["similar"].tolist() == [1, 0]
    np.testing.assert_allclose(arrays["cosine"], 2 / math.sqrt(3 * 2), rtol=1e-6)
    found = channel.recall(ask([(0, LIKE)]), 9)
    assert items(found) == [2, 3]
    assert channel.because(ask([(0, LIKE)]), 3) == 0
    assert items(channel.recall(ask([(4, LIKE)]), 9)) == []


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 7)), min_size=1, max_size=40),
    st.lists(st.integers(0, 3), min_size=8, max_size=8),
)
def test_similar_authors_by_definition(pairs, written):
    data = log([(u, i, LIKE, 0) for u, i in pairs], {"author": [f"a{w}" for w in written]})
    channel = fit(Author(source="similar"), data)
    names = sorted({f"a{w}" for w in written})
    fans = [{u for u, i in pairs if f"a{written[i]}" == name} for name in names]
    indptr, other = channel._arrays["similar_indptr"], channel._arrays["similar"]
    for a, mine in enumerate(fans):
        span = slice(indptr[a], indptr[a + 1])
        got = dict(zip(other[span].tolist(), channel._arrays["cosine"][span], strict=True))
        expected = {
            b: len(mine & theirs) / math.sqrt(len(mine) * len(theirs))
            for b, theirs in enumerate(fans)
            if b != a and mine & theirs
        }
        assert got == pytest.approx(expected, rel=1e-5)


def test_author_requires_its_behaviour_and_its_column():
    data = log([(0, 0, LIKE, 0)], BOOKS)
    with pytest.raises(ConfigError, match=r"'folow' is not declared\. Did you mean `follow`"):
        fit(Author(source="followed", behaviours=("folow",)), data)
    with pytest.raises(ConfigError, match=r"declare \[items\] author"):
        fit(Author(), log([(0, 0, LIKE, 0)], {"x": [1]}))
    with pytest.raises(ConfigError, match='set order = "best"'):
        fit(Author(order="newest"), log([(0, 0, LIKE, 0)], {"author": ["a"]}))


# declared interests and demographic neighbours


def test_declared_interests_alternate_best_first():
    data = log(
        [(u, 0, LIKE, 0) for u in range(3)] + [(u, 1, LIKE, 0) for u in (0, 1)] + [(0, 2, LIKE, 0)],
        {"category": ["Drama", "Drama", "War", "War", "Farce"], "brand": ["x", "y", "y", "x", "z"]},
        {"signup": ["War", None, "Farce|War"]},
    )
    channel = fit(DeclaredInterests(half_life=math.inf), data)
    found = channel.recall(ask([], context=request_context(["drama", " WAR ", "Opera"])), 9)
    assert sorted(items(found)[:2]) == [0, 2]  # the best item of each interest first
    assert items(found)[2:] == [1, 3]
    np.testing.assert_allclose(found.score[0, :3], [1, 1, 2 / 3], rtol=1e-5)
    assert items(channel.recall(ask([], context=request_context([])), 9)) == []
    assert items(channel.recall(ask([]), 9)) == []
    brands = fit(DeclaredInterests(columns=("category", "brand")), data)
    assert items(brands.recall(ask([], context=request_context(["z", "x"])), 9)) == [0, 4, 3]
    signup = fit(DeclaredInterests(user_column="signup"), data)
    assert set(items(signup.recall(ask([], user=2), 9))[:2]) == {2, 4}
    assert items(signup.recall(ask([], user=1), 9)) == []
    assert items(signup.recall(ask([], user=2, context=request_context(["drama"])), 9)) == [0, 1]


def test_demographic_uses_fewer_columns_for_small_groups():
    users = {
        "gender": ["f", "f", "f", "m", "m", None],
        "age": ["18", "18", "35", "18", "35", "18"],
    }
    events = [(0, 0, LIKE, 0), (1, 0, LIKE, 0), (2, 1, LIKE, 0), (3, 2, LIKE, 0), (4, 2, LIKE, 0)]
    data = log(events, {"x": [0] * 3}, users)
    channel = fit(Demographic(columns=("gender", "age"), min_users=2, half_life=math.inf), data)

    def scores_of(user):
        found = channel.recall(ask([], user=user), 3)
        return dict(zip(items(found), found.score[0].tolist(), strict=False))

    assert scores_of(0) == pytest.approx({0: 2})  # women of 18: two of them
    assert scores_of(2) == pytest.approx({0: 2, 1: 1})  # one woman of 35: all women
    assert scores_of(3) == pytest.approx({2: 2})
    assert scores_of(5) == scores_of(-1) == {}
    bands = Demographic(columns=("age",), boundaries={"age": (30,)}, min_users=2)
    ages = log(events, {"x": [0] * 3}, {"age": [18, 19, 35, 20, 41, None]})
    assert items(fit(bands, ages).recall(ask([], user=1), 3)) == [0, 2]


def test_demographic_errors_name_the_usable_columns():
    data = log([(0, 0, LIKE, 0)], {"x": [0]}, {"score": [0.5]})
    with pytest.raises(ConfigError, match=r"no users' column has 2 to 100 values \(columns: score"):
        fit(Demographic(), data)
    with pytest.raises(
        ConfigError, match="boundaries names 'age', which is not one of its columns"
    ):
        fit(Demographic(columns=("score",), boundaries={"age": (1,)}), data)


# rules

SHOP = {
    "category": ["tea", "tea", "tea", "cup", "cup"],
    "brand": ["A", "B", "B", "A", None],
    "in_stock": [True, False, True, True, True],
    "restocked": [None, NOW - DAY, NOW - 2 * DAY, NOW - 90 * DAY, NOW + DAY],
    "price": [5.0, 4.0, None, 9.0, 7.0],
    "published": [NOW - d * DAY for d in (1, 5, 50, 3, 2)],
}


def shop_rules(text: str, data: Dataset, **options):
    declared = tomllib.loads(text)["rule"]
    return fit(registry.build("recall", "rules", ChannelConfig(rule=declared, **options)), data)


def test_rule_new_in_your_category():
    data = log([(0, 0, LIKE, 0)], SHOP)
    channel = shop_rules(
        '[[rule]]\nname = "new"\nsame = "category"\nmax_age = 14\nsort = "published desc"', data
    )
    found = channel.recall(ask([(4, LIKE), (2, LIKE)], [(2, LIKE), (3, BUY), (0, SHOW)], []), 5)
    assert [items(found, q) for q in range(3)] == [[0, 1], [4, 3], []]
    assert channel.because(ask([(2, LIKE)]), 1) == 2
    assert channel.because(ask([(2, LIKE)]), 3) is None
    assert items(channel.recall(ask([(2, LIKE)], time=NOW - 3 * DAY), 5)) == [1]


def test_rules_back_in_stock_then_brand_of_the_last_purchase():
    data = log([(0, 0, LIKE, 0)], SHOP)
    channel = shop_rules(
        """
        [[rule]]
        name = "back in stock"
        where = [{column = "in_stock", op = "==", value = true}]
        max_age = 7
        time_column = "restocked"
        [[rule]]
        name = "your brand"
        same = "brand"
        behaviours = ["buy"]
        sort = "price asc"
        """,
        data,
    )
    found = channel.recall(ask([(1, BUY), (3, LIKE)], [(3, BUY)], [(4, BUY)]), 5)
    assert [items(found, q) for q in range(3)] == [[2, 1], [2, 0, 3], [2]]
    assert found.score[1, :3].tolist() == pytest.approx([1, 1 / 2, 1 / 3])


def test_rules_sort_by_statistics_and_stop_at_their_limit():
    likes = [(u, i, LIKE, 0) for u, i in [(0, 3), (1, 3), (0, 1)]]
    data = log([*likes, (0, 1, SHOW, 0), *[(0, 3, SHOW, 0)] * 4], SHOP)
    by = {}
    for sort in ("popularity", "like_rate", "price", "brand asc"):
        by[sort] = items(
            shop_rules(f'[[rule]]\nname = "r"\nsort = "{sort}"', data).recall(ask([]), 3)
        )
    assert by["popularity"][:2] == [3, 1]
    assert by["like_rate"][:2] == [1, 3]
    assert by["price"] == [3, 4, 0]
    assert set(by["brand asc"][:2]) == {0, 3}
    liked = '[[rule]]\nname = "r"\nlimit = 1\nwhere = [{column = "likes", op = ">=", value = 1}]'
    assert items(shop_rules(liked, data).recall(ask([]), 5)) == [3]


def test_rules_with_a_condition_on_columns_and_statistics():
    data = log([(0, 3, LIKE, 0), (1, 3, LIKE, 0), (0, 1, LIKE, 0)], SHOP)
    for where, expected in (
        ("likes >= 1 and not likes > 1", {1}),
        ("not in_stock or likes == 2", {1, 3}),
        ("price < 6 and brand in ['A', 'B']", {0, 1}),
    ):
        channel = shop_rules(f'[[rule]]\nname = "r"\nwhere = "{where}"', data)
        assert set(items(channel.recall(ask([]), 5))) == expected, where


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ('sort = "prise desc"', r"'prise' is neither a column .* Did you mean `price`"),
        ('same = "brnd"', r"'brnd' is not in the items' table\. Did you mean `brand`"),
        ('behaviours = ["by"]', r"'by' is not declared\. Did you mean `buy`"),
        (
            'where = [{column = "stock", op = "==", value = true}]',
            r"rule r': column 'stock' is not in the items' table\. Did you mean `in_stock`",
        ),
        (
            'where = [{column = "price", op = "<", value = "cheap"}]',
            "price < 'cheap' does not fit the column's type Float64",
        ),
        (
            'where = "stock == true"',
            r"condition `stock == true`, column 1: `stock` is no column .* Did you mean `in_stock`",
        ),
        ('where = "price <"', "condition `price <`, column 8: it ends where"),
        (
            'where = "price < user.budget"',
            "`user.budget`: this condition reads columns of the items alone",
        ),
        ('max_age = 3\ntime_column = "brand"', "holds 'A', which is not a time"),
        ('sorted = "price"', r"\[cascade.channels.rules\] rule.0.sorted"),
    ],
)
def test_invalid_rules_are_reported(rule, message):
    with pytest.raises(ConfigError, match=message):
        shop_rules(f'[[rule]]\nname = "r"\n{rule}', log([(0, 0, LIKE, 0)], SHOP))


def test_rules_without_a_rule_explain_how_to_add_one():
    with pytest.raises(ConfigError, match=r"add a \[\[cascade.channels.rules.rule\]\]"):
        fit(Rules(), log([(0, 0, LIKE, 0)], SHOP))


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9), st.integers(-2, 2)), max_size=30),
    st.sets(st.integers(0, 12), min_size=1, max_size=4),
    st.data(),
)
def test_postings_after_items_come_or_change(triples, rows, data):
    rows = sorted(rows)
    new = data.draw(
        st.lists(
            st.tuples(st.integers(0, 3), st.sampled_from(rows), st.integers(-2, 2)), max_size=8
        )
    )
    before = list({t[:2]: t for t in triples}.values())
    new = list({t[:2]: t for t in new}.values())

    def columns(found):
        lists, item, key = np.array(found, np.int64).reshape(-1, 3).T
        return lists, item, key.astype(float)

    found = Postings.of(*columns(before), 4).replaced(np.array(rows, np.int32), *columns(new))
    kept = [t for t in before if t[1] not in rows]
    expected = Postings.of(*columns(kept + new), 4)
    assert found.indptr.tolist() == expected.indptr.tolist()
    assert found.item.tolist() == expected.item.tolist()
    assert found.key.tolist() == expected.key.tolist()
