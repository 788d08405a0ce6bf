"""`at_most`: the rules hold exactly when they can; the answer is a permutation and a prefix."""

from itertools import permutations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.cascade import Candidates, Queries
from tamis.data import Dataset, Events, Ragged, Table
from tamis.features import History
from tamis.rerank import AtMost
from tamis.schema import ConfigError, NotFittedError


def dataset(**columns) -> Dataset:
    frame = pl.DataFrame(columns)
    ids = pl.Series([f"i{k}" for k in range(len(frame))], dtype=pl.String)
    none = np.zeros(0)
    events = Events(*(none.astype(t) for t in ("i4", "i4", "u1", "i8", "i8", "f4", "i8", "i2")))
    return Dataset(Table("users", ids[:0], pl.DataFrame()), Table("items", ids, frame), events, ())


def ranked(*lists: list[int]) -> tuple[Queries, Candidates]:
    """Lists of item rows, best first."""
    items = Ragged.of([np.array(x, np.int32) for x in lists])
    q = len(lists)
    value = np.concatenate([[0.0], *(np.linspace(1, 0.1, len(x)) for x in lists)])[1:]
    queries = Queries(
        np.zeros(q, np.int32), np.zeros(q, np.int64), History.empty(q), Ragged.empty(q)
    )
    candidates = Candidates(items.indptr, items.values, {"value": value.astype(np.float32)})
    return queries, candidates


def violations(slate: list[set[str]], in_window: int, window: int, in_slate: int) -> bool:
    """The rule as one reads it."""
    spans = [slate[i : i + window] for i in range(len(slate))]
    names = set().union(*slate)
    return any(
        sum(name in item for item in slate) > in_slate
        or any(sum(name in item for item in span) > in_window for span in spans)
        for name in names
    )


def test_the_second_item_of_a_category_is_placed_later() -> None:
    rule = AtMost(limit=1, window=2).fit(dataset(category=["a", "a", "a", "b", "c"]))
    order, broken_rules = rule.arrange(*ranked([0, 1, 2, 3, 4]), 5)
    # a b a c a: the only kind of order that separates three a by two others.
    assert order.tolist() == [0, 3, 1, 4, 2]
    assert broken_rules.tolist() == [0, 0, 0, 0, 0]


def test_only_items_that_meet_the_condition_count() -> None:
    items = dataset(category=["a", "a", "a", "b"], sponsored=[True, False, True, True])
    rule = AtMost(limit=1, window=3, where="sponsored").fit(items)
    order, broken_rules = rule.arrange(*ranked([0, 1, 2, 3]), 4)
    assert order.tolist() == [0, 1, 3, 2]  # the two sponsored a are two places apart
    assert broken_rules.tolist() == [0, 0, 0, 0]
    with pytest.raises(ConfigError, match=r"where = 'user\.age > 3'.*columns of the items alone"):
        AtMost(where="user.age > 3")
    with pytest.raises(ConfigError, match=r"re-rank `at_most`: condition `sponsord`.*Did you mean"):
        AtMost(where="sponsord").fit(items)


def test_looks_ahead_where_taking_the_best_first_would_fail() -> None:
    rule = AtMost(limit=1, window=2).fit(dataset(category=["b", "a", "a"]))
    assert rule.arrange(*ranked([0, 1, 2]), 3)[0].tolist() == [1, 0, 2]


def test_the_slate_limit_is_broken_only_if_nothing_else_is_left() -> None:
    rule = AtMost(limit=None, slate=1).fit(dataset(category=["a", "a", "b"]))
    order, broken_rules = rule.arrange(*ranked([0, 1, 2]), 3)
    assert order.tolist() == [0, 2, 1]
    assert broken_rules.tolist() == [0, 1, 0]


def test_the_slate_limit_is_broken_before_that_of_the_window() -> None:
    data = dataset(category=["a", "a", "b", "b", "b"])
    rule = AtMost(limit=1, window=2, slate=2).fit(data)
    order, broken_rules = rule.arrange(*ranked([0, 1, 2, 3, 4]), 5)
    # Only b a b a b holds the window's limit; the third b breaks the slate's.
    assert order.tolist() == [2, 0, 3, 1, 4]
    assert broken_rules.tolist() == [0, 0, 0, 0, 1]


def test_items_of_several_categories_count_in_each_or_in_the_first() -> None:
    data = dataset(genres=["a|b", "b|a", "b", None])
    each = AtMost(column="genres", separator="|", limit=1, window=2).fit(data)
    assert each.arrange(*ranked([0, 1, 2, 3]), 3)[0].tolist()[:3] == [0, 3, 1]
    first = AtMost(column="genres", separator="|", limit=1, window=2, count="primary")
    assert first.fit(data).arrange(*ranked([0, 1, 2, 3]), 3)[0].tolist() == [0, 1, 3, 2]


def test_list_and_number_columns_are_categories_too() -> None:
    data = dataset(tags=[["x", "y"], ["y"], []], author=[7, 7, 8])
    tags = AtMost(column="tags", limit=1, window=2).fit(data)
    assert tags.arrange(*ranked([0, 1, 2]), 3)[0].tolist() == [0, 2, 1]
    author = AtMost(column="author", limit=1, window=2).fit(data)
    assert author.arrange(*ranked([0, 1, 2]), 3)[0].tolist() == [0, 2, 1]


CATEGORIES = st.lists(st.sets(st.sampled_from("abc"), max_size=2), min_size=1, max_size=6)


@settings(max_examples=150, deadline=None)
@given(CATEGORIES, st.integers(1, 2), st.integers(2, 4), st.integers(1, 3), st.integers(1, 6))
def test_rules_hold_exactly_when_some_order_holds_them(
    categories: list[set[str]], in_window: int, window: int, in_slate: int, n: int
) -> None:
    n = min(n, len(categories))
    data = dataset(c=pl.Series([sorted(c) for c in categories], dtype=pl.List(pl.String)))
    rule = AtMost(column="c", limit=in_window, window=window, slate=in_slate).fit(data)
    order, broken_rules = rule.arrange(*ranked(list(range(len(categories)))), n)
    slate = [categories[i] for i in order[:n]]
    possible = any(
        not violations([categories[i] for i in p], in_window, window, in_slate)
        for p in permutations(range(len(categories)), n)
    )
    assert violations(slate, in_window, window, in_slate) == (not possible)
    assert broken_rules[order[:n]].any() == (not possible)


def test_values_of_a_set_are_counted_together() -> None:
    """Never two of the colas in one slate; other brands have no limit."""
    data = dataset(brand=["Cola A", "Tea", "Cola B", "Tea", "Water"])
    rule = AtMost(column="brand", limit=None, slate=1, sets=[["Cola A", "Cola B"]]).fit(data)
    assert rule.arrange(*ranked([0, 1, 2, 3, 4]), 4)[0].tolist() == [0, 1, 3, 4, 2]


def test_first_plan_by_place_is_taken() -> None:
    """Against brute force: among all orders that hold, the lexicographically first."""
    categories = ["a", "a", "b", "a", "b", "c"]
    rule = AtMost(limit=1, window=2, slate=3).fit(dataset(category=categories))
    order = rule.arrange(*ranked(list(range(6))), 6)[0]
    holding = (
        p for p in permutations(range(6)) if not violations([{categories[i]} for i in p], 1, 2, 3)
    )
    assert order.tolist() == list(min(holding))


def test_queries_of_a_batch_are_independent() -> None:
    rule = AtMost(limit=1, window=2).fit(dataset(category=["a", "a", "b", "c"]))
    lists = [[0, 1, 2], [], [1, 3, 0], [2]]
    together = rule.arrange(*ranked(*lists), 3)[0]
    start, alone = 0, []
    for x in lists:
        alone += (rule.arrange(*ranked(x), 3)[0] + start).tolist()
        start += len(x)
    assert together.tolist() == alone


def test_empty_lists_are_legal() -> None:
    rule = AtMost().fit(dataset(category=["a"]))
    order, broken_rules = rule.arrange(*ranked([], []), 10)
    assert order.shape == broken_rules.shape == (0,)


def test_save_and_load_change_nothing(tmp_path) -> None:
    rule = AtMost(limit=1, window=2).fit(dataset(category=["a", "a", "b", "b"]))
    rule.save(tmp_path / "x")
    again = AtMost.load(tmp_path / "x", rule.config)
    ask = ranked([0, 1, 2, 3])
    assert again.arrange(*ask, 4)[0].tolist() == rule.arrange(*ask, 4)[0].tolist()


def test_errors_explain_how_to_fix_them() -> None:
    with pytest.raises(
        ConfigError, match=r"'genre' is not in the table of items \(its columns: cat"
    ):
        AtMost(column="genre").fit(dataset(category=["a"]))
    with pytest.raises(NotFittedError, match="call fit or load"):
        AtMost().arrange(*ranked([0]), 1)[0]
    with pytest.raises(ConfigError, match="neither limit nor slate"):
        AtMost(limit=None)


def test_a_limit_of_the_slate_alone_brings_no_limit_of_adjacent_places():
    assert AtMost(slate=8).config.limit is None
    assert AtMost().config.limit == 2
    assert AtMost(slate=8, limit=3).config.limit == 3
    assert AtMost(slate=8, window=4).config.limit == 2
