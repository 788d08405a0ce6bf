"""The order of candidates: the fused value, a channel's order, and reciprocal rank fusions."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamis.cascade import CandidateOrder, Candidates
from tamis.schema import VersionError


def candidates(**places: list[int]) -> Candidates:
    """One query's candidates with the given places in channels, 0: not recalled."""
    n = len(next(iter(places.values())))
    columns = {f"rank:{name}": np.array(place, np.int32) for name, place in places.items()}
    return Candidates(np.array([0, n]), np.arange(n, dtype=np.int32), columns)


def sorted_by(order: CandidateOrder, given: Candidates, value: list[float]) -> list[int]:
    scored = given.with_columns(value=order(given, np.array(value, np.float32)))
    return scored.best("value", len(given)).tolist()


def test_without_channels_the_fused_value_itself_orders():
    value = np.array([0.3, -np.inf, 0.9], np.float32)
    assert CandidateOrder()(candidates(hot=[1, 2, 3]), value) is value


def test_reciprocal_rank_fusion_by_hand():
    order = CandidateOrder(1.0, (("hot", 0.5),))
    value = order(candidates(hot=[2, 0, 1]), np.array([0.1, 0.9, 0.5], np.float32))
    # places by value: 3, 1, 2; sums: 1/63 + .5/62 = .0239, 1/61 = .0164, 1/62 + .5/61 = .0243
    np.testing.assert_allclose(value, [1 / np.log2(3), 1 / 2, 1], rtol=1e-6)


def test_equal_sums_have_equal_values():
    value = CandidateOrder(1.0, (("hot", 1.0),))(candidates(hot=[2, 1]), np.array([0.9, 0.5]))
    np.testing.assert_allclose(value, [1 / np.log2(2.5)] * 2, rtol=1e-6)


def test_a_channel_alone_orders_its_items_and_the_ranker_the_others():
    order = CandidateOrder(0.0, (("hot", 1.0),))
    assert sorted_by(order, candidates(hot=[0, 2, 0, 1]), [0.2, 0.1, 0.7, 0.0]) == [3, 1, 2, 0]


def test_items_without_a_finite_value_rank_last_among_those_that_no_channel_recalled():
    order = CandidateOrder(0.0, (("hot", 1.0),))
    assert sorted_by(order, candidates(hot=[0, 0, 1]), [-np.inf, 0.1, -np.inf]) == [2, 1, 0]


def test_a_failed_channel_gives_nothing():
    empty = Candidates(np.array([0, 0]), np.zeros(0, np.int32))
    assert len(CandidateOrder(1.0, (("hot", 1.0),))(empty, np.zeros(0, np.float32))) == 0


@given(st.permutations(range(1, 9)), st.lists(st.floats(-5, 5, width=32), min_size=8, max_size=8))
def test_each_query_is_ordered_as_if_it_were_alone(places, value):
    """A batch gives what its queries give, or evaluation would not measure what is served."""
    both = candidates(hot=[*places])
    both = Candidates(np.array([0, 3, 8]), both.item, both.columns)
    scores, order = np.array(value, np.float32), CandidateOrder(1.0, (("hot", 0.25),))
    parts = []
    for begin, end in ((0, 3), (3, 8)):
        columns = {"rank:hot": both.columns["rank:hot"][begin:end]}
        alone = Candidates(np.array([0, end - begin]), both.item[begin:end], columns)
        parts.append(order(alone, scores[begin:end]))
    np.testing.assert_array_equal(order(both, scores), np.concatenate(parts))


@pytest.mark.parametrize(
    ("order", "text"),
    [
        (CandidateOrder(), "the ranker"),
        (CandidateOrder(0.0, (("hot", 1.0),)), "the channel hot"),
        (CandidateOrder(1.0, (("hot", 1.0),)), "reciprocal rank fusion of the ranker, hot"),
        (CandidateOrder(0.0, (("a", 1.0), ("b", 0.25))), "reciprocal rank fusion of a, b × 0.25"),
    ],
)
def test_an_order_is_stored_and_described(order, text, tmp_path):
    order.save(tmp_path / "order.json")
    assert CandidateOrder.load(tmp_path / "order.json") == order
    assert order.text == text


def test_a_damaged_order_is_reported(tmp_path):
    path = tmp_path / "order.json"
    path.write_text(json.dumps({"ranker": 1.0, "channels": {"hot": "much"}}))
    with pytest.raises(VersionError, match=r"order\.json is missing or damaged"):
        CandidateOrder.load(path)
    path.write_text(json.dumps({"ranker": "x", "channels": {}}))
    with pytest.raises(VersionError, match="'ranker' holds str, not float"):
        CandidateOrder.load(path)
