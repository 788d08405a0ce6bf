"""MMR against a naive version, and its laws."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.cascade import Candidates, Queries
from tamis.data import Dataset, Events, Ragged, Table
from tamis.features import History
from tamis.rerank import MMR
from tamis.schema import ConfigError, NotFittedError, StageError


def dataset(**columns) -> Dataset:
    frame = pl.DataFrame(columns)
    ids = pl.Series([f"i{k}" for k in range(len(frame))], dtype=pl.String)
    none = np.zeros(0)
    events = Events(*(none.astype(t) for t in ("i4", "i4", "u1", "i8", "i8", "f4", "i8", "i2")))
    return Dataset(Table("users", ids[:0], pl.DataFrame()), Table("items", ids, frame), events, ())


def ranked(*values: list[float]) -> tuple[Queries, Candidates]:
    """One list per query of values, best first; query q's items are rows 0, 1, …"""
    q = len(values)
    items = Ragged.of([np.arange(len(x), dtype=np.int32) for x in values])
    queries = Queries(
        np.zeros(q, np.int32), np.zeros(q, np.int64), History.empty(q), Ragged.empty(q)
    )
    value = np.array([v for x in values for v in x], np.float32)
    return queries, Candidates(items.indptr, items.values, {"value": value})


def naive(values, similarity, theta, window, n) -> list[int]:
    """The formula, item by item."""
    value = np.array(values, np.float32).astype(float)
    low, high = min(value), max(value)
    score = (value - low) / (high - low) if high > low else value * 0
    slate: list[int] = []
    while len(slate) < n:
        above = slate[-window:] if window else slate
        left = [i for i in range(len(values)) if i not in slate]
        marginal = [
            theta * score[i]
            - (1 - theta) * (max(similarity[i][j] for j in above) if above else 0.0)
            for i in left
        ]
        slate.append(left[int(np.argmax(marginal))])
    return slate + [i for i in range(len(values)) if i not in slate]


def jaccard(a: set, b: set) -> float:
    return len(a & b) / len(a | b) if a | b else 0.0


def test_by_hand() -> None:
    rule = MMR(theta=0.5).fit(dataset(category=["a", "a", "b"]))
    order, marginal = rule.arrange(*ranked([1.0, 0.8, 0.0]), 3)
    # Scores 1, .8, 0. First .5; then a: .4 − .5 = −.1 against b: 0; then a again −.1.
    assert order.tolist() == [0, 2, 1]
    assert marginal == pytest.approx([0.5, -0.1, 0.0])


def test_only_the_window_counts() -> None:
    data = dataset(category=["a", "b", "a", "c"])
    ask = ranked([1.0, 0.9, 0.8, 0.0])
    # In place 3 the whole slate still holds an a, so c goes first.
    assert MMR(theta=0.4).fit(data).arrange(*ask, 4)[0].tolist() == [0, 1, 3, 2]
    assert MMR(theta=0.4, window=1).fit(data).arrange(*ask, 4)[0].tolist() == [0, 1, 2, 3]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 8), st.sets(st.sampled_from("abcd"))), min_size=1, max_size=9
    ),
    st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]),
    st.sampled_from([None, 1, 2, 3]),
    st.integers(0, 9),
)
def test_categories_equal_the_naive_version(rows, theta, window, n) -> None:
    rows = sorted(rows, key=lambda row: -row[0])
    values, sets = [float(r[0]) for r in rows], [r[1] for r in rows]
    n = min(n, len(rows))
    data = dataset(category=pl.Series([sorted(s) for s in sets], dtype=pl.List(pl.String)))
    rule = MMR(theta=theta, window=window).fit(data)
    likeness = [[jaccard(a, b) for b in sets] for a in sets]
    assert rule.arrange(*ranked(values), n)[0].tolist() == naive(values, likeness, theta, window, n)


@pytest.mark.parametrize("window", [None, 2, 5])
def test_vectors_equal_the_naive_version(window) -> None:
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(40, 8))
    values = sorted(rng.normal(size=40), reverse=True)
    data = dataset(v=vectors.tolist())
    rule = MMR(similarity="vector", column="v", window=window, theta=0.6).fit(data)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    expected = naive(values, unit @ unit.T, 0.6, window, 20)
    assert rule.arrange(*ranked(values), 20)[0].tolist()[:20] == expected[:20]


def test_missing_and_zero_vectors_have_similarity_zero() -> None:
    data = dataset(v=[[1.0, 0.0], [1.0, 0.0], None, [0.0, 0.0], [float("nan"), 1.0]])
    rule = MMR(similarity="vector", column="v", theta=0.5).fit(data)
    assert rule.arrange(*ranked([1.0, 0.9, 0.3, 0.2, 0.0]), 5)[0].tolist() == [0, 2, 3, 4, 1]


def test_theta_one_keeps_the_order() -> None:
    rule = MMR(theta=1.0).fit(dataset(category=["a"] * 6))
    assert rule.arrange(*ranked([5.0, 5.0, 4.0, 4.0, 4.0, 1.0]), 6)[0].tolist() == list(range(6))


def test_items_without_a_score_come_last() -> None:
    rule = MMR(theta=0.5).fit(dataset(category=["a", "b", "c", "d"]))
    order, marginal = rule.arrange(*ranked([2.0, 1.0, float("nan"), float("-inf")]), 4)
    assert order.tolist() == [0, 1, 2, 3]
    assert np.isneginf(marginal[2:]).all()


def test_a_short_slate_is_a_prefix_of_a_long_one() -> None:
    rng = np.random.default_rng(5)
    data = dataset(category=rng.integers(0, 5, 80))
    rule = MMR(theta=0.6).fit(data)
    ask = ranked(sorted(rng.random(80), reverse=True))
    whole = rule.arrange(*ask, 80)[0]
    for n in (0, 1, 10, 50):
        part = rule.arrange(*ask, n)[0]
        assert part[:n].tolist() == whole[:n].tolist()
        assert part[n:].tolist() == sorted(part[n:])
        assert sorted(part) == list(range(80))


def test_batch_equals_one_by_one_and_empty_lists_are_legal() -> None:
    data = dataset(category=["a", "a", "b", "c"])
    rule = MMR(theta=0.5).fit(data)
    lists = [[3.0, 2.0, 1.0], [], [1.0], [4.0, 3.0, 2.0, 1.0]]
    start, alone = 0, []
    for x in lists:
        alone += (rule.arrange(*ranked(x), 3)[0] + start).tolist()
        start += len(x)
    assert rule.arrange(*ranked(*lists), 3)[0].tolist() == alone
    assert rule.arrange(*ranked([], []), 3)[0].shape == (0,)


@pytest.mark.parametrize("rule", [MMR(theta=0.5), MMR(theta=0.5, similarity="vector", column="v")])
def test_save_and_load_change_nothing(rule, tmp_path) -> None:
    rule.fit(dataset(category=["a", "a", "b"], v=[[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]]))
    rule.save(tmp_path / "x")
    again = MMR.load(tmp_path / "x", rule.config)
    ask = ranked([1.0, 0.9, 0.1])
    assert again.arrange(*ask, 3)[0].tolist() == rule.arrange(*ask, 3)[0].tolist() == [0, 2, 1]


def test_errors_explain_how_to_fix_them() -> None:
    data = dataset(category=["a"], v=[[1.0]])
    with pytest.raises(ConfigError, match="'genres' is not in the table of items"):
        MMR(column="genres").fit(data)
    with pytest.raises(ConfigError, match="not lists of numbers"):
        MMR(similarity="vector", column="category").fit(data)
    with pytest.raises(ConfigError, match="set similarity = 'vector'"):
        MMR().with_vectors(np.ones((1, 1), np.float32))
    with pytest.raises(ConfigError, match=r"lengths \[1, 2\]"):
        MMR(similarity="vector", column="v").fit(dataset(v=[[1.0], [1.0, 2.0]]))
    with pytest.raises(NotFittedError, match="call fit or load it"):
        MMR().arrange(*ranked([1.0]), 1)[0]
    with pytest.raises(StageError, match="was fitted on 1 items and was given item row 1"):
        MMR().fit(data).arrange(*ranked([1.0, 0.5]), 1)[0]
