"""iALS against dense least squares, BPR against its gradient, and user vectors of histories."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.cascade import FitContext
from tamis.cascade.query_batches import at_end
from tamis.data.frame import dataset_from_frame
from tamis.recall import MF
from tamis.recall._common.compiled_arguments import ValuedLists
from tamis.recall._common.interactions import interests
from tamis.recall.mf._kernels import LikedPairs, bpr_epoch, bpr_step, solve_rows
from tamis.runtime import read_only
from tamis.schema import TrainingError
from tamis.testing import two_clans


def log_of(pairs):
    users, items = zip(*pairs, strict=True)
    return dataset_from_frame(pl.DataFrame({"user_id": users, "item_id": items}))


def liked_matrix(data):
    """(users, items) of interest values r."""
    dense = np.zeros((len(data.users), len(data.items)))
    dense[data.events.user, data.events.item] = 1
    return dense


def naive_rows(weight, factors, unobserved, l2, scale):
    """Each row's minimum of Σ r (1 − w·h)² + α₀ Σ (w·h)² + λ (n + α₀ m)^ν |w|², by lstsq."""
    rows = []
    for r in weight:
        ridge = l2 * ((r > 0).sum() + unobserved * len(factors)) ** scale
        # the three sums of squares as one tall system
        system = np.vstack(
            [np.sqrt(r)[:, None] * factors, np.sqrt(unobserved) * factors,
             np.sqrt(ridge) * np.eye(factors.shape[1])]
        )  # fmt: skip
        wanted = np.concatenate([np.sqrt(r), np.zeros(len(factors) + factors.shape[1])])
        rows.append(np.linalg.lstsq(system, wanted, rcond=None)[0])
    return np.array(rows)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 7)), min_size=1, max_size=40),
    st.sampled_from([0.2, 4.0]),
    st.sampled_from([0.01, 0.3]),
    st.sampled_from([0.0, 0.7, 1.0]),
)
def test_a_sweep_is_exact_least_squares(pairs, unobserved, l2, scale):
    data = log_of(pairs)
    options = {"embedding_dim": 3, "unobserved": unobserved, "l2": l2, "frequency_scale": scale}
    channel = MF(epochs=1, **options).fit(data, FitContext(seed=4))
    likes = liked_matrix(data)
    pair = unobserved * likes.sum() / likes.size  # the weight of one pair
    start = np.random.default_rng(4).standard_normal((len(data.items), 3), np.float32)
    start *= np.float32(0.1 * 3**-0.5)
    users = naive_rows(likes, start.astype(float), pair, l2, scale)
    items = naive_rows(likes.T, users, pair, l2, scale)
    np.testing.assert_allclose(channel.item_vectors(), items, rtol=2e-3, atol=2e-4)
    queries = at_end(data, np.arange(len(data.users), dtype=np.int32), exclude_seen=False)
    folded = naive_rows(likes, channel.item_vectors().astype(float), pair, l2, scale)
    np.testing.assert_allclose(channel.user_vectors(queries), folded, rtol=2e-3, atol=2e-4)


def solved(lists, *arrays):
    """The kernel on the first row, with read-only inputs as the channel gives them."""
    *inputs, out = arrays
    return solve_rows((0, 1), tuple(map(read_only, lists)), *map(read_only, inputs), out)


def test_weights_and_unknown_entries_of_a_half_sweep():
    factors = np.array([[1, 0], [0, 2]], np.float32)
    lists = ValuedLists(
        np.array([0, 3]), np.array([0, -1, 1], np.int32), np.array([3, 9, 0.5], np.float32)
    )
    out = np.empty((1, 2), np.float32)
    base, ridge = 0.5 * np.eye(2, dtype=np.float32), np.array([0.25], np.float32)
    assert solve_rows(0, 1, lists, factors, base, ridge, out)
    # (.5 + .25 + 3) a = 3; (.5 + .25 + .5 · 4) b = .5 · 2
    np.testing.assert_allclose(out, [[3 / 3.75, 1 / 2.75]], rtol=1e-6)


def test_a_system_that_is_not_positive_definite_is_reported():
    lists = ValuedLists(np.array([0, 1]), np.array([0], np.int32), np.ones(1, np.float32))
    out = np.empty((1, 2), np.float32)
    zero = np.zeros((2, 2), np.float32)
    one = np.ones((1, 2), np.float32)
    assert not solve_rows(0, 1, lists, one, zero, np.zeros(1, np.float32), out)
    with pytest.raises(TrainingError, match="singular in float32; raise l2 = 0"):
        MF(embedding_dim=16, l2=0).fit(log_of([(0, 0), (0, 1), (1, 0)]))


def test_a_bpr_step_follows_the_gradient():
    random = np.random.default_rng(0)
    w, up, down = (random.standard_normal(4).astype(np.float32) for _ in range(3))
    tensors = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (w, up, down)]
    a, b, c = tensors
    loss = torch.nn.functional.softplus(-(a @ (b - c)))
    held = 0.5 * 0.02 * sum(x.square().sum() for x in tensors)
    (loss + held).backward()
    expected = [(x - 0.1 * x.grad).detach().numpy() for x in tensors]
    returned = bpr_step(w, up, down, np.float32(0.1), np.float32(0.02))
    assert returned == pytest.approx(loss.item(), rel=1e-5)
    for mine, theirs in zip((w, up, down), expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)


def test_a_bpr_pass_uses_no_liked_item_as_a_negative():
    pairs = LikedPairs(np.zeros(2, np.int32), np.array([0, 2]), np.array([0, 2], np.int32))
    users, items = np.ones((1, 2), np.float32), np.zeros((4, 2), np.float32)
    draws = np.array([[2, 0, 3], [0, 2, 2]], np.int32)  # the second pair finds no negative
    bpr_epoch(np.array([0, 1]), pairs, draws, np.float32(1), np.float32(0), users, items)
    np.testing.assert_allclose(items, [[0.5, 0.5], [0, 0], [0, 0], [-0.5, -0.5]])


@pytest.mark.parametrize("method", ["ials", "bpr"])
def test_unknown_users_are_answered_like_known_ones_with_the_same_history(method):
    data = two_clans()
    channel = MF(method=method, embedding_dim=8).fit(data)
    users = np.arange(len(data.users), dtype=np.int32)
    queries = at_end(data, users, exclude_seen=False)
    unknown_users = replace(queries, user=np.full_like(users, -1))
    known, unknown = channel.recall(queries, 5), channel.recall(unknown_users, 5)
    assert (known.item == unknown.item).all()
    assert (known.item % 2 == (users % 2)[:, None]).mean() > 0.95


@pytest.mark.parametrize("method", ["ials", "bpr"])
def test_a_warm_start_keeps_former_items_and_adds_new_ones(method):
    data = two_clans()
    fewer = type(data)(
        data.users,
        type(data.items)("items", data.items.ids[:12], data.items.frame[:12]),
        data.events.take(data.events.item < 12),
        data.behaviours,
    )
    options = {"method": method, "embedding_dim": 4, "warm_epochs": 1}
    slow = {}
    if method == "bpr":
        options, slow = options | {"pair_epochs": 1}, {"learning_rate": 1e-9}
    former = MF(**options).fit(fewer)
    warm = MF(**options, **slow).fit(data, FitContext(former=former))
    assert warm._facts["warm"]
    if method == "bpr":  # one pass with a negligible learning rate leaves the former vectors
        np.testing.assert_allclose(warm.item_vectors()[:12], former.item_vectors(), atol=1e-6)
    assert warm.item_vectors()[12:].any()
    assert not MF(embedding_dim=5).fit(data, FitContext(former=former))._facts["warm"]


def test_items_without_likes_are_not_recalled():
    frame = pl.DataFrame({"user_id": [1, 1, 2, 2], "item_id": [7, 8, 7, 9], "stars": [5, 4, 5, 1]})
    channel = MF(embedding_dim=2).fit(frame, value="stars", min_value=4)
    assert set(channel.recommend([1], exclude_seen=False)["item"]) == {7, 8}


def test_because_names_the_largest_part_of_the_score():
    data = two_clans()
    channel = MF(embedding_dim=6).fit(data)
    queries = at_end(data, np.array([3], np.int32), exclude_seen=False)
    full = channel.recall(queries, 1)
    target, score = int(full.item[0, 0]), float(full.score[0, 0])
    past = interests(data)
    mine = past.other[past.indptr[3] : past.indptr[4]]
    # without a like on the right-hand side, its part of the score is missing
    items = channel.item_vectors().astype(float)
    pair = channel.config.unobserved * len(past.other) / (len(data.users) * len(items))
    ridge = channel.config.l2 * (len(mine) + pair * len(items))
    system = pair * items.T @ items + items[mine].T @ items[mine]
    parts = items[mine] @ np.linalg.solve(system + ridge * np.eye(6), items[target])
    assert parts.sum() == pytest.approx(score, rel=1e-3)
    assert channel.because(queries, target) == mine[parts.argmax()]
    empty = at_end(data, np.array([-1], np.int32))
    assert channel.because(empty, target) is None
