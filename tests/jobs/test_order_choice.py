"""The order of candidates is chosen by the slates it makes of past queries."""

import numpy as np
import polars as pl
import pytest

from tamis.cascade import CandidateOrder, Candidates, Queries
from tamis.data import Dataset, Events, Ragged, Table
from tamis.features import History
from tamis.jobs._order_choice import Judged, choose, window_positives
from tamis.schema import Behaviour
from tamis.splitting import Window

QUERIES, ITEMS = 200, 40


def judged(ranker: float, seed: int = 0, rules=None, **channels: float) -> Judged:
    """Queries with one positive of 40 items; `ranker` and `channels` say how well each knows it.

    1: its score is noise plus a signal of 3 standard deviations; 0: noise.
    """
    random = np.random.default_rng(seed)
    positive = random.integers(0, ITEMS, QUERIES)
    truth = np.zeros((QUERIES, ITEMS))
    truth[np.arange(QUERIES), positive] = 3.0
    columns = {}
    for name, skill in channels.items():
        score = skill * truth + random.normal(size=truth.shape)
        place = (-score).argsort(axis=1).argsort(axis=1) + 1
        columns[f"rank:{name}"] = place.ravel().astype(np.int32)
    value = (ranker * truth + random.normal(size=truth.shape)).ravel().astype(np.float32)
    item = np.tile(np.arange(ITEMS, dtype=np.int32), QUERIES)
    indptr = np.arange(QUERIES + 1) * ITEMS
    lists = Ragged(np.arange(QUERIES + 1), positive.astype(np.int32))
    queries = Queries(
        np.arange(QUERIES, dtype=np.int32),
        np.zeros(QUERIES, np.int64),
        History.empty(QUERIES),
        Ragged.empty(QUERIES),
    )
    return Judged(
        queries, Candidates(indptr, item, columns), value, value, lists, rules or {}, keep=30
    )


def test_a_channel_that_is_better_than_the_ranker_orders_the_candidates():
    found = choose([judged(0.0, itemcf=0.0, hot=1.0)], ["itemcf", "hot"])
    assert found.order == CandidateOrder(0.0, (("hot", 1.0),))
    assert found.metrics["the channel hot"] > found.metrics["the ranker"] + 0.3
    assert found.settings()["by"] == "the channel hot"
    assert "200 queries of 1 validation windows" in found.settings()["protocol"]
    assert found.notes[0].startswith("candidates are ordered by the channel hot, not by the ranker")


def test_the_ranker_keeps_the_order_where_channels_know_nothing():
    found = choose([judged(1.0, itemcf=0.0, hot=0.0)], ["itemcf", "hot"])
    assert found.order == CandidateOrder()
    assert found.notes[0].startswith("candidates are ordered by the ranker: ")


def test_signals_that_complement_one_another_are_fused():
    found = choose([judged(0.7, seed=s, itemcf=0.7, hot=0.0) for s in (1, 2)], ["itemcf", "hot"])
    assert found.order == CandidateOrder(1.0, (("itemcf", 1.0),))
    assert (found.queries, found.windows) == (2 * QUERIES, 2)


@pytest.mark.parametrize("seed", range(5))
def test_no_compared_order_is_better_than_the_chosen_one(seed):
    skills = np.random.default_rng(seed).random(4)
    one = judged(skills[0], seed, a=skills[1], b=skills[2], c=skills[3])
    found = choose([one], ["a", "b", "c"])
    best = float(np.nanmean(one.ndcg(found.order)))
    assert best == pytest.approx(max(found.metrics.values()))
    for name in ("a", "b", "c"):
        assert best >= np.nanmean(one.ndcg(CandidateOrder(0.0, ((name, 1.0),))))
    assert best >= np.nanmean(one.ndcg(CandidateOrder()))


def test_without_positives_the_ranker_orders():
    one = judged(0.0, hot=1.0)
    none = Judged(**{**vars(one), "positives": Ragged.empty(QUERIES)})
    found = choose([none], ["hot"])
    assert found.order == CandidateOrder()
    assert "no user chose an item" in found.notes[0]


def found_by(one: Judged, **shares: float) -> Judged:
    """Only a random share of the candidates is found by each channel named in `shares`."""
    random = np.random.default_rng(7)
    columns = dict(one.candidates.columns)
    for name, share in shares.items():
        kept = random.random(len(one.candidates)) < share
        columns[f"rank:{name}"] = np.where(kept, columns[f"rank:{name}"], 0)
    return Judged(**{**vars(one), "candidates": one.candidates.with_columns(**columns)})


def test_what_a_channel_brings_is_what_the_slates_lose_without_it():
    one = found_by(judged(1.0, a=0.0, b=0.0, c=0.0), a=0.6, b=0.5, c=0.0)
    found = choose([one], ["a", "b", "c"])
    assert found.order == CandidateOrder()
    # the ranker alone orders: without b, the items that only b found are missing
    columns = one.candidates.columns
    gone = (columns["rank:b"] > 0) & (columns["rank:a"] == 0) & (columns["rank:c"] == 0)
    value = np.where(gone, -np.inf, one.value).astype(np.float32)
    prerank = np.where(gone, -np.inf, one.prerank).astype(np.float32)
    left = Judged(**{**vars(one), "value": value, "prerank": prerank}).ndcg(CandidateOrder())
    gain = found.channels["b"]
    assert gain.mean == pytest.approx(np.nanmean(one.ndcg(CandidateOrder()) - left), abs=1e-9)
    assert gain.low > 0.05
    assert found.channels["c"].mean == 0  # it found nothing
    assert found.settings()["channels"]["b"]["mean"] == gain.mean
    (note,) = (text for text in found.notes if "bring nothing" in text)
    assert "c (+0.0000" in note
    assert "a (" not in note


def test_the_channel_that_orders_is_replaced_by_the_others_or_by_the_ranker():
    alone = choose([judged(0.0, hot=1.0, itemcf=0.0)], ["hot", "itemcf"])
    assert alone.channels["hot"].low > 0.2
    assert alone.channels["itemcf"].mean <= 0
    assert not choose([judged(0.0, hot=1.0)], ["hot"]).channels


class Backwards:
    """A rule that reverses each list."""

    def arrange(self, queries, candidates, n):
        ends = zip(candidates.indptr[:-1], candidates.indptr[1:], strict=True)
        order = np.concatenate([np.arange(end - 1, begin - 1, -1) for begin, end in ends])
        return order, np.zeros(len(order), np.float32)


def test_rules_that_cost_accuracy_are_reported():
    found = choose([judged(1.0, rules={"back": Backwards()}, hot=1.0)], ["hot"])
    assert any(note.startswith("the re-rank rules (back) cost NDCG@10") for note in found.notes)
    assert not any("cost" in note for note in choose([judged(1.0, hot=1.0)], ["hot"]).notes)


def table(name: str, ids: str) -> Table:
    return Table(name, pl.Series(list(ids)), pl.DataFrame())


def test_positives_are_events_within_the_window_that_may_be_recommended():
    behaviours = (Behaviour(name="view"), Behaviour(name="buy", positive=True))
    #        user, item, behaviour, time, arrival
    log = [
        (0, 0, 1, 10, 10),  # counts
        (0, 1, 0, 11, 11),  # not positive
        (0, 2, 1, 5, 15),  # before the window
        (1, 3, 1, 12, 12),  # counts
        (1, 4, 1, 20, 20),  # at the end of the window
        (1, 0, 1, 13, 13),  # excluded below
        (2, 1, 1, 14, 14),  # not a user of the queries
    ]
    user, item, behaviour, time, arrival = (np.array(c) for c in zip(*log, strict=True))
    n = len(log)
    events = Events(
        user=user.astype(np.int32),
        item=item.astype(np.int32),
        behaviour=behaviour.astype(np.uint8),
        time=time.astype(np.int64),
        arrival=arrival.astype(np.int64),
        value=np.zeros(n, np.float32),
        request=np.full(n, -1, np.int64),
        position=np.zeros(n, np.int16),
    )
    users, items = table("users", "abc"), table("items", "vwxyz")
    data = Dataset(users, items, events, behaviours)
    queries = Queries(
        np.array([1, 0], np.int32),
        np.full(2, 10, np.int64),
        History.empty(2),
        Ragged.of([np.array([0], np.int32), np.zeros(0, np.int32)]),
    )
    found = window_positives(data, Window(10, 20), queries)
    assert [found[q].tolist() for q in range(2)] == [[3], [0]]
