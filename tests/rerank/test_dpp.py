"""DPP against the naive greedy choice by determinants, over the whole slate and by windows."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.cascade import Candidates, Queries
from tamis.data import Dataset, Events, Ragged, Table
from tamis.features import History
from tamis.rerank import DPP
from tamis.schema import ConfigError, NotFittedError


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
    """argmax det L of the last `window` placed items with each further one, item by item."""
    value = np.array(values, np.float32).astype(float)
    low, high = min(value), max(value)
    np.fill_diagonal(similarity, 1.0)  # equal gains are equal exactly
    quality = (
        np.exp(theta * (value - low) / (high - low) / 2) if high > low else np.ones(len(value))
    )
    kernel = quality[:, None] * np.asarray(similarity) * quality[None, :]
    slate: list[int] = []
    while len(slate) < n:
        above = slate[-window:] if window else slate
        left = [i for i in range(len(values)) if i not in slate]
        base = np.linalg.slogdet(kernel[np.ix_(above, above)])[1] if above else 0.0
        gains = [
            np.linalg.slogdet(kernel[np.ix_([*above, i], [*above, i])])[1] - base for i in left
        ]
        slate.append(left[int(np.argmax(gains))])
    return slate


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 30),
    st.sampled_from([0.0, 0.65, 5.0, 20.0]),
    st.sampled_from([None, 1, 2, 3, 6]),
)
def test_it_equals_the_naive_greedy_choice(seed, size, theta, window) -> None:
    draw = np.random.default_rng(seed)
    vectors = draw.normal(size=(size, 12)).astype(np.float32)
    values = sorted(draw.normal(size=size), reverse=True)
    n = min(size, 10)
    rule = DPP(similarity="vector", column="v", theta=theta, window=window)
    rule.fit(dataset(v=vectors.tolist()))
    unit = vectors.astype(float) / np.linalg.norm(vectors.astype(float), axis=1, keepdims=True)
    order, gain = rule.arrange(*ranked(values), n)
    assert order[:n].tolist() == naive(values, unit @ unit.T, theta, window, n)
    assert np.isfinite(gain[order[:n]]).all()


def test_by_hand() -> None:
    """Scores 1, 0.5, 0; the second item's vector has the cosine 0.8 with the first one's."""
    data = dataset(v=[[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
    strong = DPP(similarity="vector", column="v", theta=4).fit(data)
    order, gain = strong.arrange(*ranked([1.0, 0.5, 0.0]), 3)
    # First log q² = 4. Then 2 + log(1 − 0.64) = 0.978 against 0 + log 1 = 0.
    assert order.tolist() == [0, 1, 2]
    assert gain[:2] == pytest.approx([4.0, 2 + np.log(0.36)], abs=1e-5)
    weak = DPP(similarity="vector", column="v", theta=1).fit(data)
    assert weak.arrange(*ranked([1.0, 0.5, 0.0]), 3)[0].tolist() == [0, 2, 1]  # 0.5 − 1.02 < 0


def test_only_the_window_counts() -> None:
    data = dataset(v=[[1.0, 0.0], [0.0, 1.0], [0.9, 0.1], [0.1, 0.9]])
    ask = ranked([1.0, 0.9, 0.8, 0.0])
    # In place 3 only the second item counts, from which the third differs.
    rule = DPP(similarity="vector", column="v", theta=2, window=1).fit(data)
    assert rule.arrange(*ask, 4)[0].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("window", [None, 3])
def test_items_that_the_placed_ones_explain_come_last_by_their_score(window) -> None:
    """Duplicates add no volume; they are still placed, the best first."""
    data = dataset(v=[[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    rule = DPP(similarity="vector", column="v", theta=1, window=window).fit(data)
    order, _ = rule.arrange(*ranked([1.0, 0.9, 0.8, 0.0]), 4)
    assert order.tolist() == [0, 3, 1, 2]


def test_a_duplicate_counts_again_once_its_like_has_left_the_window() -> None:
    data = dataset(v=[[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.9, 0.0, 0.1]])
    rule = DPP(similarity="vector", column="v", theta=0, window=2).fit(data)
    # Scores do not count: 0, then 2; then of 1 and 3, which resemble 0 alone, the one that differs
    # more from it, 3; then 1, for 0 has left the window.
    assert rule.arrange(*ranked([1.0, 0.9, 0.8, 0.7]), 4)[0].tolist() == [0, 2, 3, 1]


class Channel:
    """A channel with vectors of three items; not of unit length."""

    def __init__(self) -> None:
        self.vectors = np.array([[2.0, 0.0], [3.0, 0.1], [0.0, 0.5]], np.float32)

    def item_vectors(self):
        return self.vectors


def test_it_compares_the_vectors_of_a_channel_as_they_are_now() -> None:
    rule, channel = DPP(similarity="channel", channel="towers", theta=1), Channel()
    assert rule.vectors_of == "towers"
    rule.fit(dataset(category=["a", "a", "a"]))
    with pytest.raises(NotFittedError, match=r"use_channel\(channel\)"):
        rule.arrange(*ranked([1.0, 0.9, 0.0]), 3)
    rule.use_channel(channel)
    assert rule.arrange(*ranked([1.0, 0.9, 0.0]), 3)[0].tolist() == [0, 2, 1]
    channel.vectors = channel.vectors[[0, 2, 1]]  # as if they had been trained further
    assert rule.arrange(*ranked([1.0, 0.9, 0.0]), 3)[0].tolist() == [0, 1, 2]


def test_options_without_effect_are_refused() -> None:
    with pytest.raises(ConfigError, match="channel = 'towers' has no effect"):
        DPP(channel="towers")
    with pytest.raises(ConfigError, match="theta"):
        DPP(theta=-1)


def test_a_request_sets_its_strength() -> None:
    """0: by value alone, also among duplicates; 1: by difference alone."""
    data = dataset(v=[[1.0, 0.0], [1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    rule = DPP(similarity="vector", column="v").fit(data)
    ask = ranked([1.0, 0.9, 0.5, 0.0])
    assert rule.with_diversity(0).arrange(*ask, 4)[0].tolist() == [0, 1, 2, 3]
    assert rule.with_diversity(1).arrange(*ask, 2)[0].tolist()[:2] == [0, 3]
    same, whole = rule.with_diversity(0.5).arrange(*ask, 4), rule.arrange(*ask, 4)
    assert same[0].tolist() == whole[0].tolist()
    assert rule.config.theta == 10
