"""Filters that depend on who asks: bought, hidden, blocked, region, age, exposed; and stock."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.cascade import Candidates, FitContext, Queries
from tamis.data import Dataset, Events, Ragged, Table
from tamis.features import History
from tamis.filters import (
    AgeLimitFilter,
    BlockedFilter,
    BoughtFilter,
    ExposedFilter,
    HiddenFilter,
    OutOfStockFilter,
    RegionFilter,
)
from tamis.schema import (
    Behaviour,
    ConfigError,
    NotFittedError,
    StageConfig,
    StageError,
    TableConfig,
)
from tamis.service import registry
from tamis.testing import check_filter

DAY = 86_400_000
NOW = 1_700_000_000_000  # in November 2023
BEHAVIOURS = (
    Behaviour(name="view", impression=True),
    Behaviour(name="click", positive=True),
    Behaviour(name="purchase", positive=True),
    Behaviour(name="dislike"),
    Behaviour(name="block"),
)
VIEW, CLICK, PURCHASE, DISLIKE, BLOCK = range(5)
ITEMS = {
    "author": ["ann", "ann", "bob", "cid", None],
    "genres": ["Drama|War", "War", "Farce", "Drama", None],
    "stock": [3, 0, None, 1, 2],
    "regions": ["FR|be", "FR", None, "DE", ""],
    "min_age": [18, 16, None, 12, 0],
}
USERS = {"region": ["fr", "DE", "US", None], "age": [17, 18, None, 40]}


def dataset(events=((0, 0, CLICK, 0),), items=ITEMS, users=USERS) -> Dataset:
    """events: (user, item, behaviour, days ago)."""
    events = sorted(events, key=lambda e: -e[3])
    columns = np.array(events, np.float64).reshape(-1, 4).T
    time = (NOW - columns[3] * DAY).astype(np.int64)
    n = len(events)
    rest = (np.full(n, np.nan, "f4"), np.full(n, -1, "i8"), np.zeros(n, "i2"))
    log = Events(
        columns[0].astype("i4"), columns[1].astype("i4"), columns[2].astype("u1"), time, time, *rest
    )
    table = {"users": pl.DataFrame(users), "items": pl.DataFrame(items)}
    ids = {name: pl.Series([str(k) for k in range(f.height)]) for name, f in table.items()}
    return Dataset(
        Table("users", ids["users"], table["users"]),
        Table("items", ids["items"], table["items"]),
        log,
        BEHAVIOURS,
    )


def queries(*histories, user=None, time=NOW) -> Queries:
    """(item, behaviour, days ago) per event."""
    events = [event for history in histories for event in history]
    history = History(
        np.concatenate([[0], np.cumsum([len(h) for h in histories])]).astype(np.int64),
        np.array([e[0] for e in events], np.int32),
        np.array([e[1] for e in events], np.uint8),
        np.array([NOW - e[2] * DAY for e in events], np.int64),
        np.zeros(len(events), np.float32),
    )
    q = len(histories)
    who = np.full(q, -1, np.int32) if user is None else np.array(user, np.int32)
    return Queries(who, np.full(q, time, np.int64), history, Ragged.empty(q))


def candidates(*lists) -> Candidates:
    items = Ragged.of([np.array(x, np.int32) for x in lists])
    return Candidates(items.indptr, items.values)


def kept(rule, asked, *lists) -> list[list[int]]:
    some = candidates(*lists)
    keep = rule.keep(asked, some)
    bounds = zip(some.indptr[:-1], some.indptr[1:], strict=True)
    return [some.item[a:b][keep[a:b]].tolist() for a, b in bounds]


ALL = [0, 1, 2, 3, 4]
ROLES = FitContext(
    items=TableConfig(path="i", id="id", author="author", category="genres", category_separator="|")
)


def test_bought_and_hidden_read_their_behaviours_and_their_days():
    past = [(0, CLICK, 1), (1, PURCHASE, 50), (2, DISLIKE, 2), (3, PURCHASE, 5)]
    asked = queries(past, [])
    bought = BoughtFilter().fit(dataset())
    assert bought.excluded(asked)[0].tolist() == [1, 3]
    assert kept(bought, asked, ALL, ALL) == [[0, 2, 4], ALL]
    lately = BoughtFilter(days=30).fit(dataset())
    assert kept(lately, asked, ALL, []) == [[0, 1, 2, 4], []]
    assert kept(HiddenFilter().fit(dataset()), asked, ALL, ALL) == [[0, 1, 3, 4], ALL]
    with pytest.raises(
        ConfigError, match=r"'purchased' is not declared .* Did you mean `purchase`"
    ):
        BoughtFilter(behaviours=("purchased",)).fit(dataset())


def test_blocked_authors_and_categories():
    past = [(0, BLOCK, 1), (2, CLICK, 1), (-1, BLOCK, 1), (4, BLOCK, 1)]
    asked = queries(past, [])
    authors = BlockedFilter().fit(dataset(), ROLES)
    assert authors.reason == "blocked author"
    assert kept(authors, asked, ALL, ALL) == [[2, 3, 4], ALL]
    genres = BlockedFilter(by="category").fit(dataset(), ROLES)
    assert kept(genres, asked, ALL, ALL) == [[2, 4], ALL]
    twice = BlockedFilter(by="category", behaviours=("dislike",), after=2).fit(dataset(), ROLES)
    disliked = queries([(0, DISLIKE, 3), (1, DISLIKE, 2)], [(0, DISLIKE, 1)])
    assert kept(twice, disliked, ALL, ALL) == [[2, 3, 4], ALL]  # War twice, Drama once
    with pytest.raises(ConfigError, match=r"declare \[items\] author"):
        BlockedFilter().fit(dataset())


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 3), min_size=6, max_size=6),
    st.lists(st.lists(st.integers(0, 5), max_size=4), min_size=1, max_size=3),
)
def test_blocked_by_definition(written, pasts):
    data = dataset(items={"author": [f"a{w}" for w in written]})
    rule = BlockedFilter(column="author").fit(data)
    asked = queries(*([(i, BLOCK, 1) for i in past] for past in pasts))
    expected = [
        [i for i in range(6) if written[i] not in {written[b] for b in past}] for past in pasts
    ]
    assert kept(rule, asked, *[range(6)] * len(pasts)) == expected


def test_out_of_stock():
    asked = queries([])
    assert kept(OutOfStockFilter().fit(dataset()), asked, ALL) == [[0, 2, 3, 4]]
    strict = OutOfStockFilter(least=2, missing="remove").fit(dataset())
    assert kept(strict, asked, ALL) == [[0, 4]]
    flags = dataset(items={"stock": [True, False, None]})
    assert kept(OutOfStockFilter().fit(flags), asked, [0, 1, 2]) == [[0, 2]]
    with pytest.raises(ConfigError, match=r"holds String, like \['ann'\]; it must hold numbers"):
        OutOfStockFilter(column="author").fit(dataset())


def test_region():
    asked = queries([], [], [], [], [], user=[0, 1, 2, 3, -1])
    rule = RegionFilter().fit(dataset())
    assert kept(rule, asked, *[ALL] * 5) == [[0, 1, 2, 4], [2, 3, 4], [2, 4], [2, 4], [2, 4]]
    lenient = RegionFilter(unknown="keep").fit(dataset())
    # the third user's region is known, but no item names it: nothing restricted is for them
    assert kept(lenient, asked, *[ALL] * 5)[2:] == [[2, 4], ALL, ALL]
    with pytest.raises(ConfigError, match="set `user_column` to one of them"):
        RegionFilter(user_column="country").fit(dataset())


def test_age_limit():
    asked = queries([], [], [], [], [], user=[0, 1, 2, 3, -1])
    rule = AgeLimitFilter().fit(dataset())
    assert kept(rule, asked, *[ALL] * 5) == [[1, 2, 3, 4], ALL, [2, 4], ALL, [2, 4]]
    adult = AgeLimitFilter(unknown_age=18).fit(dataset())
    assert kept(adult, asked, *[ALL] * 5)[2:] == [ALL, ALL, ALL]


def test_exposed_reads_the_impressions_of_the_last_months():
    shown = [(0, 1, VIEW, 0), (0, 2, VIEW, 20), (0, 3, VIEW, 80), (0, 4, CLICK, 0), (1, 0, VIEW, 1)]
    rule = ExposedFilter(target=0.001).fit(dataset(shown))
    asked = queries([], [], [], user=[0, 1, -1])
    assert kept(rule, asked, ALL, ALL, ALL) == [[0, 3, 4], [1, 2, 3, 4], ALL]
    december = queries([], user=[0], time=NOW + 30 * DAY)
    assert kept(rule, december, ALL) == [[0, 2, 3, 4]]  # October is forgotten
    clicked = ExposedFilter(target=0.001, behaviours=("click",)).fit(dataset(shown))
    assert kept(clicked, queries([], user=[0]), ALL) == [[0, 1, 2, 3]]
    data = dataset(shown)
    unshown = Dataset(data.users, data.items, data.events, BEHAVIOURS[1:])
    with pytest.raises(ConfigError, match="no behaviour is an impression"):
        ExposedFilter().fit(unshown)


def test_exposed_is_sized_for_the_user_with_the_most_impressions():
    shown = [(0, i, VIEW, 0) for i in range(5)] * 2 + [(1, i, VIEW, 30) for i in range(40)]
    data = dataset(shown, items={"x": [0] * 60})
    assert ExposedFilter().fit(data).shown.shape.per_month == 40
    assert ExposedFilter(months=1).fit(data).shown.shape.per_month == 16
    assert ExposedFilter(per_month=7).fit(data).shown.shape.per_month == 7


OPTIONS = {
    "attribute": {"column": "stock", "op": ">", "value": 1},
    "available": {"column": "ok"},
    "condition": {"where": "min_age <= user.age or stock > 2"},
}


@pytest.mark.parametrize("name", registry.available("filters"))
def test_every_filter_passes_the_contract(name):
    shown = [(0, 0, VIEW, 0), (1, 1, VIEW, 0)]
    data = dataset(shown, {**ITEMS, "ok": [True, True, True, True, False]})
    past = [(0, BLOCK, 1), (1, PURCHASE, 1), (2, DISLIKE, 1)]
    asked = queries(past, [], [(3, CLICK, 9)], user=[0, -1, 1]).excluding(
        Ragged.of([np.array([1], np.int32), np.zeros(0, np.int32), np.array([0, 4], np.int32)])
    )
    declared = StageConfig(**OPTIONS.get(name, {}))
    check_filter(lambda: registry.build("filters", name, declared), data, asked, ROLES)
    rule = registry.build("filters", name, declared).fit(data, ROLES)
    assert not rule.keep(asked, candidates(ALL, ALL, ALL)).all()  # it was given something to do


class _Broken(BoughtFilter):
    """A filter that breaks one law at a time."""

    law = ""

    def __init__(self, config=None, **options):
        super().__init__(config, **options)
        self.fits = 0

    def fit(self, data, context=None):
        self.fits += 1
        return super().fit(data, context)

    def excluded(self, queries):
        lists = super().excluded(queries)
        if self.law == "lists":
            return Ragged.of([*lists, np.zeros(0, np.int32)])
        return Ragged.of([x[::-1] for x in lists]) if self.law == "order of lists" else lists

    @classmethod
    def load(cls, directory, config):
        loaded = super().load(directory, config)
        loaded.fits = 1
        if cls.law == "saved":
            loaded.fits = 2
        if cls.law == "saved reason":
            loaded.law = "reason"
        return loaded

    def keep(self, queries, candidates):
        if self.law == "unfitted" and not self.fits:
            return np.ones(len(candidates), np.bool_)
        kept = super().keep(queries, candidates)
        if self.law in ("saved", "refit") and self.fits == 2:
            return ~kept
        if self.law == "type":
            return kept.astype(np.uint8)
        if self.law == "batch":
            return kept & (len(queries) > 1)
        if self.law == "others":
            return kept & (np.arange(len(kept)) > 0) if len(kept) else kept
        if self.law == "excluded":
            return np.ones(len(kept), np.bool_)
        return kept[:-1] if self.law == "shape" else kept

    @property
    def reason(self):
        return "" if self.law == "reason" else "bought"

    @reason.setter
    def reason(self, value):
        pass


@pytest.mark.parametrize(
    ("law", "said"),
    [
        ("batch", "alone and in a batch|excluded beforehand"),
        ("others", "excluded beforehand|depends on the other"),
        ("shape", "verdicts for"),
        ("excluded", "not what `keep` removes"),
        ("reason", "what the trace says"),
        ("type", "keep returns booleans, not uint8"),
        ("lists", "3 lists for 2 queries"),
        ("order of lists", "excluded items must ascend, each once"),
        ("saved", "save and load changed verdicts"),
        ("saved reason", "load changed the reason to ''"),
        ("refit", "a second fit is not the fit of a new filter"),
        ("unfitted", "keep before fit must raise NotFittedError"),
    ],
)
def test_the_contract_finds_a_broken_filter(law, said):
    kind = type("Broken", (_Broken,), {"law": law})
    asked = queries([(1, PURCHASE, 1), (3, PURCHASE, 1)], [], user=[0, 1])
    with pytest.raises(AssertionError, match=said):
        check_filter(kind, dataset(), asked, ROLES)
    check_filter(_Broken, dataset(), asked, ROLES)


@pytest.mark.parametrize(
    "rule", [BlockedFilter(), RegionFilter(), AgeLimitFilter(), ExposedFilter(), BoughtFilter()]
)
def test_a_filter_used_before_fit_raises(rule):
    with pytest.raises(NotFittedError, match="before fit"):
        rule.keep(queries([], user=[0]), candidates([0]))


@pytest.mark.parametrize("kind", [BlockedFilter, RegionFilter, AgeLimitFilter, OutOfStockFilter])
def test_an_item_that_fit_did_not_see_is_an_error(kind):
    rule = kind().fit(dataset(), ROLES)
    with pytest.raises(StageError, match="was fitted on 5 items and was given item row 9"):
        rule.keep(queries([], user=[0]), candidates([9]))
