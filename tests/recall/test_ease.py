"""EASE against numpy's inverse, and its choice of options on logs with a known answer."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.cascade import FitContext, Valid
from tamis.cascade.query_batches import at_end
from tamis.data.frame import dataset_from_frame
from tamis.recall import EASE
from tamis.recall.ease._kernels import sweep
from tamis.schema import ConfigError, TamisWarning, TrainingError
from tamis.testing import two_clans

PAIRS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 7)), min_size=1, max_size=40)


def log_of(pairs):
    users, items = zip(*pairs, strict=True)
    frame = pl.DataFrame({"user_id": users, "item_id": items})
    return dataset_from_frame(frame)


def likes_of(data):
    """Per user the distinct liked rows, oldest first by their last event."""
    lists = [[] for _ in range(len(data.users))]
    for u, i in zip(data.events.user.tolist(), data.events.item.tolist(), strict=True):
        lists[u] = [j for j in lists[u] if j != i] + [i]
    return lists


def naive(data, l2, closeness):
    """B by the definition: pairs of likes, inverse, division by the diagonal."""
    n = len(data.items)
    gram = l2 * np.eye(n)
    for likes in likes_of(data):
        for a, i in enumerate(likes):
            for b, j in enumerate(likes):
                gram[i, j] += closeness ** abs(a - b)
    inverse = np.linalg.inv(gram)
    weight = -inverse / np.diag(inverse)[None, :]
    np.fill_diagonal(weight, 0)
    return weight


def votes(weight, likes, decay):
    scores = np.zeros(len(weight))
    for age, j in enumerate(reversed(likes)):
        scores += decay**age * weight[j]
    return scores


@settings(max_examples=40, deadline=None)
@given(
    PAIRS,
    st.sampled_from([1.0, 0.7]),
    st.sampled_from([1.0, 0.6]),
    st.sampled_from([None, 2]),
    st.sampled_from([0.5, 20.0]),
)
def test_equals_the_closed_form(pairs, decay, closeness, last, l2):
    data = log_of(pairs)
    channel = EASE(l2=l2, decay=decay, closeness=closeness, last=last).fit(data)
    weight, likes = naive(data, l2, closeness), likes_of(data)
    queries = at_end(data, np.arange(len(data.users), dtype=np.int32), exclude_seen=False)
    found = channel.recall(queries, len(data.items))
    for u in range(len(data.users)):
        expected = votes(weight, likes[u][-(last or 99) :], decay)
        assert sorted(found.item[u]) == list(range(len(data.items)))
        np.testing.assert_allclose(found.score[u], expected[found.item[u]], atol=2e-5)


def test_a_matrix_of_many_tiles_is_transposed_completely():
    random = np.random.default_rng(0)
    pairs = list(zip(random.integers(0, 60, 900), random.integers(0, 150, 900), strict=True))
    data = log_of([(int(u), int(i)) for u, i in pairs])
    channel = EASE(l2=5, decay=1, closeness=0.9).fit(data)
    np.testing.assert_allclose(channel._arrays["weight"], naive(data, 5, 0.9), atol=2e-5)


def test_pairs_are_weighted_by_values():
    frame = pl.DataFrame({"user_id": [1, 1, 2], "item_id": [7, 8, 7]})
    data = dataset_from_frame(frame)
    behaviours = (data.behaviours[0].model_copy(update={"weight": 2.0}),)
    heavy = type(data)(data.users, data.items, data.events, behaviours)
    # XᵀX + λI = [[8 + 4, 4], [4, 4 + 4]]; P = [[8, -4], [-4, 12]] / 80
    weight = EASE(l2=4, decay=1, closeness=1).fit(heavy)._arrays["weight"]
    np.testing.assert_allclose(weight, [[0, 4 / 12], [4 / 8, 0]], rtol=1e-6)


def test_neighbours_keep_the_largest_positive_weights():
    random = np.random.default_rng(2)  # no two weights of a row tie
    draws = zip(random.integers(0, 6, 30), random.integers(0, 8, 30), strict=True)
    data = log_of([(int(u), int(i)) for u, i in draws])
    fixed = {"l2": 2, "decay": 0.8, "closeness": 1.0}
    whole = naive(data, 2, 1.0)
    queries = at_end(data, np.arange(len(data.users), dtype=np.int32), exclude_seen=False)
    for i, row in enumerate(whole):
        whole[i, np.argsort(-row)[3:]] = 0
    whole[whole < 0] = 0
    found = EASE(neighbours=3, **fixed).fit(data).recall(queries, len(data.items))
    for u, likes in enumerate(likes_of(data)):
        expected = votes(whole, likes, 0.8)
        here = found.item[u] >= 0
        assert set(found.item[u][here]) == set(np.flatnonzero(expected))
        np.testing.assert_allclose(found.score[u][here], expected[found.item[u][here]], atol=2e-5)


def sequential_users(users=80, items=30, seed=0):
    """Each user steps from item to item with occasional jumps: only the last item predicts."""
    random = np.random.default_rng(seed)
    pairs = []
    for u in range(users):
        at = int(random.integers(items))
        for _ in range(12):
            pairs.append((u, at))
            at = (at + 1) % items if random.random() < 0.75 else int(random.integers(items))
    return log_of(pairs)


def test_auto_detects_whether_the_order_matters():
    data_in_order = sequential_users()
    chosen = EASE().chosen(data_in_order)
    assert chosen.decay < 0.9
    assert isinstance(chosen.l2, float)
    still = replace(
        data_in_order,
        events=replace(data_in_order.events, time=np.zeros_like(data_in_order.events.time)),
    )
    unordered = EASE().chosen(still)
    assert (unordered.decay, unordered.closeness) == (1.0, 1.0)


def test_auto_chooses_the_simplest_of_the_best_options_on_the_validation_set():
    data = sequential_users(40, 20, seed=1)
    users = np.arange(40, dtype=np.int32)
    queries = at_end(data, users, exclude_seen=True)
    likes = likes_of(data)
    target = np.array([(x[-1] + 1) % 20 for x in likes])
    fresh = np.array([t not in x for t, x in zip(target, likes, strict=True)])
    targets = queries.exclude.of(
        [np.array([t] if f else [], np.int32) for t, f in zip(target, fresh, strict=True)]
    )
    context = FitContext(valid=Valid(queries, targets))

    def gain(decay):
        weight, total = naive(data, 100.0, 1.0), 0.0
        for x, t, f in zip(likes, target, fresh, strict=True):
            scores = votes(weight, x, decay)
            above = sum(scores[i] > scores[t] for i in range(20) if i not in x)
            total += f / np.log2(above + 2)
        return total / fresh.sum()

    from tamis.recall.ease._tuning import DECAY

    best = max(DECAY, key=gain)
    channel = EASE(l2=100.0, closeness=1.0).fit(data, context)
    chosen = channel._facts["decay"]
    assert gain(best) / 1.02 <= gain(chosen) + 1e-6
    assert all(gain(d) * 1.02 < gain(best) + 1e-6 for d in DECAY[: DECAY.index(chosen)])
    assert channel._facts["ndcg"] == pytest.approx(gain(chosen), abs=1e-6)
    assert EASE(l2=100.0, closeness=1.0).chosen(data, context).decay == channel._facts["decay"]


def test_auto_chooses_on_the_most_liked_items_only():
    data = sequential_users()
    few = EASE(tune_items=10).fit(data)
    assert few._arrays["weight"].shape == (30, 30)
    assert few._facts["l2"] > 0


def test_one_like_per_user_leaves_nothing_to_hold_out():
    facts = EASE().fit(log_of([(0, 0), (1, 1)]))._facts
    assert facts == {"l2": 300.0, "closeness": 1.0, "decay": 1.0, "items": 2}


def test_items_without_likes_have_no_row():
    frame = pl.DataFrame({"user_id": [1, 1, 2], "item_id": [7, 8, 9], "stars": [5, 4, 1]})
    channel = EASE().fit(frame, value="stars", min_value=4)
    assert channel._arrays["weight"].shape == (2, 2)
    assert set(channel.recommend([1], exclude_seen=False)["item"]) == {7, 8}
    with pytest.warns(TamisWarning, match="found no item for 1 of 1 users, such as 2"):
        assert channel.recommend([2]).is_empty()


def test_a_matrix_larger_than_max_gb_is_refused():
    frame = pl.DataFrame({"user_id": [1] * 600, "item_id": list(range(600))})
    with pytest.raises(ConfigError, match=r"600 liked items need a matrix of 0.0 GB, above max_gb"):
        EASE(max_gb=0.001).fit(frame)


def test_a_singular_matrix_is_reported_with_how_to_fix_it():
    pairs = [(u, i) for u in range(300) for i in range(12)]
    with pytest.raises(TrainingError, match=r"singular in float32; raise l2 = 1e-30"):
        EASE(l2=1e-30, decay=1, closeness=1).fit(log_of(pairs))


@pytest.mark.parametrize(("n", "block"), [(1, 4), (7, 4), (8, 4), (30, 7)])
def test_the_sweep_inverts_in_place_and_reads_only_the_upper_triangle(n, block):
    x = np.random.default_rng(n).normal(size=(2 * n, n))
    whole = (x.T @ x + np.eye(n)).astype(np.float32)
    upper = np.triu(whole) + np.tril(np.full((n, n), 7, np.float32), -1)
    assert sweep(upper, block)
    np.testing.assert_allclose(np.triu(upper), -np.triu(np.linalg.inv(whole)), atol=1e-4)
    assert not sweep(-np.eye(n, dtype=np.float32), block)


def test_named_behaviours_count_whatever_their_weight():
    data = two_clans()
    names = [b.name for b in data.behaviours]
    queries = at_end(data, np.arange(24, dtype=np.int32), exclude_seen=False)

    def scores(**options):
        return EASE(l2=1.0, closeness=1.0, decay=1.0, **options).fit(data).recall(queries, 16)

    plain, liked = scores(), scores(behaviours=(names[0],))
    np.testing.assert_array_equal(plain.score, liked.score)
    # every event as a like: the log with all of them positive
    every = tuple(b.model_copy(update={"positive": True, "weight": 1.0}) for b in data.behaviours)
    alike = EASE(l2=1.0, closeness=1.0, decay=1.0).fit(replace(data, behaviours=every))
    both = scores(behaviours=tuple(names))
    np.testing.assert_array_equal(both.item, alike.recall(queries, 16).item)
    assert (both.item != plain.item).any()
    with pytest.raises(
        ConfigError, match=r"'lik', which the log does not have. Use behaviours of the log: like"
    ):
        scores(behaviours=("lik",))
