"""The condition filter: items, users and requests; what is saved; what is refused."""

import numpy as np
import polars as pl
import pytest

from tamis.cascade import Candidates, FitContext, Queries
from tamis.data import Context, Dataset, Events, Ragged, Table, Texts
from tamis.features import History
from tamis.filters import ConditionFilter
from tamis.schema import (
    ConfigError,
    NotFittedError,
    RequestError,
    StageError,
    TableConfig,
    VarLenSparseFeat,
    VersionError,
)

NOW = 1_700_000_000_000
ITEMS = {
    "price": [10.0, 20.0, None, 40.0],
    "genres": ["Drama|War", "Farce", None, "War"],
    "regions": ["FR|BE", "DE", "FR", None],
    "zones": [["FR", "BE"], ["DE"], ["FR"], None],
    "published": [NOW - 5, NOW - 500, None, NOW + 5],
    "used": [True, False, None, False],
}
USERS = {"budget": [15.0, None, 50.0], "home": ["FR", "DE", None], "likes": ["War|Farce", "", None]}
ROLES = FitContext(
    items=TableConfig(path="i.csv", id="id", category="genres", category_separator="|"),
    features=(VarLenSparseFeat("likes", separator="|"),),
)
EVERY = [0, 1, 2, 3]


def data(items=ITEMS, users=USERS):
    none = np.zeros(0)
    events = Events(*(none.astype(t) for t in ("i4", "i4", "u1", "i8", "i8", "f4", "i8", "i2")))
    tables = [
        Table(name, pl.Series([f"{name[0]}{k}" for k in range(frame.height)]), frame)
        for name, frame in (("users", pl.DataFrame(users)), ("items", pl.DataFrame(items)))
    ]
    return Dataset(tables[0], tables[1], events, ())


def queries(user=(0, 1, 2, -1), context=None):
    q = len(user)
    time = np.full(q, NOW, np.int64)
    return Queries(
        np.array(user, np.int32), time, History.empty(q), Ragged.empty(q), context=context
    )


def context(n=1, values=None, city=None, interests=(), device=None):
    nowhere = np.full(n, np.nan)
    columns = {} if device is None else {"device": Texts.of(pl.Series(device))}
    given = None if values is None else (values,) * n
    return Context(nowhere, nowhere, (city,) * n, (interests,) * n, columns, given)


def kept(rule, asked):
    """The items that stay, per query."""
    some = Candidates(np.arange(len(asked) + 1) * 4, np.tile(np.array(EVERY, np.int32), len(asked)))
    keep = rule.keep(asked, some).reshape(-1, 4)
    return [np.flatnonzero(row).tolist() for row in keep]


def test_conditions_on_items_are_the_same_for_everybody():
    for where, items in (
        ("price < 30", [0, 1]),
        ('genres contains "War" and not used', [3]),
        ('genres in ["War"] or price == 20', [0, 1, 3]),
        ('id in ["i0", "i2"]', [0, 2]),
        ("not (price < 30)", [2, 3]),
    ):
        assert kept(ConditionFilter(where=where).fit(data(), ROLES), queries()) == [items] * 4


def test_conditions_on_the_user():
    rule = ConditionFilter(where="price <= user.budget").fit(data(), ROLES)
    assert kept(rule, queries()) == [[0], [], [0, 1, 3], []]
    rule = ConditionFilter(where="missing(user.budget) or price <= user.budget").fit(data(), ROLES)
    assert kept(rule, queries()) == [[0], EVERY, [0, 1, 3], EVERY]
    rule = ConditionFilter(where="user.home in regions", separator="|").fit(data(), ROLES)
    assert kept(rule, queries()) == [[0, 2], [1], [], []]
    rule = ConditionFilter(where="genres in user.likes").fit(data(), ROLES)  # any shared value
    assert kept(rule, queries()) == [[0, 1, 3], [], [], []]


def test_conditions_on_the_request():
    rule = ConditionFilter(where="zones in request.regions").fit(data(), ROLES)
    assert rule.reads == ("regions",)
    assert kept(rule, queries([0], context(values={"regions": ("FR", "NL")}))) == [[0, 2]]
    assert kept(rule, queries([0], context(values={"other": 3}))) == [EVERY]
    assert kept(rule, queries([0, 1])) == [EVERY, EVERY]
    strict = ConditionFilter(where="zones in request.regions", unknown="remove")
    assert kept(strict.fit(data(), ROLES), queries([0])) == [[]]
    asks = ConditionFilter(where="missing(request.max) and price < 15 or price < request.max")
    asks = asks.fit(data(), ROLES)
    assert kept(asks, queries([0])) == [[0]]
    assert kept(asks, queries([0], context(values={"max": 50}))) == [[0, 1, 3]]


def test_fields_of_the_request_and_columns_of_its_context():
    rule = ConditionFilter(where="request.time - published < 100").fit(data(), ROLES)
    assert kept(rule, queries([0])) == [[0, 3]]
    rule = ConditionFilter(where='request.city == "Lyon" and used').fit(data(), ROLES)
    assert rule.reads == ("city",)
    assert kept(rule, queries([0], context(city="Lyon"))) == [[0]]
    assert kept(rule, queries([0], context(city="Rome"))) == [[]]
    rule = ConditionFilter(where="genres in request.interests").fit(data(), ROLES)
    assert kept(rule, queries([0], context(interests=("Farce",)))) == [[1]]
    rule = ConditionFilter(where='request.device == "ios" and price < 15').fit(data(), ROLES)
    both = context(2, device=["ios", None])
    assert kept(rule, queries([0, 1], both)) == [[0], EVERY]


def test_each_query_is_judged_alone():
    where = "price <= user.budget or zones in request.regions"
    rule = ConditionFilter(where=where, unknown="remove").fit(data(), ROLES)
    values = ({"regions": ("DE",)}, {}, {"regions": ("BE", "FR")})
    mixed = Context(np.full(3, np.nan), np.full(3, np.nan), (None,) * 3, ((),) * 3, {}, values)
    together = kept(rule, queries([0, 1, -1], mixed))
    alone = [kept(rule, queries([user], mixed.take([k])))[0] for k, user in enumerate((0, 1, -1))]
    assert together == alone == [[0, 1], [], [0, 2]]


def test_saving_keeps_the_answers(tmp_path):
    asked = queries([0, 1], context(2, values={"regions": ("FR",)}))
    for number, where in enumerate(
        ["price < 30", 'user.home in regions and genres contains "War"', "zones in request.regions"]
    ):
        rule = ConditionFilter(where=where, separator="|").fit(data(), ROLES)
        folder = tmp_path / str(number)
        rule.save(folder)
        again = ConditionFilter.load(folder, rule.config)
        assert kept(again, asked) == kept(rule, asked)
        damaged = next(folder.iterdir())
        damaged.write_bytes(b"damaged")
        with pytest.raises(VersionError, match="damaged"):
            ConditionFilter.load(folder, rule.config)


def test_the_reason_quotes_the_condition():
    assert ConditionFilter(where="price < 3").reason == "not price < 3"
    assert ConditionFilter(where="price < 3", reason="too dear").reason == "too dear"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"where": "prise < 3"}, r"column 1: `prise` is no column of the items\. Did you mean"),
        ({"where": "price < user.bugdet"}, r"`user\.bugdet` is no column of the users"),
        ({"where": "price == genres"}, "`price` is a number and `genres` a list of texts"),
        ({"where": "price < user.home"}, r"`price` is a number and `user\.home` a text"),
        ({"where": 'regions contains "FR"'}, "`regions` is a text.*declare their separator"),
        ({"where": "price < request.city"}, r"`price` is a number and `request\.city` a text"),
    ],
)
def test_a_condition_that_does_not_fit_the_tables_is_refused_at_the_fit(options, message):
    with pytest.raises(ConfigError, match=f"filter `condition`: condition .*{message}"):
        ConditionFilter(**options).fit(data(), ROLES)


def test_other_faults():
    with pytest.raises(ConfigError, match=r"where = 'price <': condition `price <`, column 8"):
        ConditionFilter(where="price <")
    with pytest.raises(NotFittedError, match="before fit"):
        kept(ConditionFilter(where="price < 3"), queries())
    rule = ConditionFilter(where="price < request.max").fit(data(), ROLES)
    with pytest.raises(RequestError, match=r"is a number and .* a text") as fault:
        kept(rule, queries([0], context(values={"max": "cheap"})))
    assert fault.value.field == "values"
    unlike = ({"max": 3}, {"max": "cheap"})
    mixed = Context(np.full(2, np.nan), np.full(2, np.nan), (None,) * 2, ((),) * 2, {}, unlike)
    with pytest.raises(RequestError, match="values: max holds values of several types"):
        kept(rule, queries([0, 1], mixed))
    with pytest.raises(StageError, match="fitted on 4 items and was given item row 9"):
        rule.keep(queries([0]), Candidates(np.array([0, 1]), np.array([9], np.int32)))
