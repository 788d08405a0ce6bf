"""The again channel against results computed by hand and by definition."""

import math
from collections import defaultdict
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamis.cascade import FitContext, Queries, Valid
from tamis.data import Dataset, Events, Labels, Ragged, Table, repeat_share, return_rates
from tamis.data.frame import dataset_from_frame
from tamis.features import History, ItemRepeats, OwnItems
from tamis.recall import Again
from tamis.schema import Behaviour, ConfigError, TableConfig, TamisWarning

HOUR = 3_600_000
DAY = 24 * HOUR
NOW = 1_700_000_000_000
VIEW, BUY, SHOW, RATE = range(4)
BEHAVIOURS = (
    Behaviour(name="view", weight=1.0),
    Behaviour(name="buy", weight=4.0, positive=True),
    Behaviour(name="show", impression=True, weight=1.0),
    Behaviour(name="rate", weight=0.0),
)
PLAIN = {"half_life": 10.0, "due": 0.0, "repeat_rate": 0.0, "weights": "declared"}


def log(events, items, users=1) -> Dataset:
    """events: (user, item, behaviour, days ago), in any order; items: the items' columns."""
    frame = pl.DataFrame(items)
    events = sorted(events, key=lambda e: -e[3])
    user, item, behaviour, ago = (np.array(x) for x in zip(*events, strict=True))
    time = (NOW - ago * DAY).astype(np.int64)
    n = len(events)
    return Dataset(
        Table("users", pl.Series([f"u{k}" for k in range(users)]), pl.DataFrame()),
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


def ask(*histories, exclude=(), time=NOW) -> Queries:
    """One query per history of (item, behaviour, days ago)."""
    rows = [e for h in histories for e in h]
    item, behaviour, ago = (np.array([e[k] for e in rows]) for k in range(3))
    q = len(histories)
    history = History(
        np.concatenate([[0], np.cumsum([len(h) for h in histories])]).astype(np.int64),
        item.astype(np.int32),
        behaviour.astype(np.uint8),
        (NOW - ago * DAY).astype(np.int64),
        np.full(len(rows), np.nan, np.float32),
    )
    lists = Ragged.of([np.array(sorted(exclude), np.int32)] * q)
    return Queries(np.full(q, -1, np.int32), np.full(q, time, np.int64), history, lists)


def items(found) -> list[list[int]]:
    return [[i for i in row if i >= 0] for row in found.item.tolist()]


def test_score_is_the_decayed_sum_of_weights():
    data = log([(0, 0, BUY, 1)], {"x": range(4)})
    channel = Again(**PLAIN).fit(data)
    history = [(0, BUY, 10), (1, VIEW, 0), (1, VIEW, 20), (2, SHOW, 0), (3, RATE, 0)]
    found = channel.recall(ask(history), 4)
    # 4 · 2^-1 for item 0; 1 + 2^-2 for item 1; an impression and a weight of 0 do not count
    assert items(found) == [[0, 1]]
    np.testing.assert_allclose(found.score[0, :2], [2.0, 1.25], rtol=1e-6)


def test_excluded_items_are_skipped_and_no_history_gives_nothing():
    channel = Again(**PLAIN).fit(log([(0, 0, BUY, 1)], {"x": range(3)}))
    history = [(0, BUY, 1), (1, BUY, 2)]
    assert items(channel.recall(ask(history, [], exclude=[0]), 3)) == [[1], []]


def test_events_of_long_ago_do_not_underflow():
    channel = Again(**{**PLAIN, "half_life": 0.001}).fit(log([(0, 0, BUY, 1)], {"x": range(3)}))
    assert items(channel.recall(ask([(0, BUY, 900), (2, BUY, 901), (1, BUY, 899)]), 3)) == [
        [1, 0, 2]
    ]


def test_an_item_bought_just_now_is_damped_and_a_due_one_is_not():
    weekly = [(0, i, BUY, 7.0 * k) for i in (0, 1) for k in range(1, 9)]
    channel = Again(half_life=math.inf, due=1.0, repeat_rate=0.0, weights="declared")
    channel.fit(log(weekly, {"x": range(2)}))
    # both bought twice, a week apart: item 0 just now, item 1 a week ago
    history = [(0, BUY, 7), (0, BUY, 0.01), (1, BUY, 14), (1, BUY, 7)]
    found = channel.recall(ask(history), 2)
    assert items(found) == [[1, 0]]
    # at the usual gap the probability that it would have ended is 1/2: 8 · 1/2
    np.testing.assert_allclose(found.score[0, 0], 4.0, rtol=1e-3)
    assert found.score[0, 1] < 0.1
    late = channel.recall(ask([(1, BUY, 407), (1, BUY, 400)]), 1)
    np.testing.assert_allclose(late.score[0, 0], 8.0, rtol=1e-3)


def test_the_repeat_rate_of_the_item_counts():
    # of ten users each, nobody came back to item 0 (a fridge), everybody to item 1 (milk)
    events = [(u, 0, BUY, 20) for u in range(10)]
    events += [(u, 1, BUY, ago) for u in range(10) for ago in (20, 10)]
    channel = Again(half_life=math.inf, due=0.0, repeat_rate=1.0, weights="declared")
    channel.fit(log(events, {"x": range(2)}, users=10))
    found = channel.recall(ask([(0, BUY, 3), (1, BUY, 3)]), 2)
    # the log's rate is .5; shrunk with 50 and then 10 users: (0 + 5) / 20 and (10 + 5) / 20
    assert items(found) == [[1, 0]]
    np.testing.assert_allclose(found.score[0], [4 * 0.75, 4 * 0.25], rtol=1e-5)


def test_by_category_fills_up_with_popular_items_of_the_own_categories():
    events = [(0, 3, BUY, 1), (0, 4, BUY, 1), (0, 4, BUY, 2), (0, 2, BUY, 1), (0, 1, BUY, 1)]
    data = log(events, {"kind": ["tea", "tea", "ale", "ale", "ale", "ale"]})
    roles = FitContext(items=TableConfig(path="i", id="id", category="kind"))
    channel = Again(**PLAIN, by="category").fit(data, roles)
    queries = ask([(2, BUY, 1), (2, BUY, 9), (0, BUY, 2)], [])
    found = channel.recall(queries, 6)
    # own items 2 and 0, then ale before tea, the most popular first; item 5 has no event
    assert items(found) == [[2, 0, 4, 3, 1], []]
    assert (np.diff(found.score[0, :5]) <= 0).all()
    one = ask([(2, BUY, 1), (2, BUY, 9), (0, BUY, 2)])
    assert [channel.because(one, i) for i in (2, 0, 4, 1)] == [2, 0, 2, 0]
    assert items(channel.recall(ask([(2, BUY, 1)], exclude=[2, 4]), 6)) == [[3]]


def test_by_category_needs_a_category():
    with pytest.raises(ConfigError, match="category"):
        Again(by="category").fit(log([(0, 0, BUY, 1)], {"x": [0]}))


def test_reason_says_how_often_how_long_ago_and_the_usual_gap():
    weekly = [(0, 0, BUY, 7.0 * k) for k in range(1, 9)]
    channel = Again(**PLAIN).fit(log(weekly, {"x": range(3)}))
    queries = ask([(0, BUY, 14), (0, VIEW, 7), (0, BUY, 7), (1, VIEW, 0.5)])
    assert channel.reason(queries, 0) == "view once, buy 2 times; last 7 days ago, usual gap 7 days"
    assert channel.reason(queries, 1) == "view once; last 12 hours ago, usual gap 7 days"
    assert channel.reason(queries, 2) is None
    without = Again(**PLAIN).fit(log([(0, 0, BUY, 1)], {"x": range(3)}))
    assert without.reason(queries, 0) == "view once, buy 2 times; last 7 days ago"


def test_behaviours_and_weights_are_checked():
    data = log([(0, 0, BUY, 1)], {"x": range(2)})
    with pytest.raises(ConfigError, match=r"'bye' is not declared.*buy"):
        Again(behaviours=("bye",)).fit(data)
    with pytest.raises(ConfigError, match=r"weights names 'bye'.*buy"):
        Again(weights={"bye": 1.0}).fit(data)
    with pytest.raises(ConfigError, match="no behaviour counts"):
        Again(weights={"view": 0.0, "buy": 0.0}).fit(data)
    history = ask([(0, BUY, 1), (1, VIEW, 1), (1, RATE, 0)])
    bought = Again(behaviours=("buy",)).fit(data)
    assert items(bought.recall(history, 2)) == [[0]]
    rated = Again(**{**PLAIN, "weights": {"rate": 9.0}}).fit(data)
    assert items(rated.recall(history, 2)) == [[1, 0]]


def test_half_life_is_chosen_on_validation():
    mine = [np.random.default_rng(5).permutation(12) for _ in range(60)]
    before = [
        (u, i, BUY, day + k / 100)
        for u, own in enumerate(mine)
        for day in range(60, 10, -2)
        for k, i in enumerate(own[:4])
    ]
    newest = [
        (u, i, BUY, 9 + k / 100) for u, own in enumerate(mine) for k, i in enumerate(own[4:8])
    ]
    after = {
        "habit": [(u, i, BUY, 1) for u, own in enumerate(mine) for i in own[:4]] * 4,
        "novelty": [(u, i, BUY, 1) for u, own in enumerate(mine) for i in own[4:8]] * 4,
    }
    chosen = {}
    for name, later in after.items():
        data = log(before + newest + later, {"x": range(12)}, users=60)
        chosen[name] = Again(due=0.0, repeat_rate=0.0).chosen(data).half_life
    # 25 events that are up to 50 days older outweigh one only if they are not forgotten
    assert chosen["habit"] > 8 > chosen["novelty"]


def test_weights_are_chosen_on_validation():
    random = np.random.default_rng(2)
    events = []
    for u in range(60):
        own = random.permutation(12)
        for k, i in enumerate(own[:4]):  # bought, and bought again
            events += [(u, i, BUY, 30 + k), (u, i, BUY, 1)]
        events += [(u, i, VIEW, 20 + k / 9) for i in own[4:10] for k in range(9)]  # looked at only
    data = log(events * 2, {"x": range(12)}, users=60)
    fixed = Again(half_life=math.inf, due=0.0, repeat_rate=0.0)
    weights = fixed.chosen(data).weights
    assert weights["view"] * 9 < weights["buy"]
    assert weights["rate"] == weights["show"] == 0
    fitted = fixed.fit(data)
    assert fitted.config.weights == "auto", "what was learnt lies beside the config"
    assert fitted._facts["weights"] == weights


def test_defaults_where_nothing_was_repeated_and_validation_that_masks_is_not_used():
    data = log([(u, u, BUY, u + 1) for u in range(5)], {"x": range(5)}, users=5)
    chosen = Again().chosen(data)
    assert (chosen.half_life, chosen.due, chosen.repeat_rate) == (30.0, 0.5, 0.0)
    assert chosen.weights == {"view": 1.0, "buy": 4.0, "show": 0.0, "rate": 0.0}
    masked = ask([(0, BUY, 3)], exclude=[0])
    context = FitContext(valid=Valid(masked, Ragged.of([np.array([0], np.int32)])))
    assert Again().chosen(data, context) == chosen


def test_recommend_keeps_own_items_by_default():
    frame = pl.DataFrame({"user_id": ["a", "a", "b"], "item_id": ["x", "y", "y"]})
    channel = Again().fit(frame)
    assert set(channel.recommend(["a"])["item"]) == {"x", "y"}
    with pytest.warns(TamisWarning, match="found no item for 1 of 1 users"):
        assert channel.recommend(["a"], exclude_seen=True).is_empty()


def test_repeat_share_counts_positive_events_after_an_earlier_visit():
    events = [(0, 0, VIEW, 5), (0, 0, BUY, 4.9), (0, 0, BUY, 2), (0, 1, BUY, 2), (0, 2, SHOW, 3)]
    events += [(0, 2, BUY, 1)]
    # the purchase 2.4 hours after the view is the same visit; an impression is no visit
    assert repeat_share(log(events, {"x": range(3)})) == pytest.approx(1 / 4)
    assert repeat_share(log([(0, 0, VIEW, 5)], {"x": [0]})) == 0


def test_return_rates_count_events_that_are_as_strong_after_an_earlier_visit():
    events = [(u, u, VIEW, 9.0) for u in range(40)]  # 40 views of different items
    events += [(u, u, BUY, 5.0) for u in range(30)]  # 30 of these are bought four days later
    events += [(u, u, BUY, 2.0) for u in range(6)]  # and 6 of these again
    rates = return_rates(log(events, {"x": range(40)}, users=40))
    assert rates["view"] == 1  # all positive events, the 36 purchases, are on viewed items
    assert rates["buy"] == pytest.approx(6 / 36)
    assert "show" not in rates
    few = return_rates(log(events[:50], {"x": range(40)}, users=40))
    assert "buy" not in few  # ten purchases say nothing


histories = st.lists(
    st.lists(
        st.tuples(st.integers(-1, 6), st.integers(0, 3), st.integers(0, 400)),
        max_size=12,
    ),
    min_size=1,
    max_size=4,
)


@given(histories)
def test_own_items_equal_their_definition(each):
    """Against plain Python; times in hours ago, in any order (events may arrive late)."""
    queries = ask(*[[(i, b, ago / 24) for i, b, ago in h] for h in each])
    counted = np.array([True, True, False, False])
    own = OwnItems.of(queries.history, counted, 5, visit_hours=6)
    expected = defaultdict(list)
    for q, h in enumerate(each):
        for i, b, ago in h:
            if b in (VIEW, BUY) and 0 <= i < 5:
                expected[q, i].append((-ago, b))
    assert list(zip(own.query.tolist(), own.pairs.item.tolist(), strict=True)) == sorted(expected)
    weight = np.array([1.0, 4.0, 0, 0])
    frequency = own.log_frequencies(queries.time, weight, 3.0)
    for p, key in enumerate(sorted(expected)):
        events = sorted(expected[key], key=lambda e: e[0])
        gaps = [b[0] - a[0] for a, b in pairwise(events) if b[0] - a[0] >= 6]
        assert own.pairs.visits[p] == len(gaps) + 1
        assert own.pairs.log_gaps[p] == pytest.approx(sum(math.log(g / 24) for g in gaps))
        assert own.elapsed(queries.time)[p] == pytest.approx(-events[-1][0] / 24)
        assert own.pairs.behaviour[p] in [b for t, b in events if t == events[-1][0]]
        total = sum(weight[b] * 2 ** (t / 24 / 3) for t, b in events)
        assert frequency[p] == pytest.approx(math.log2(total), abs=1e-9)


def test_item_repeats_by_hand():
    # item 0: gaps of 4 and 16 days of one user; item 1: one of 2 days; item 2: none
    events = [(0, 0, BUY, 21), (0, 0, BUY, 17), (0, 0, BUY, 1), (1, 1, BUY, 5), (1, 1, BUY, 3)]
    events += [(1, 2, BUY, 3)]
    repeats = ItemRepeats.fit(log(events, {"x": range(3)}, users=2), np.array([0, 1, 0, 0], bool))
    four, sixteen, two = math.log(4), math.log(16), math.log(2)
    mean = (four + sixteen + two) / 3  # of the log; its one category is shrunk to the same
    expected = [(four + sixteen + 5 * mean) / 7, (two + 5 * mean) / 6, mean]
    np.testing.assert_allclose(repeats.log_gap, expected, rtol=1e-6)
    np.testing.assert_allclose(repeats.rate, [(1 + 20 / 3) / 11, (1 + 20 / 3) / 11, (20 / 3) / 11])
    off = [four - expected[0], sixteen - expected[0], two - expected[1]]
    assert repeats.spread == pytest.approx(math.sqrt(sum(x * x for x in off) / 3), rel=1e-6)


def test_usual_gaps_are_shrunk_towards_the_category():
    events = [(0, 0, BUY, 2 * k) for k in range(1, 60)] + [
        (1, 1, BUY, 30 * k) for k in range(1, 60)
    ]
    events += [(2, 2, BUY, 3), (2, 3, BUY, 3)]
    data = log(events, {"kind": ["milk", "soap", "milk", "soap"]}, users=3)
    labels = Labels.of_items(data.items, "kind", None)
    gap = np.exp(ItemRepeats.fit(data, np.array([0, 1, 0, 0], bool), categories=labels).log_gap)
    assert gap[2] < 4, "nobody came back to it; to other milk after two days"
    assert gap[3] > 15


def test_a_frame_without_times_is_ranked_by_order():
    frame = pl.DataFrame({"user_id": [0] * 5, "item_id": list("xyyzx")})
    data = dataset_from_frame(frame)
    assert Again(half_life=math.inf, due=0.0).fit(data).recommend([0])["item"].to_list()[-1] == "z"
