"""Ads, pins, quotas, fairness, fatigue, terms and drawing, each by hand."""

from collections import Counter
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from tamis.cascade import Candidates, FitContext, Queries, arrange, seed_of
from tamis.data import Dataset, Events, Ragged, Table
from tamis.features import History
from tamis.rerank import DPP, MMR, Ads, AtMost, Fair, Fatigue, Objectives, Pins, Quota, Sample
from tamis.schema import Behaviour, ConfigError, TableConfig

DAY = 86_400_000


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


def slate(rule, items, n, predictions=None, queries=None):
    """The slate of item rows, and the note of each."""
    asked, candidates = ranked(items)
    if predictions is not None:
        candidates = candidates.with_predictions(
            {name: np.array(p, np.float32) for name, p in predictions.items()}
        )
    order, note = rule.arrange(queries or asked, candidates, n)
    return candidates.item[order[:n]].tolist(), note


SHOP = {"sponsored": [False, True, True, False, True], "bid": [0.0, 2.0, 5.0, 0.0, None]}


def test_ads_are_ranked_by_expected_revenue() -> None:
    """bid · click: .2 of item 1, .25 of item 2; item 4 has no bid and is no advertisement."""
    rule = Ads(places=[2, 4], value="bid * click").fit(dataset(**SHOP))
    predictions = {"click": [0.5, 0.1, 0.05, 0.3, 0.9]}
    found, revenue = slate(rule, [0, 1, 2, 3, 4], 4, predictions)
    assert found == [0, 2, 3, 1]
    assert revenue[:4] == pytest.approx([0, 0.2, 0.25, 0])


def test_cheap_ads_are_not_shown_and_the_place_holds_another_item() -> None:
    rule = Ads(places=[2, 3], value="bid * click", least=0.22).fit(dataset(**SHOP))
    found, _ = slate(rule, [0, 1, 2, 3, 4], 3, {"click": [0.5, 0.1, 0.05, 0.3, 0.9]})
    assert found[:2] == [0, 2]
    assert found[2] == 3  # items 1 and 4 are advertisements, and below the bound


def test_ads_without_places_keep_their_distance() -> None:
    rule = Ads(gap=2, slate=2).fit(dataset(sponsored=[True, True, False, False, True, False]))
    assert slate(rule, [0, 1, 2, 3, 4, 5], 5)[0] == [0, 2, 3, 1, 5]
    one = Ads(gap=1).fit(dataset(sponsored=[True, True, False, False, True, False]))
    assert slate(one, [0, 1, 2, 3, 4, 5], 5)[0] == [0, 2, 1, 3, 4]


def test_ads_are_inserted_by_bid() -> None:
    rule = Ads(places=[1], insert=2, insert_by="bid").fit(dataset(**SHOP))
    queries, _ = ranked([0], [1])
    assert [rows.tolist() for rows in (rule.inserted(queries)[q] for q in (0, 1))] == [[2, 1]] * 2
    with pytest.raises(ConfigError, match=r"'bids' is not a numeric column.*Did you mean `bid`"):
        Ads(places=[1], insert=2, insert_by="bids").fit(dataset(**SHOP))
    with pytest.raises(ConfigError, match="neither places, gap nor slate"):
        Ads()


def test_pins_stand_at_their_places_whatever_their_value() -> None:
    rule = Pins(items=["i4", "i2"], places=[1, 3]).fit(dataset(category=list("abcde")))
    found, note = slate(rule, [0, 1, 2, 3, 4], 4)
    assert found == [4, 0, 2, 1]
    assert note.tolist() == [0, 0, 3, 0, 1]
    assert rule.inserted(ranked([0])[0])[0].tolist() == [4, 2]
    with pytest.raises(ConfigError, match=r"\['i9'\] are not in the items' table"):
        Pins(items=["i9"], places=[1]).fit(dataset(category=["a"]))
    with pytest.raises(ConfigError, match="2 items and 1 places"):
        Pins(items=["i1", "i2"], places=[1])


def at(time, *lists):
    """The queries and candidates of `ranked`, at a time."""
    queries, candidates = ranked(*lists)
    return replace(queries, time=np.full(len(queries), time, np.int64)), candidates


CONTEXT = FitContext(items=TableConfig(author="author", published="published"))


def test_a_share_of_every_head_goes_to_fresh_items() -> None:
    published = [0, 0, 0, 96 * DAY, 0, 99 * DAY]
    rule = Quota(group="fresh", share=0.34, days=7).fit(dataset(published=published), CONTEXT)
    queries, _ = at(100 * DAY, [0])
    assert slate(rule, [0, 1, 2, 3, 4, 5], 6, queries=queries)[0] == [0, 1, 3, 2, 4, 5]
    late, _ = at(104 * DAY, [0])  # item 3 is no longer fresh
    assert slate(rule, [0, 1, 2, 3, 4, 5], 3, queries=late)[0] == [0, 1, 5]
    whole = Quota(group="fresh", share=0.34, days=7, spread=False)
    whole.fit(dataset(published=published), CONTEXT)
    assert slate(whole, [0, 1, 2, 3, 4, 5], 6, queries=queries)[0] == [0, 1, 2, 3, 4, 5]


def test_new_authors_are_those_whose_first_item_is_young() -> None:
    data = dataset(author=["x", "x", "y", "z"], published=[0, 99 * DAY, 98 * DAY, -1])
    rule = Quota(group="new_authors", share=1.0, days=7).fit(data, CONTEXT)
    queries, _ = at(100 * DAY, [0])
    found, member = slate(rule, [0, 1, 2, 3], 1, queries=queries)
    assert found == [2]
    assert member.tolist() == [0, 0, 1, 0]


def test_the_long_tail_is_what_has_few_events() -> None:
    data = dataset(category=list("abcde"))
    item = np.array([0, 0, 0, 1, 1, 2], np.int32)
    zero = np.zeros(6)
    events = Events(
        zero.astype("i4"), item, *(zero.astype(t) for t in ("u1", "i8", "i8", "f4", "i8", "i2"))
    )
    data = replace(data, events=events, behaviours=(Behaviour(name="click", positive=True),))
    rule = Quota(group="tail", share=0.5, popular=0.4).fit(data)
    found, member = slate(rule, [0, 1, 2, 3, 4], 4)
    assert member.tolist() == [0, 0, 1, 1, 1]
    assert found == [0, 2, 1, 3]


def test_each_group_has_its_share_of_every_head() -> None:
    """Of 8 candidates 2 are of the small group: with full strength a quarter of the places."""
    rule = Fair(column="size", strength=1.0).fit(dataset(size=["big"] * 6 + ["small"] * 2))
    found, share = slate(rule, list(range(8)), 8)
    assert found == [0, 1, 2, 6, 3, 4, 5, 7]
    assert share.tolist() == [0.75] * 6 + [0.25] * 2
    with pytest.raises(ConfigError, match="31 values; at most 30 groups"):
        Fair(column="size").fit(dataset(size=[str(k) for k in range(31)]))


def test_an_authors_further_items_count_less() -> None:
    """Scores 1, .9, .6, 0: the second x has .9 · .625 = .5625."""
    rule = Fatigue(column="author").fit(dataset(author=["x", "x", "y", "y"]))
    asked, candidates = ranked([0, 1, 2, 3])
    candidates = candidates.with_columns(value=np.array([1, 0.9, 0.6, 0], np.float32))
    order, factor = rule.arrange(asked, candidates, 4)
    assert order.tolist() == [0, 2, 1, 3]
    assert factor.tolist() == [1, 0.625, 1, 0.625]


def met(items, times):
    size = len(items)
    return History(
        np.array([0, size]),
        np.array(items, np.int32),
        np.zeros(size, np.uint8),
        np.array(times, np.int64),
        np.full(size, np.nan, np.float32),
    )


def test_what_the_user_met_lately_counts_across_requests() -> None:
    rule = Fatigue(column="author", hours=24).fit(dataset(author=["x", "x", "y", "y"]))
    three, three_of = at(10 * DAY, [0, 2, 3])
    three_of = three_of.with_columns(value=np.array([1, 0.7, 0], np.float32))
    lately = replace(three, history=met([1, 1, 3], [9.5 * DAY, 9.6 * DAY, 8 * DAY]))
    order, factor = rule.arrange(lately, three_of, 3)
    assert order.tolist() == [1, 0, 2]  # .625 of the one item of x met within a day, against .7
    assert factor.tolist() == [0.625, 1, 0.625]
    assert rule.arrange(three, three_of, 3)[0].tolist() == [0, 1, 2]


def impressions(users, items, times) -> Events:
    size = len(users)
    return Events(
        user=np.array(users, np.int32),
        item=np.array(items, np.int32),
        behaviour=np.zeros(size, np.uint8),
        time=np.array(times, np.int64),
        arrival=np.array(times, np.int64),
        value=np.full(size, np.nan, np.float32),
        request=np.full(size, -1, np.int64),
        position=np.zeros(size, np.int16),
    )


def test_what_the_user_was_shown_lately_counts_too(tmp_path) -> None:
    """User 0 was shown an item of x in the log, and one of y since; user 1 nothing."""
    data = dataset(author=["x", "x", "y", "z"])
    ids = pl.Series(["u0", "u1"])
    data = replace(
        data,
        users=Table("users", ids, pl.DataFrame()),
        behaviours=(Behaviour(name="view", impression=True),),
        events=impressions([0, 0], [1, 3], [10 * DAY, 1 * DAY]),
    )
    fitted = Fatigue(column="author", hours=24).fit(data)
    fitted.save(tmp_path / "fatigue")
    rule = Fatigue.load(tmp_path / "fatigue", fitted.config)
    queries, candidates = at(10 * DAY + 5, [0, 2, 3], [0, 2, 3])
    queries = replace(queries, user=np.array([0, 1], np.int32))
    found = rule.arrange(queries, candidates, 3)[1]
    assert found.tolist() == [0.625, 1, 1, 1, 1, 1]
    rule.update_events(impressions([0], [2], [10 * DAY + 3]))
    assert rule.arrange(queries, candidates, 3)[1].tolist() == [0.625, 0.625, 1, 1, 1, 1]
    again = Fatigue.load(tmp_path / "fatigue", fitted.config)
    again.restore(rule.appended())
    assert again.arrange(queries, candidates, 3)[1].tolist() == [0.625, 0.625, 1, 1, 1, 1]
    again.forget_row(0)
    assert again.arrange(queries, candidates, 3)[1].tolist() == [1] * 6


def test_terms_are_added_to_the_scaled_value() -> None:
    """Values 1, .5, 0 (scaled); two items a week old have half the freshness of a new one."""
    data = dataset(published=[93 * DAY, 100 * DAY, 93 * DAY])
    rule = Objectives(freshness=1.2, half_life=7).fit(data, CONTEXT)
    queries, candidates = at(100 * DAY, [0, 1, 2])
    order, terms = rule.arrange(queries, candidates, 3)
    assert order.tolist() == [1, 0, 2]  # .5 + 1.2 against 1 + .6
    assert terms.tolist() == pytest.approx([0.6, 1.2, 0.6])
    more = Objectives(terms="2 * purchase").fit(data)
    found, _ = slate(more, [0, 1, 2], 3, {"purchase": [0, 0.1, 0.6]})
    assert found == [2, 0, 1]  # 0 + 1.2, 1, .5 + .2
    with pytest.raises(ConfigError, match="no term has a weight"):
        Objectives()


def test_drawing_follows_its_propensities() -> None:
    """Ordered slates of 2 of 4: their frequencies are the products of the logged propensities,
    which sum to 1 over all slates."""
    size = 4_000
    asked, candidates = ranked(*[[0, 1, 2, 3]] * size)
    rule = Sample(temperature=0.5).fit(dataset(category=list("abab")))
    queries = replace(asked, seed=np.arange(size, dtype=np.int64))
    order, propensity = rule.arrange(queries, candidates, 2)
    placed = order.reshape(size, 4)[:, :2]
    slates = [tuple(row) for row in candidates.item[placed].tolist()]
    odds = dict(zip(slates, propensity[placed].prod(1).tolist(), strict=True))
    assert len(odds) == 12
    assert sum(odds.values()) == pytest.approx(1, abs=1e-5)
    for slate_, count in Counter(slates).items():
        sigma = np.sqrt(odds[slate_] * (1 - odds[slate_]) / size)
        assert abs(count / size - odds[slate_]) < 4.5 * sigma
    # By hand: exp(1 / .5) of the best, with the scores 1, 2/3, 1/3, 0.
    weights = np.exp(np.linspace(1, 0, 4) / 0.5)
    assert odds[0, 1] == pytest.approx(
        weights[0] / weights.sum() * weights[1] / weights[1:].sum(), rel=1e-4
    )


def test_drawn_slates_hold_the_rules_and_their_propensities_sum_to_one() -> None:
    """a b a b: no two of a category in a row leaves four slates of three of items 0 … 3."""
    size = 600
    data = dataset(category=list("aabb"))
    rules = {"few": AtMost(limit=1, window=2).fit(data), "sample": Sample(temperature=1).fit(data)}
    asked, candidates = ranked(*[[0, 1, 2, 3]] * size)
    queries = replace(asked, seed=np.arange(size, dtype=np.int64))
    slates = arrange(rules, queries, candidates, 4)
    drawn = slates.candidates
    assert not any(slates.broken(q) for q in range(size))
    odds = {}
    for q in range(size):
        own = slice(drawn.indptr[q], drawn.indptr[q + 1])
        key = tuple(drawn.item[own].tolist())
        odds[key] = float(drawn.columns["propensity"][own].prod())
    assert len(odds) == 8  # abab or baba, times the orders within a and b
    assert sum(odds.values()) == pytest.approx(1, abs=1e-5)


def test_the_same_request_draws_the_same_slate() -> None:
    rule = Sample(temperature=1).fit(dataset(category=list("abcdefgh")))
    asked, candidates = ranked(list(range(8)))

    def drawn(name):
        return rule.arrange(replace(asked, seed=seed_of(name)), candidates, 5)[0].tolist()

    assert drawn("a") == drawn("a")
    assert len({tuple(drawn(f"request {k}")) for k in range(20)}) > 10


@pytest.mark.parametrize("kind", [MMR, DPP])
def test_drawing_by_marginal_values_of_diversity(kind) -> None:
    """At a small temperature the draw is the greedy choice."""
    vectors = np.random.default_rng(1).normal(size=(12, 4)).tolist()
    data = dataset(v=vectors)
    diverse = kind(similarity="vector", column="v", theta=0.6).fit(data)
    asked, candidates = ranked(list(range(12)))
    greedy = arrange({"diverse": diverse}, asked, candidates, 6).candidates.item.tolist()
    cold = Sample(temperature=1e-4).fit(data)
    both = arrange({"diverse": diverse, "cold": cold}, asked, candidates, 6).candidates
    assert both.item.tolist() == greedy
    assert both.columns["propensity"] == pytest.approx(np.ones(6))


def test_all_kinds_of_rules_hold_together() -> None:
    """Diversity, a limit, a quota, ads and a pin: one slate of 12 of 60 items."""
    draw = np.random.default_rng(3)
    data = dataset(
        v=draw.normal(size=(60, 8)).tolist(),
        category=draw.integers(0, 6, 60),
        sponsored=[k % 5 == 0 for k in range(60)],
        price=draw.integers(1, 100, 60),
    )
    rules = {
        "dpp": DPP(similarity="vector", column="v").fit(data),
        "cheap": Quota(where="price < 30", share=0.25).fit(data),
        "few": AtMost(limit=2, window=5).fit(data),
        "ads": Ads(places=[3, 9]).fit(data),
        "pins": Pins(items=["i59"], places=[1]).fit(data),
    }
    asked, candidates = ranked(list(range(60)))
    slates = arrange(rules, asked, candidates, 12)
    found = slates.candidates.item
    assert slates.broken() == ()
    assert found[0] == 59
    assert np.flatnonzero(found % 5 == 0).tolist() == [2, 8]
    kind = data.items.frame["category"].to_numpy()[found]
    assert all(np.bincount(kind[i : i + 5]).max() <= 2 for i in range(8))
    cheap = data.items.frame["price"].to_numpy()[found] < 30
    assert all(cheap[:head].sum() >= head // 4 for head in range(1, 13))
    assert len(set(found.tolist())) == 12


def test_what_is_broken_and_what_kept_an_item_out_are_said() -> None:
    data = dataset(category=["a", "a", "a", "b"])
    rules = {"few": AtMost(limit=1, window=2).fit(data)}
    asked, candidates = ranked([0, 1, 2, 3])
    slates = arrange(rules, asked, candidates, 3)
    assert slates.broken() == ()
    assert [str(one.rule) for one in slates.kept_by(1)] == ["few"]
    assert slates.kept_by(1)[0].text == "at most 1 of one category in 2 adjacent places"
    four = arrange(rules, asked, candidates, 4)
    assert [str(one) for one in four.broken()] == [
        "few is broken at place 4: at most 1 of one category in 2 adjacent places"
    ]
    empty = candidates.take(np.zeros(0, np.intp))
    assert len(arrange(rules, asked, empty, 3).candidates) == 0
