"""The two-tower channel: examples, losses against their definitions, vectors and warm starts."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.cascade import FitContext, Valid
from tamis.cascade.query_batches import at_end
from tamis.data import Ragged, Table
from tamis.nn import SEQUENCE_ENCODERS
from tamis.recall._common.side_features import FIRST, infer_features, side_inputs
from tamis.recall._common.user_item_examples import (
    Likes,
    Positives,
    UserItemBatch,
    UserItemExamples,
)
from tamis.recall._common.user_item_objective import UserItemObjective
from tamis.recall.two_tower._config import TwoTowerConfig, passes, resolved
from tamis.recall.two_tower._network import TwoTowers
from tamis.recall.two_tower._tower import TowerShape
from tamis.recall.two_tower._validation import hold_out_likes
from tamis.recall.two_tower.two_tower import TwoTower, _served
from tamis.schema import Behaviour, DenseFeat, SparseFeat, TrainingError, VarLenSparseFeat
from tamis.testing import check_channel, queries_of, two_clans
from tamis.train import HardNegatives, Mixture

NETWORKS = ("sum", "mlp", "mlp_bn", "dcn", "cnn", "gru", "lstm", "transformer")

FAST = {"embedding_dim": 8, "epochs": 20, "batch_size": 8, "learning_rate": 0.03}


def with_attributes(data):
    """`two_clans` with every kind of attribute."""
    n, m = len(data.users), len(data.items)
    users = data.users.frame.with_columns(
        pl.Series("hobbies", ["a|b", "b", "c|a"] * (n // 3)), pl.Series("age", range(n))
    )
    items = data.items.frame.with_columns(pl.Series("words", [["x", "y"], ["y"]] * (m // 2)))
    return replace(
        data,
        users=Table("users", data.users.ids, users),
        items=Table("items", data.items.ids, items),
    )


@pytest.mark.parametrize(
    ("options", "examples", "cold", "warm"),
    [
        ({}, 300, 100, 30),  # 2 steps per epoch
        ({}, 24, 200, 60),
        ({}, 6040, 10, 3),  # 24 steps per epoch
        ({"batch_size": 32}, 300, 20, 6),
        ({"examples": "pairs"}, 300, 100, 30),
        ({"examples": "pairs"}, 100_000, 5, 3),
        ({"epochs": 4, "warm_epochs": 1}, 300, 4, 1),
        ({"examples": "splits"}, 300, 100, 3),  # stops by itself
    ],
)
def test_a_fit_on_a_log_of_few_users_has_enough_steps(options, examples, cold, warm):
    config = TwoTowerConfig(**options)
    choice = resolved(config, ordered="examples" not in options, n_items=50)
    assert passes(config, choice, examples, warm=False) == cold
    assert passes(config, choice, examples, warm=True) == warm


def test_the_number_of_epochs_follows_the_log_and_an_earlier_fit():
    data = two_clans(24, 16)
    channel = TwoTower(embedding_dim=4, batch_size=4).fit(data, FitContext())  # 6 steps per epoch
    assert channel.training is not None
    assert len(channel.training.history) == 34
    warm = TwoTower(embedding_dim=4, batch_size=4).fit(data, FitContext(former=channel))
    assert warm.training is not None
    assert len(warm.training.history) == 10


def log_of(rows, users=3, items=6):
    """A data set of (user, item, time, lateness) likes."""
    data = two_clans(users, items)
    u, i, t, late = np.array(sorted(rows, key=lambda r: r[2])).T
    events = data.events.take(np.zeros(len(rows), np.intp))
    events = replace(
        events, user=u.astype(np.int32), item=i.astype(np.int32), time=t, arrival=t + late
    )
    events.behaviour[:] = 0
    return replace(data, events=events)


ROWS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 5), st.integers(0, 6), st.integers(0, 3)),
    min_size=6,
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(ROWS, st.integers(1, 4), st.integers(2, 4), st.integers(0, 99))
def test_histories_had_arrived_before_the_targets(rows, length, targets, seed):
    likes = Likes.of(log_of(rows))
    start = 10
    examples = UserItemExamples(likes, length, targets, start, seed)
    if not len(examples):
        return
    batch = examples.take(torch.arange(len(examples)))
    for b, user in enumerate(batch.user.tolist()):
        mine = slice(likes.indptr[user], likes.indptr[user + 1])
        item, time, arrival = likes.item[mine], likes.time[mine], likes.arrival[mine]
        assert len(set(item.tolist())) == len(item)
        wanted = batch.target[batch.owner == b].tolist()
        assert 1 <= len(wanted) <= targets
        assert batch.weight[batch.owner == b].sum().item() == pytest.approx(1)
        moment = min(time[item == x][0] for x in wanted)
        assert wanted == item[time >= moment][:targets].tolist()
        past = [x - start - FIRST for x in batch.history[b].tolist() if x != start]
        before = item[arrival < moment]
        assert past == before[::-1][:length].tolist()
        assert not set(past) & set(wanted)
        liked = batch.liked[1][batch.liked[0] == b].tolist()
        assert liked == sorted(item.tolist())


@settings(max_examples=40, deadline=None)
@given(ROWS, st.integers(1, 4))
def test_pairs_have_every_like_with_the_likes_that_had_arrived_before(rows, length):
    likes = Likes.of(log_of(rows))
    examples = UserItemExamples(likes, length, 9, 10, 0, "pairs")
    assert len(examples) == (np.diff(likes.indptr) - 1).clip(min=0).sum()
    if not len(examples):
        return
    batch = examples.take(torch.arange(len(examples)))
    assert batch.owner.tolist() == list(range(len(examples)))
    k = 0
    for user in range(3):
        mine = slice(likes.indptr[user], likes.indptr[user + 1])
        item, time, arrival = likes.item[mine], likes.time[mine], likes.arrival[mine]
        for at in range(1, len(item)):
            assert batch.user[k] == user
            assert batch.target[k] == item[at]
            past = [x - 10 - FIRST for x in batch.history[k].tolist() if x != 10]
            known = (arrival < time[at]) & (time < time[at])
            assert past == item[known][::-1][:length].tolist()
            k += 1


def test_a_log_without_times_is_split_at_random():
    rows = [(0, i, 5, 0) for i in range(6)] + [(1, i, 5, 0) for i in range(4)] + [(2, 1, 5, 0)]
    likes = Likes.of(log_of(rows))
    assert likes.lacks_order()
    assert not Likes.of(log_of([(u, i, i, 0) for u in range(3) for i in range(6)])).lacks_order()
    examples = UserItemExamples(likes, 10, 10, 10, 0, "splits")
    sizes = []
    for _ in range(50):
        batch = examples.take(torch.arange(len(examples)))
        for b, n in enumerate([6, 4]):
            past = [x - 10 - FIRST for x in batch.history[b].tolist() if x != 10]
            wanted = batch.target[batch.owner == b].tolist()
            assert sorted(past + wanted) == list(range(n))
            assert wanted
        sizes.append(int((batch.history[0] != 10).sum()))
    assert set(sizes) == set(range(6))


def test_held_out_likes_are_not_trained_on():
    data = two_clans(60, 16)
    likes = Likes.of(data)
    kept, valid = hold_out_likes(likes, 8, 10, seed=0)
    assert len(valid) == 6
    for q, user in enumerate(valid.user.tolist()):
        mine = likes.item[likes.indptr[user] : likes.indptr[user + 1]]
        left = kept.item[kept.indptr[user] : kept.indptr[user + 1]]
        assert sorted([*left, *valid.targets[q]]) == sorted(mine.tolist())
        assert 1 <= len(valid.targets[q]) <= 1 + len(mine) // 5
        assert valid.exclude[q].tolist() == sorted(left.tolist())
        past = [x - 10 - FIRST for x in valid.history[q].tolist() if x != 10]
        assert past == left[::-1][:8].tolist()
    others = np.setdiff1d(np.arange(60), valid.user)
    np.testing.assert_array_equal(np.diff(kept.indptr)[others], np.diff(likes.indptr)[others])


def test_a_fit_stops_by_the_validation_data_of_its_context():
    data = two_clans()
    queries = at_end(data, np.arange(24, dtype=np.int32))
    clan = [np.arange(16, dtype=np.int32)[u % 2 :: 2] for u in range(24)]
    targets = [np.setdiff1d(clan[u], queries.exclude[u]) for u in range(24)]
    valid = Valid(queries, Ragged.of(targets))
    channel = TwoTower(**{**FAST, "epochs": 60}).fit(data, FitContext(valid=valid))
    assert len(channel.training.history) < 60
    assert channel.training.best["ndcg"] > 0.9
    without_targets = Valid(queries, Ragged.empty(24))
    assert len(TwoTower(**FAST).fit(data, FitContext(valid=without_targets)).training.history) == 20


def test_a_log_without_order_uses_whole_examples_and_holds_out_likes():
    data = two_clans()
    events = replace(data.events, time=np.zeros_like(data.events.time))
    events = replace(events, arrival=events.time)
    channel = TwoTower(embedding_dim=8, batch_size=8, learning_rate=0.03)
    channel.fit(replace(data, events=events))
    assert channel._facts["examples"] == "whole"
    assert len(channel.training.history) < 100
    assert TwoTower(**FAST).fit(data)._facts["examples"] == "moments"


def test_whole_examples_remove_each_target_from_its_own_history():
    rows = [(0, i, 5, 0) for i in range(5)] + [(1, i, 5, 0) for i in (2, 4)]
    examples = UserItemExamples(Likes.of(log_of(rows)), 4, 9, 8, 0, "whole")
    batch = examples.take(torch.arange(2))
    assert batch.target.tolist() == [4, 3, 2, 1, 0, 4, 2]
    assert batch.in_history.tolist() == [True] * 4 + [
        False,
        True,
        True,
    ]  # four fit into the history
    model = tiny_model()
    assert model.history_pad == 8
    users, own = model.users_without(
        batch.user, batch.history, batch.owner, batch.target, batch.in_history
    )
    torch.testing.assert_close(users, model.users(batch.user, batch.history))
    for k, b in enumerate(batch.owner.tolist()):
        past = [x for x in batch.history[b].tolist() if x not in (8, 8 + FIRST + batch.target[k])]
        alone = torch.tensor([past], dtype=torch.int32)
        torch.testing.assert_close(own[k : k + 1], model.users(batch.user[b : b + 1], alone))


def test_shown_items_can_be_weak_positives():
    data = log_of([(0, 0, 0, 0), (0, 1, 1, 0), (0, 2, 2, 0), (0, 1, 3, 0), (0, 3, 4, 0)])
    data.events.behaviour[:] = [0, 1, 1, 0, 0]
    behaviours = (Behaviour(name="like", positive=True), Behaviour(name="seen", impression=True))
    data = replace(data, behaviours=behaviours)
    assert Likes.of(data).item.tolist() == [0, 1, 3]
    likes = Likes.of(data, 0.25)
    assert likes.item.tolist() == [0, 2, 1, 3]  # item 1 was liked later: it is not weak
    assert likes.strength.tolist() == [1, 0.25, 1, 1]
    batch = UserItemExamples(likes, 5, 9, 10, 0, "pairs").take(torch.arange(3))
    assert batch.weight.tolist() == [0.25, 1, 1]
    assert batch.history[2].tolist()[:2] == [
        10 + FIRST + 1,
        10 + FIRST,
    ]  # weak positives are not in the history


def tiny_model(networks=("sum", "sum"), hidden=(), learn=frozenset(), out=5, cosine=True):
    data = with_attributes(two_clans(6, 6))
    inputs = side_inputs(data, (), use_user_id=True, shared=False)
    generator = torch.Generator().manual_seed(1)
    shape = TowerShape(5, out, hidden, 0.0, cosine, 4, 2, 1)
    return TwoTowers(inputs, networks, shape, 0.2, frozenset(learn), generator)


def tiny_batch(model):
    """User 0 likes 0 1 2 3 with targets 1 and 3; user 3 likes 2 5 with target 2."""
    start = model.history_pad
    history = torch.tensor([[start + 2, start + 4, start, start], [start] * 4], dtype=torch.int32)
    positives = Positives(np.array([0, 4, 4, 4, 6]), np.array([0, 1, 2, 3, 2, 5], np.int32))
    return UserItemBatch(
        torch.tensor([0, 3]),
        history,
        torch.tensor([0, 0, 1]),
        torch.tensor([1, 3, 2]),
        torch.tensor([0.5, 0.5, 1.0]),
        positives,
    )


class Fixed(Mixture):
    """Draws given items."""

    drawn = np.array([4, 5, 4, 2, 1])

    def shared(self, batch):
        return self.drawn

    def each(self, users, batch):
        return self.drawn


def fixed(drawn=(4, 5, 4, 2, 1), shares=None, popularity=(1, 3, 1, 1, 2, 2), **given):
    mixture = Fixed(shares or {"uniform": 1.0}, len(drawn), np.random.default_rng(0),
                    np.array(popularity), **given)  # fmt: skip
    mixture.drawn = np.array(drawn)
    return mixture


def scores_of(model, batch, gamma=5.0):
    users, items = model.users(batch.user, batch.history), model.items()
    return gamma * (users @ items.T).detach().double().numpy()


def test_full_softmax_by_definition():
    model = tiny_model()
    batch = tiny_batch(model)
    s = scores_of(model, batch)
    expected = 0.0
    for b, (targets, out) in enumerate([([1, 3], [0, 1, 2, 3]), ([2], [2, 5])]):
        rest = sum(np.exp(s[b, i]) for i in range(6) if i not in out)
        expected -= np.mean([s[b, t] - np.log(np.exp(s[b, t]) + rest) for t in targets]) / 2
    loss = UserItemObjective("full", fixed()).loss(model, batch)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    loss.backward()
    assert model.table.take_row_gradients()


def test_sampled_softmax_by_definition():
    model = tiny_model()
    batch = tiny_batch(model)
    mixture = fixed(shares={"uniform": 0.4, "popular": 0.6})
    popular = np.array([1, 3, 1, 1, 2, 2]) ** 0.75
    q = 0.6 * popular / popular.sum() + 0.4 / 6
    np.testing.assert_allclose(mixture.q(np.arange(6)), q)
    s = scores_of(model, batch) - np.log(q)
    # user 0 likes 0 1 2 3: negatives 4 5 4; user 3 likes 2 5: negatives 4 4 1
    expected = 0.0
    for b, (targets, negatives) in enumerate([([1, 3], [4, 5, 4]), ([2], [4, 4, 1])]):
        rest = sum(np.exp(s[b, i]) for i in negatives)
        expected -= np.mean([s[b, t] - np.log(np.exp(s[b, t]) + rest) for t in targets]) / 2
    loss = UserItemObjective("sampled", mixture).loss(model, batch).item()
    assert loss == pytest.approx(expected, rel=1e-5)


def test_hard_negatives_are_corrected_by_the_users_own_mixture():
    model = tiny_model()
    batch = tiny_batch(model)
    hard = HardNegatives.of(np.array([0, 0]), np.array([4, 5]), 6, 6)
    mixture = fixed((4, 1, 4), {"uniform": 0.75, "hard": 0.25}, hard=hard)
    mixture.negatives = 4
    assert mixture.hard_draws == 1
    mixture.hard = HardNegatives.of(np.array([0]), np.array([4]), 6, 6)  # it always draws item 4
    s = scores_of(model, batch)
    shared = np.full(6, 3 / 6)  # three uniform draws
    with_hard = shared.copy()
    with_hard[4] += 1  # one more draw, always item 4
    expected = 0.0
    for b, (targets, negatives, q) in enumerate(
        [([1, 3], [4, 4, 4], with_hard), ([2], [4, 1, 4], shared)]
    ):
        rest = sum(np.exp(s[b, i] - np.log(q[i])) for i in negatives)
        for t in targets:
            own = s[b, t] - np.log(q[t])
            expected -= (own - np.log(np.exp(own) + rest)) / len(targets) / 2
    loss = UserItemObjective("sampled", mixture).loss(model, batch).item()
    assert loss == pytest.approx(expected, rel=1e-5)


def test_in_batch_softmax_by_definition():
    model = tiny_model()
    batch = tiny_batch(model)
    objective = UserItemObjective("in_batch", fixed())
    for items in ([1, 2], [2, 4], [1, 2, 3]):
        objective.stream.update(np.array(items))
    frequency = {1: 3 / 4, 2: 1, 3: 2 / 4}  # steps 1 3 4; 1 2 3 4; 3 4
    s = scores_of(model, batch)
    expected = 0.0
    for b, (targets, negatives) in enumerate([([1, 3], []), ([2], [1, 3])]):
        rest = sum(np.exp(s[b, i]) / frequency[i] for i in negatives)
        for t in targets:
            own = np.exp(s[b, t]) / frequency[t]
            expected -= np.log(own / (own + rest)) / len(targets) / 2
    assert objective.loss(model, batch).item() == pytest.approx(expected, rel=1e-5)


EACH = np.array([[4, 2], [5, 4], [5, 1]])
"""Negatives of the targets 1 and 3 of user 0 (who likes 2) and of 2 of user 3 (who likes 5)."""
PAIRS = [(0, 1, 4, 0.5), (0, 3, 5, 0.5), (0, 3, 4, 0.5), (1, 2, 1, 1.0)]
"""(example, positive, negative, weight) of the pairs that count."""


def test_pairwise_losses_by_definition():
    model = tiny_model()
    batch = tiny_batch(model)
    cosine = scores_of(model, batch, 1.0)
    total = sum(w for *_, w in PAIRS)
    hinge = sum(w * max(0, 1 + cosine[b, n] - cosine[b, p]) for b, p, n, w in PAIRS) / total
    logistic = (
        sum(w * np.log1p(np.exp(5 * (cosine[b, n] - cosine[b, p]))) for b, p, n, w in PAIRS) / total
    )
    for kind, expected in (("hinge", hinge), ("logistic", logistic)):
        loss = UserItemObjective(kind, fixed(EACH)).loss(model, batch).item()
        assert loss == pytest.approx(expected, rel=1e-5), kind


def test_pointwise_and_gbce_by_definition():
    model = tiny_model(learn={"bias"})
    with torch.no_grad():
        model.bias.fill_(-0.7)
    batch = tiny_batch(model)
    s = scores_of(model, batch) - 0.7

    def up(x):
        return np.log1p(np.exp(-x))

    total = sum(w for *_, w in PAIRS) + 2
    expected = sum(w * up(-s[b, n]) for b, _, n, w in PAIRS)
    expected += 0.5 * up(s[0, 1]) + 0.5 * up(s[0, 3]) + up(s[1, 2])
    loss = UserItemObjective("pointwise", fixed(EACH)).loss(model, batch).item()
    assert loss == pytest.approx(expected / total, rel=1e-5)

    beta = 1 - 0.75 * (1 - 3 / 5)
    expected = beta * (0.5 * up(s[0, 1]) + 0.5 * up(s[0, 3]) + up(s[1, 2]))
    expected += 2 * up(-s[0, 4]) + up(-s[1, 1]) + 2 * up(-s[1, 4])
    loss = UserItemObjective("gbce", fixed((4, 1, 4))).loss(model, batch).item()
    assert loss == pytest.approx(expected / (1 + 2 + 1 + 3), rel=1e-5)


@pytest.mark.parametrize("network", NETWORKS)
def test_padding_changes_nothing_and_unknown_users_are_zero(network):
    model = tiny_model((network, "sum"), hidden=(6,)).eval()
    start = model.history_pad
    history = torch.tensor([[start + 5, start + 2, start + 3], [start] * 3], dtype=torch.int32)
    user = torch.tensor([2, -1])
    vectors = model.users(user, history)
    wider = torch.cat([history, history.new_full((2, 4), start)], 1)
    torch.testing.assert_close(model.users(user, wider), vectors)
    torch.testing.assert_close(model.users(user[:1], history[:1]), vectors[:1])
    assert vectors[0].norm().item() == pytest.approx(1, abs=1e-5)
    assert not vectors[1].any()
    if network in SEQUENCE_ENCODERS and network != "cnn":  # the maximum of cnn may be unchanged
        turned = model.users(user[:1], history[:1].flip(1))
        assert not torch.allclose(turned, vectors[:1], atol=1e-4)


@pytest.mark.parametrize("network", NETWORKS)
def test_every_network_passes_the_contract(network):
    check_channel(lambda: TwoTower(network=network, **{**FAST, "epochs": 40, "dropout": 0.1}))


@pytest.mark.parametrize("loss", ["in_batch", "gbce", "pointwise", "hinge", "logistic"])
def test_every_loss_passes_the_contract(loss):
    check_channel(lambda: TwoTower(loss=loss, **{**FAST, "embedding_dim": 16, "epochs": 60}))


def test_text_tokens_are_inputs_of_the_item_tower():
    """The original DSSM: tokens of text; a new item is recalled by its words only."""
    data = two_clans(24, 16)
    words = ["warm red wool coat", "cold blue steel knife"]
    titles = pl.Series("title", [f"{words[i % 2]} {i}" for i in range(16)])
    data = replace(data, items=Table("items", data.items.ids, pl.DataFrame({"title": titles})))
    unseen = data.events.item >= 14
    data = replace(data, events=data.events.take(~unseen))
    features = (VarLenSparseFeat("title", separator=" ", max_len=6, min_count=2),)
    own = np.arange(24) % 2
    for networks in ({}, {"network": "mlp"}, {"user_network": "gru", "item_network": "cnn"}):
        # random initial ids: spectral ones would leave less to learn for the words
        channel = TwoTower(**{**FAST, "dropout": 0.1}, start="random", **networks)
        channel.fit(data, FitContext(features=features))
        users = channel.user_vectors(at_end(data, np.arange(24, dtype=np.int32), False))
        unseen = users @ channel.item_vectors()[14:].T  # (24, 2), one item with each clan's words
        better = unseen[np.arange(24), own] - unseen[np.arange(24), 1 - own]
        assert better.mean() > 0.1, networks


def test_inner_product_and_learned_temperature():
    data = two_clans()
    channel = TwoTower(similarity="inner", learn_temperature=True, **FAST).fit(data)
    assert not np.allclose(np.linalg.norm(channel.item_vectors(), axis=1), 1, atol=0.05)
    assert channel._facts["gamma"] != pytest.approx(1, abs=1e-3)
    fixed_one = TwoTower(**FAST).fit(data)
    assert fixed_one._facts["gamma"] == pytest.approx(10, rel=1e-5)


def test_the_item_bias_is_an_additional_coordinate():
    model = tiny_model(learn={"item_bias"})
    batch = tiny_batch(model)
    bias = torch.tensor([0.5, -1.0, 0.0, 2.0, 0.0, 3.0])
    plain = scores_of(model, batch)
    with torch.no_grad():
        model.item_bias.copy_(bias)
    np.testing.assert_allclose(scores_of(model, batch), plain + bias.numpy(), atol=1e-5)
    unknown = model.users(torch.tensor([-1]), batch.history[1:])
    assert not unknown.any()


def test_popular_items_have_a_larger_bias_and_warm_starts_keep_it():
    random = np.random.default_rng(0)
    rows = [(u, i, 0, 0) for u in range(40) for i in (0, *random.permutation(np.arange(1, 12))[:3])]
    options = {**FAST, "start": "random", "embedding_dim": 4, "item_bias": True}
    channel = TwoTower(**options).fit(log_of(rows, 40, 12))
    bias = channel.item_vectors()[:, -1]
    assert bias.argmax() == 0
    grown = log_of([*rows, (0, 20, 0, 0)], 40, 22)
    still = {**options, "warm_epochs": 1, "learning_rate": 1e-9}
    warm = TwoTower(**still).fit(grown, FitContext(former=channel)).item_vectors()[:, -1]
    np.testing.assert_allclose(warm[:12], bias, atol=1e-5)
    np.testing.assert_allclose(warm[12:], 0, atol=1e-6)


def test_a_log_without_order_has_an_item_bias_and_explains():
    channel = TwoTower(**FAST).fit(log_of([(u, i, 0, 0) for u in range(3) for i in (u, u + 1, 5)]))
    assert channel.item_vectors().shape == (6, 9)
    assert channel.because(queries_of(two_clans(3, 6)), 0) is not None


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("shared", [False, True])
def test_served_vectors_equal_those_of_the_model(network, shared, monkeypatch):
    models = []

    def kept(model, inputs):
        models.append(model)
        return _served(model, inputs)

    monkeypatch.setattr("tamis.recall.two_tower.two_tower._served", kept)
    data = with_attributes(two_clans())
    features = (
        SparseFeat("taste"),
        VarLenSparseFeat("hobbies", separator="|"),
        DenseFeat("age"),
        DenseFeat("price"),
        SparseFeat("category"),
    )
    options = FAST | {"item_bias": shared, "user_id": shared}
    channel = TwoTower(network=network, share_history=shared, history=5, **options)
    channel.fit(data, FitContext(features=features))
    model = models[0].eval()
    queries = queries_of(data)
    liked = at_end(data, queries.user, exclude_seen=False)
    vectors = channel.user_vectors(liked)
    for q, user in enumerate(queries.user):
        past = liked.history.item[liked.history.indptr[q] : liked.history.indptr[q + 1]]
        kind = liked.history.behaviour[liked.history.indptr[q] : liked.history.indptr[q + 1]]
        rows = list(dict.fromkeys(past[kind == 0][::-1].tolist()))[:5]
        history = torch.full((1, 5), model.history_pad, dtype=torch.int32)
        history[0, : len(rows)] = torch.tensor(rows) + model.history_pad + FIRST
        with torch.inference_mode():
            expected = model.users(torch.tensor([user]), history)[0].numpy()
        np.testing.assert_allclose(vectors[q], expected, atol=1e-5)
    assert np.linalg.norm(vectors[:-2], axis=1) == pytest.approx(2**0.5 if shared else 1, abs=1e-4)


def test_unknown_users_without_a_history_get_nothing_but_described_users_do():
    data = with_attributes(two_clans())
    channel = TwoTower(**FAST).fit(data)
    quiet = replace(data, events=data.events.take(slice(0, 0)))
    found = channel.recall(at_end(quiet, np.array([-1, 0, 1], np.int32)), 4)
    assert (found.item[0] == -1).all()
    assert (found.item[1:] >= 0).all()  # by their attributes
    assert (found.item[1] % 2 == 0).all()
    assert (found.item[2] % 2 == 1).all()


def test_sampled_softmax_passes_the_contract():
    check_channel(lambda: TwoTower(full_below=0, negatives=12, **FAST))


@pytest.mark.parametrize("network", ["sum", "mlp_bn", "gru", "transformer"])
def test_a_warm_start_copies_weights_into_larger_tables(network):
    small, large = two_clans(20, 12), two_clans(24, 16)
    options = {**FAST, "network": network, "user_id": True}
    former = TwoTower(**options).fit(small)
    still = {**options, "warm_epochs": 1, "learning_rate": 1e-9}
    warm = TwoTower(**still).fit(large, FitContext(former=former))
    assert warm._facts["warm"]
    tables = {t["name"]: t for t in warm._facts["layout"]["tables"]}
    for old in former._facts["layout"]["tables"][:3]:
        assert old["name"] in ("item", "history", "user")
        new = tables[old["name"]]
        assert new["size"] >= old["size"]
        a = former._arrays["table"][old["start"] + FIRST :][: old["size"] - FIRST]
        b = warm._arrays["table"][new["start"] + FIRST :][: old["size"] - FIRST]
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert tables["item"]["size"] == 16 + FIRST
    for name, value in former._arrays.items():
        if name.startswith("dense.") and "running" not in name and "batches" not in name:
            np.testing.assert_allclose(value, warm._arrays[name], atol=1e-5)
    renamed = replace(large, items=Table("items", "x" + large.items.ids, large.items.frame))
    assert not TwoTower(**still).fit(renamed, FitContext(former=former))._facts["warm"]


def test_features_are_inferred_from_columns():
    frame = pl.DataFrame(
        {
            "title": [f"The one and only {k}" for k in range(300)],
            "genre": ["Action Drama", "Drama", "Action"] * 100,
            "tags": [["a"], ["a", "b"], []] * 100,
            "colour": ["red", "blue", None] * 100,
            "price": np.linspace(0, 9, 300),
            "size": [1, 2, 3] * 100,
            "constant": ["x"] * 300,
            "vector": [[0.5, float(k)] for k in range(300)],
        }
    )
    found = {f.name: f for f in infer_features(frame)}
    assert set(found) == {"genre", "tags", "colour", "price", "size", "vector"}
    assert found["vector"].width == 2
    assert found["genre"] == VarLenSparseFeat("genre", separator=" ", max_len=8)
    assert found["price"] == DenseFeat("price", transform="quantile")
    assert found["size"] == SparseFeat("size")


def test_a_log_that_cannot_be_learnt_from_is_reported():
    data = two_clans()
    one = replace(data, events=data.events.take(np.array([np.flatnonzero(data.positive)[0]])))
    with pytest.raises(TrainingError, match="no user has two liked items"):
        TwoTower().fit(one)


def test_because_names_a_liked_item():
    data = two_clans()
    channel = TwoTower(**FAST).fit(data)
    queries = at_end(data, np.array([3], np.int32))
    liked = set(data.events.item[(data.events.user == 3) & data.positive].tolist())
    best = int(channel.recall(queries, 1).item[0, 0])
    assert channel.because(queries, best) in liked
    assert channel.because(at_end(data, np.array([-1], np.int32)), best) is None


@pytest.mark.parametrize(
    ("users", "items", "loss"),
    [
        (10**6, 20_000, "full"),
        (10**6, 20_001, "sampled"),
        (2_000, 30_000, "full"),  # a shop of many items and few users
        (4_000, 100_000, "full"),
        (4_001, 100_000, "sampled"),
        (10, 100_001, "sampled"),
    ],
)
def test_the_softmax_is_full_where_that_is_cheap(users, items, loss):
    assert resolved(TwoTowerConfig(), True, items, n_users=users).loss == loss
    fixed = TwoTowerConfig(full_below=20_000)
    assert resolved(fixed, True, items, n_users=users).loss == (
        "full" if items <= 20_000 else "sampled"
    )


def test_the_item_that_a_new_one_is_like_is_found_by_the_vectors_of_the_fit():
    """Whatever liked items changed since: services read changes in pages of any length."""
    data = two_clans()
    channel = TwoTower(**{**FAST, "epochs": 2}).fit(data)
    base, n = channel.index.vectors.copy(), len(data.items)
    liked = channel._arrays["item_liked"]
    vector = base[int(np.flatnonzero(liked)[1])][None]
    expected = int(np.argmax(np.where(liked, base @ vector[0], -np.inf)))
    other = int(np.flatnonzero(liked & (np.arange(n) != expected))[0])
    channel._put_vectors(np.array([other], np.int32), 100 * vector)
    channel._put_vectors(np.array([expected], np.int32), -vector)
    channel._find_alike(n, np.array([n], np.int32), vector, n + 1)
    assert channel._of_fit(np.array([n, other], np.int32)).tolist() == [expected, other]
