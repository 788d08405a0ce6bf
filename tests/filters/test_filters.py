"""Filters: what stays, what is listed beforehand, state, errors."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.cascade import Candidates, Filter, FitContext, Queries
from tamis.data import Dataset, Events, Ragged, Table
from tamis.features import History
from tamis.filters import AttributeFilter, AvailableFilter, RequestFilter, SeenFilter
from tamis.schema import Behaviour, ConfigError, NotFittedError, StageError

BEHAVIOURS = (
    Behaviour(name="view", impression=True),
    Behaviour(name="click"),
    Behaviour(name="buy", positive=True),
)


def dataset(**columns) -> Dataset:
    frame = pl.DataFrame(columns or {"x": [0] * 5})
    ids = pl.Series([f"i{k}" for k in range(len(frame))], dtype=pl.String)
    none = np.zeros(0)
    events = Events(*(none.astype(t) for t in ("i4", "i4", "u1", "i8", "i8", "f4", "i8", "i2")))
    items = Table("items", ids, frame)
    return Dataset(Table("users", ids[:0], pl.DataFrame()), items, events, BEHAVIOURS)


def queries(*histories: list[tuple[int, int]], exclude: list[list[int]] | None = None) -> Queries:
    """(item, behaviour code) per event."""
    q = len(histories)
    events = [event for history in histories for event in history]
    lengths = [len(history) for history in histories]
    history = History(
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.array([e[0] for e in events], np.int32),
        np.array([e[1] for e in events], np.uint8),
        np.zeros(len(events), np.int64),
        np.zeros(len(events), np.float32),
    )
    lists = Ragged.of([np.array(x, np.int32) for x in exclude]) if exclude else Ragged.empty(q)
    return Queries(np.zeros(q, np.int32), np.zeros(q, np.int64), history, lists)


def candidates(*lists: list[int]) -> Candidates:
    items = Ragged.of([np.array(x, np.int32) for x in lists])
    return Candidates(items.indptr, items.values)


def test_seen_removes_clicked_items_but_not_shown_ones() -> None:
    rule = SeenFilter().fit(dataset(), FitContext())
    asked = queries([(3, 1), (1, 2), (3, 2), (4, 0)], [], [(0, 1)])
    excluded = rule.excluded(asked)
    assert [x.tolist() for x in (excluded[0], excluded[1], excluded[2])] == [[1, 3], [], [0]]
    keep = rule.keep(asked, candidates([3, 4, 1, 0], [3], [0, 1]))
    assert keep.tolist() == [False, True, False, True, True, False, True]


def test_seen_may_be_restricted_to_behaviours() -> None:
    rule = SeenFilter(behaviours=("buy",)).fit(dataset())
    asked = queries([(3, 1), (1, 2), (4, 0)])
    assert rule.excluded(asked)[0].tolist() == [1]
    assert rule.keep(asked, candidates([1, 3, 4])).tolist() == [False, True, True]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(st.tuples(st.integers(-1, 6), st.integers(0, 2)), max_size=8),
            st.lists(st.integers(0, 6), max_size=8, unique=True),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_seen_equals_the_naive_version(rows) -> None:
    rule = SeenFilter().fit(dataset())
    keep = rule.keep(queries(*(h for h, _ in rows)), candidates(*(c for _, c in rows)))
    expected = [
        item not in {i for i, behaviour in history if behaviour > 0}
        for history, items in rows
        for item in items
    ]
    assert keep.tolist() == expected


def test_request_removes_its_own_list() -> None:
    rule = RequestFilter().fit(dataset())
    asked = queries([], [], exclude=[[0, 2], []])
    assert rule.keep(asked, candidates([2, 1, 0], [2])).tolist() == [False, True, False, True]
    assert rule.excluded(asked)[0].tolist() == [0, 2]


@pytest.mark.parametrize(
    "column",
    [
        [True, False, None],
        [1, 0, None],
        [1.0, 0.0, None],
        ["yes", " No ", None],
        ["true", "false", None],
    ],
)
def test_available_reads_the_usual_spellings_of_booleans(column) -> None:
    rule = AvailableFilter().fit(dataset(available=column))
    asked = queries([])
    assert rule.excluded(asked) is None
    assert rule.keep(asked, candidates([0, 1, 2])).tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("op", "value", "expected"),
    [
        ("<=", 2, [True, True, False, False]),
        ("<", 2, [True, False, False, False]),
        (">", 2, [False, False, True, False]),
        (">=", 2.0, [False, True, True, False]),
        ("==", 3, [False, False, True, False]),
        ("!=", 3, [True, True, False, False]),
        ("in", (1, 3), [True, False, True, False]),
        ("not in", (1, 3), [False, True, False, False]),
    ],
)
def test_attribute_operators_and_missing_values(op, value, expected) -> None:
    for column in ([1, 2, 3, None], [1.0, 2.0, 3.0, float("nan")]):
        data = dataset(price=column)
        everything = candidates([0, 1, 2, 3])
        rule = AttributeFilter(column="price", op=op, value=value).fit(data)
        assert rule.keep(queries([]), everything).tolist() == expected
        kept = AttributeFilter(column="price", op=op, value=value, missing="keep").fit(data)
        assert kept.keep(queries([]), everything).tolist() == [*expected[:3], True]


def test_attribute_contains() -> None:
    data = dataset(genres=["Drama|War", "War", None], tags=[["a"], ["a", "b"], []])
    rule = AttributeFilter(column="genres", op="contains", value="Drama", separator="|").fit(data)
    assert rule.keep(queries([]), candidates([0, 1, 2])).tolist() == [True, False, False]
    rule = AttributeFilter(column="tags", op="not contains", value="b").fit(data)
    assert rule.keep(queries([]), candidates([0, 1, 2])).tolist() == [True, False, True]
    assert rule.reason == "not tags not contains b"


FITTED = [
    SeenFilter(),
    RequestFilter(),
    AvailableFilter(column="ok"),
    AttributeFilter(column="price", op="<", value=3),
]


@pytest.mark.parametrize("rule", FITTED, ids=lambda rule: type(rule).__name__)
def test_properties_of_every_filter(rule, tmp_path) -> None:
    """The Protocol is met, an empty list is legal, save and load change nothing."""
    rule.fit(dataset(ok=[True, False, True], price=[1, 2, 3]), FitContext())
    assert isinstance(rule, Filter)
    asked = queries([(0, 1)], [], exclude=[[1], []])
    assert rule.keep(asked, candidates([], [])).shape == (0,)
    rule.save(tmp_path / "rule")
    again = type(rule).load(tmp_path / "rule", rule.config)
    some = candidates([0, 1, 2], [2, 0])
    keep = rule.keep(asked, some)
    assert keep.dtype == np.bool_
    assert not keep.all()
    assert again.keep(asked, some).tolist() == keep.tolist()


def test_errors_explain_how_to_fix_them() -> None:
    with pytest.raises(ConfigError, match=r"'by' is not declared \(declared: view, click, buy\)"):
        SeenFilter(behaviours=("by",)).fit(dataset())
    with pytest.raises(ConfigError, match="holds 'perhaps', which is neither"):
        AvailableFilter().fit(dataset(available=["yes", "perhaps"]))
    with pytest.raises(ConfigError, match="'stock' is not in the items' table"):
        AvailableFilter(column="stock").fit(dataset())
    with pytest.raises(ConfigError, match="does not fit the column's type String"):
        AttributeFilter(column="t", op="<", value=3).fit(dataset(t=["a"]))
    with pytest.raises(ConfigError, match="op 'in' takes a list"):
        AttributeFilter(column="t", op="in", value=3)
    with pytest.raises(NotFittedError, match="before fit"):
        SeenFilter().keep(queries([]), candidates([0]))
    with pytest.raises(StageError, match="was fitted on 1 items and was given item row 4"):
        AvailableFilter().fit(dataset(available=[True])).keep(queries([]), candidates([4]))
