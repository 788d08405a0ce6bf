"""A channel evaluated alone, by numbers computed by hand."""

import numpy as np
import pytest

from tamis.cascade import FitContext, holdout_queries
from tamis.data import Ragged
from tamis.evaluate import (
    accuracy,
    catalogue_metrics,
    evaluate_channel,
    hit,
    mean,
    mrr,
    ndcg,
    overlap,
    recall,
)
from tamis.recall import Hot, ItemCF
from tamis.schema import ConfigError
from tamis.splitting import leave_one_out
from tamis.testing import two_clans

LISTS = np.array([[0, 1, 2], [3, 4, -1], [5, 6, 7]], np.int32)
TARGETS = Ragged.of([np.array(x, np.int32) for x in ([1], [4, 9], [])])


def test_accuracy_by_hand():
    at3 = accuracy(LISTS, TARGETS, (1, 3))
    second = 1 / np.log2(3)
    assert at3["hit@1"] == 0
    assert at3["hit@3"] == 1
    assert at3["recall@3"] == pytest.approx((1 + 0.5) / 2)
    assert at3["mrr@3"] == pytest.approx(0.5)
    assert at3["ndcg@3"] == pytest.approx((second + second / (1 + second)) / 2)


def test_accuracy_equals_the_separate_metrics():
    random = np.random.default_rng(2)
    lists = np.array([random.permutation(40)[:12] for _ in range(50)], np.int32)
    lists[::7, 6:] = -1
    targets = Ragged.of(
        [np.sort(random.permutation(40)[: q % 5]).astype(np.int32) for q in range(50)]
    )
    for k in (1, 5, 12):
        found = accuracy(lists, targets, (k,))
        for metric in (hit, recall, ndcg, mrr):
            assert found[f"{metric.__name__}@{k}"] == pytest.approx(mean(metric(lists, targets, k)))


def test_catalogue_metrics_by_hand():
    counts = np.array([9, 0, 3, 3])
    found = catalogue_metrics(np.array([[0, 2], [0, -1]], np.int32), counts, (2,))
    assert found["coverage@2"] == 0.5
    # percentiles: item 0 above three others and half itself = .875; item 2 ties with 3: .5
    assert found["popularity@2"] == pytest.approx(((0.875 + 0.5) / 2 + 0.875) / 2)


def test_overlap_by_hand():
    a = np.array([[0, 1], [2, -1], [-1, -1]], np.int32)
    b = np.array([[1, 5], [-1, -1], [-1, -1]], np.int32)
    matrix = overlap({"a": a, "b": b}, 6)
    assert matrix.tolist() == [[1, pytest.approx(1 / 6)], [pytest.approx(1 / 6), 1]]


def test_every_query_of_a_protocol_is_evaluated():
    holdout = leave_one_out(two_clans())
    channel = ItemCF().fit(holdout.train, FitContext())
    evaluated = evaluate_channel(channel, holdout, (2, 5), block=7)
    queries = holdout_queries(holdout)
    assert (evaluated.lists == channel.recall(queries, 5).item).all()
    assert evaluated.users_per_second > 0
    assert set(evaluated.metrics) == {
        f"{m}@{k}" for m in ("hit", "recall", "ndcg", "mrr", "coverage", "popularity")
        for k in (2, 5)
    }  # fmt: skip
    assert evaluated.metrics["hit@5"] > evaluate_channel(
        Hot().fit(holdout.train), holdout, (5,)
    ).metrics["hit@5"]  # fmt: skip


def test_seen_items_are_masked_unless_disabled():
    holdout = leave_one_out(two_clans())
    channel = ItemCF().fit(holdout.train, FitContext())
    seen = holdout_queries(holdout).exclude
    masked = evaluate_channel(channel, holdout, (5,)).lists
    shown = evaluate_channel(channel, holdout, (5,), exclude_seen=False).lists

    def met(lists):
        return sum(len(np.intersect1d(lists[q], seen[q])) for q in range(len(lists)))

    assert met(masked) == 0
    assert met(shown) > 0


def test_wrong_list_lengths_and_queries_are_refused():
    holdout = leave_one_out(two_clans())
    channel = Hot().fit(holdout.train)
    with pytest.raises(ConfigError, match=r"ks = \[0\]"):
        evaluate_channel(channel, holdout, (0,))
    with pytest.raises(ConfigError, match="3 queries for the 23 users"):
        evaluate_channel(channel, holdout, (5,), queries=holdout_queries(holdout).part(0, 3))
