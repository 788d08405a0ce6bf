"""Merge by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.cascade import Recalled
from tamis.cascade.merge import merge
from tamis.schema import ConfigError


def lists(*rows, scores=None, k=None):
    """A channel's answer: lists of items, scores falling from their length where not given."""
    k = k or max(map(len, rows), default=1) or 1
    item = np.full((len(rows), k), -1, np.int32)
    score = np.full((len(rows), k), -np.inf, np.float32)
    for q, row in enumerate(rows):
        item[q, : len(row)] = row
        score[q, : len(row)] = range(len(row), 0, -1) if scores is None else scores[q]
    return Recalled(item, score)


def test_snake_takes_turns_and_skips_items_already_taken():
    # a takes 1; b takes 2; a takes 2? taken, so 3; b takes 1? taken, 3? taken, so 5; a takes 4
    merged = merge({"a": lists([1, 2, 3, 4]), "b": lists([2, 1, 3, 5])}, {"a": 9, "b": 9})
    assert merged.item.tolist() == [1, 2, 3, 5, 4]
    assert merged.columns["recall"].tolist() == [1, 2, 3, 4, 5]
    assert merged.columns["rank:a"].tolist() == [1, 2, 3, 0, 4]
    assert merged.columns["rank:b"].tolist() == [2, 1, 3, 4, 0]
    np.testing.assert_array_equal(merged.columns["score:b"], [3, 4, 2, 1, np.nan])
    assert merged.columns["rank:a"].dtype == np.int32
    assert merged.columns["score:a"].dtype == np.float32


def test_weights_are_places_per_round_rounded_up():
    found = {"a": lists([1, 2, 3, 4, 5]), "b": lists([11, 12, 13]), "c": lists([21, 22])}
    merged = merge(found, dict.fromkeys("abc", 9), {"a": 1.2, "b": 1.0, "c": 0.0})
    assert merged.item.tolist() == [1, 2, 11, 3, 4, 12, 5, 13]


def test_quota_and_limit_cut_the_list_but_each_item_keeps_all_its_channels():
    found = {"a": lists([1, 2, 3], [4]), "b": lists([9, 3, 1], [])}
    merged = merge(found, {"a": 2, "b": 3}, limit=3)
    assert merged.indptr.tolist() == [0, 3, 4]
    assert merged.item.tolist() == [1, 9, 2, 4]  # item 3 is beyond the limit
    assert merged.columns["rank:b"].tolist() == [3, 1, 0, 0]
    # beyond a's quota: not found by a
    merged = merge(found, {"a": 2, "b": 3})
    assert merged.columns["rank:a"][merged.item == 3].tolist() == [0]


def test_a_failed_channel_leaves_empty_columns():
    merged = merge({"a": lists([1, 2])}, {"broken": 5, "a": 5})
    assert merged.item.tolist() == [1, 2]
    assert merged.columns["rank:broken"].tolist() == [0, 0]
    assert np.isnan(merged.columns["score:broken"]).all()
    nobody = merge({}, {"a": 5}, queries=2)
    assert nobody.indptr.tolist() == [0, 0, 0]
    assert set(nobody.columns) == {"rank:a", "score:a", "recall"}


def test_fallback_channels_are_used_only_if_others_find_nothing():
    found = {"hot": lists([1, 2], [1, 2]), "cf": lists([7], [])}
    merged = merge(found, {"hot": 2, "cf": 2}, fallback={"hot"})
    assert merged.indptr.tolist() == [0, 1, 3]
    assert merged.item.tolist() == [7, 1, 2]
    alone = merge({"hot": lists([1])}, {"hot": 2, "cf": 2}, fallback={"hot"})
    assert alone.item.tolist() == [1]


def test_score_by_rank():
    # a: 1 → 1, 2 → 1/2; b: 3 → 1, 2 → 2/3, 4 → 1/3. weights 1, 1/2
    found = {"a": lists([1, 2]), "b": lists([3, 2, 4])}
    merged = merge(found, {"a": 9, "b": 9}, {"b": 0.5}, method="score")
    # 2: 1/2 + 1/3 = .83; 3: .5; 4: 1/6
    assert merged.item.tolist() == [1, 2, 3, 4]
    heavier = merge(found, {"a": 9, "b": 9}, {"b": 0.9}, method="score")
    assert heavier.item.tolist() == [2, 1, 3, 4]  # 2: .5 + .6 = 1.1


def test_score_by_minmax_and_zscore():
    a = lists([1, 2, 3], scores=[[10, 4, 0]])
    b = lists([4, 2], scores=[[0.2, 0.1]])
    merged = merge({"a": a, "b": b}, {"a": 9, "b": 9}, method="score", normalise="minmax")
    # a: 1, .4, 0; b: 4 → 1, 2 → 0; the tie of 1 and 4 goes to the first channel
    assert merged.item.tolist() == [1, 4, 2, 3]
    merged = merge({"a": a, "b": b}, {"a": 9, "b": 9}, method="score", normalise="zscore")
    # sd of a = 4.109: 2.43, .97, 0; of b = .05: 2, 0
    assert merged.item.tolist() == [1, 4, 2, 3]
    flat = lists([5, 6], scores=[[3, 3]])
    merged = merge({"a": a, "f": flat}, {"a": 9, "f": 9}, method="score", normalise="minmax")
    assert merged.item.tolist() == [1, 5, 6, 2, 3]


def test_errors():
    with pytest.raises(ConfigError, match="'b' has no quota"):
        merge({"b": lists([1])}, {"a": 1})
    with pytest.raises(ConfigError, match="different numbers of queries"):
        merge({"a": lists([1]), "b": lists([1], [2])}, {"a": 1, "b": 1})
    with pytest.raises(ConfigError, match="nothing to merge"):
        merge({}, {"a": 1})


def naive_snake(channels, steps, limit):
    queues, taken = [list(c) for c in channels], []
    while any(q and s for q, s in zip(queues, steps, strict=True)):
        for queue, step in zip(queues, steps, strict=True):
            got = 0
            while queue and got < step:
                item = queue.pop(0)
                if item not in taken:
                    taken.append(item)
                    got += 1
    return taken[:limit]


channel = st.lists(st.integers(0, 15), unique=True, max_size=8)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(channel, channel, channel), min_size=1, max_size=4),
    st.tuples(*[st.integers(0, 3)] * 3),
    st.integers(1, 20),
    st.sampled_from(["snake", "score"]),
)
def test_properties_of_the_merge(queries, weights, limit, method):
    names = "abc"
    found = {n: lists(*[q[c] for q in queries], k=8) for c, n in enumerate(names)}
    quotas = dict.fromkeys(names, 8)
    merged = merge(found, quotas, dict(zip(names, weights, strict=True)), method, limit=limit)
    for q, three in enumerate(queries):
        span = slice(merged.indptr[q], merged.indptr[q + 1])
        items = merged.item[span].tolist()
        assert len(set(items)) == len(items) <= limit
        if method == "snake":
            assert items == naive_snake(three, weights, limit)
        else:
            assert len(items) == min(limit, len(set().union(*three)))
        for c, name in enumerate(names):
            ranks = [three[c].index(i) + 1 if i in three[c] else 0 for i in items]
            assert merged.columns[f"rank:{name}"][span].tolist() == ranks
