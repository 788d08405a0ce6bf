"""The two-tower channel: its examples, its losses by definition, its vectors, its warm start."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.cascade import FitContext
from tamis.events import Table
from tamis.recall.interactions import at_end
from tamis.recall.tower_examples import Likes, TowerBatch, TowerExamples
from tamis.recall.tower_features import FIRST, guessed, tower_inputs
from tamis.recall.tower_model import Listwise, Sampler, TwoTowers
from tamis.recall.two_tower import TwoTower, _served
from tamis.schema import DenseFeat, SparseFeat, TrainingError, VarLenSparseFeat
from tamis.testing import check_channel, queries_of, two_clans

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


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 5), st.integers(0, 6), st.integers(0, 3)),
        min_size=6,
        max_size=40,
    ),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(0, 99),
)
def test_histories_had_arrived_before_the_targets(rows, length, targets, seed):
    data = two_clans(3, 6)
    u, i, t, late = np.array(sorted(rows, key=lambda r: r[2])).T
    events = data.events.take(np.zeros(len(rows), np.intp))
    events = replace(
        events, user=u.astype(np.int32), item=i.astype(np.int32), time=t, arrival=t + late
    )
    events.behaviour[:] = 0
    likes = Likes.of(replace(data, events=events))
    start = 10
    examples = TowerExamples(likes, length, targets, start, seed)
    if not len(examples):
        return
    batch = examples.take(torch.arange(len(examples)))
    for b, user in enumerate(batch.user.tolist()):
        mine = slice(likes.indptr[user], likes.indptr[user + 1])
        item, time, arrival = likes.item[mine], likes.time[mine], likes.arrival[mine]
        assert len(set(item.tolist())) == len(item)
        wanted = batch.target[b][batch.weight[b] > 0].tolist()
        assert 1 <= len(wanted) <= targets
        assert batch.weight[b].sum().item() == pytest.approx(1)
        moment = min(time[item == x][0] for x in wanted)
        assert wanted == item[time >= moment][:targets].tolist()
        past = [x - start - FIRST for x in batch.history[b].tolist() if x != start]
        before = item[arrival < moment]
        assert past == before[::-1][:length].tolist()
        assert not set(past) & set(wanted)
        known = batch.known[1][batch.known[0] == b].tolist()
        assert sorted([*known, *wanted]) == sorted(item.tolist())


def tiny_model(n_items=6, hidden=()):
    data = with_attributes(two_clans(6, n_items))
    inputs = tower_inputs(data, (), 4, use_user_id=True, shared=False)
    generator = torch.Generator().manual_seed(1)
    return data, inputs, TwoTowers(inputs, 5, hidden, 0.0, generator)


def tiny_batch(model):
    start = model.history_pad
    history = torch.tensor([[start + 2, start + 4, start, start], [start] * 4], dtype=torch.int32)
    return TowerBatch(
        torch.tensor([0, 3]),
        history,
        torch.tensor([[1, 3], [2, 0]]),
        torch.tensor([[0.5, 0.5], [1.0, 0.0]]),
        (torch.tensor([0, 0, 1]), torch.tensor([0, 2, 5])),
    )


def test_full_softmax_by_definition():
    _, _, model = tiny_model()
    batch = tiny_batch(model)
    users, items = model.users(batch.user, batch.history), model.items()
    s = (users @ items.T / 0.2).detach().double().numpy()
    expected = 0.0
    for b, (targets, out) in enumerate([([1, 3], [0, 2]), ([2], [5])]):
        total = sum(np.exp(s[b, i]) for i in range(6) if i not in out)
        expected -= np.mean([s[b, t] - np.log(total) for t in targets]) / 2
    assert Listwise(0.2, None).loss(model, batch).item() == pytest.approx(expected, rel=1e-5)


def test_sampled_softmax_by_definition():
    _, _, model = tiny_model()
    batch = tiny_batch(model)

    class Fixed(Sampler):
        def draw(self):
            return np.array([4, 5, 4, 2, 1])

    q = np.array([0.1, 0.3, 0.1, 0.1, 0.2, 0.2])
    sampler = Fixed(q, 5, np.random.default_rng(0))
    users, items = model.users(batch.user, batch.history), model.items()
    s = (users @ items.T / 0.2).detach().double().numpy() - np.log(q)
    # user 0 likes 0 1 2 3: negatives 4 5 4; user 1 likes 2 5: negatives 4 4 1
    expected = 0.0
    for b, (targets, negatives) in enumerate([([1, 3], [4, 5, 4]), ([2], [4, 4, 1])]):
        rest = sum(np.exp(s[b, i]) for i in negatives)
        expected -= np.mean([s[b, t] - np.log(np.exp(s[b, t]) + rest) for t in targets]) / 2
    assert Listwise(0.2, sampler).loss(model, batch).item() == pytest.approx(expected, rel=1e-5)


def test_the_sampler_draws_from_its_q():
    sampler = Sampler.mixed(np.array([0, 1, 16, 81]), 0.5, 200_000, seed=3)
    popular = np.array([0, 1, 8, 27]) / 36
    np.testing.assert_allclose(sampler.q, 0.5 * popular + 0.5 / 4)
    np.testing.assert_allclose(np.bincount(sampler.draw()) / 200_000, sampler.q, atol=0.005)


@pytest.mark.parametrize("hidden", [(), (7,), (6, 4)])
@pytest.mark.parametrize("shared", [False, True])
def test_served_vectors_are_the_models(hidden, shared, monkeypatch):
    models = []

    def kept(model, n_items):
        models.append(model)
        return _served(model, n_items)

    monkeypatch.setattr("tamis.recall.two_tower._served", kept)
    data = with_attributes(two_clans())
    features = (
        SparseFeat("taste"),
        VarLenSparseFeat("hobbies", separator="|"),
        DenseFeat("age"),
        DenseFeat("price"),
        SparseFeat("category"),
    )
    channel = TwoTower(hidden_units=hidden, share_history=shared, history=5, **FAST).fit(
        data, FitContext(features=features)
    )
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
    assert np.linalg.norm(vectors[:-2], axis=1) == pytest.approx(1, abs=1e-4)


def test_a_stranger_without_a_past_gets_no_answer_but_a_known_newcomer_does():
    data = with_attributes(two_clans())
    channel = TwoTower(**FAST).fit(data)
    quiet = replace(data, events=data.events.take(slice(0, 0)))
    found = channel.recall(at_end(quiet, np.array([-1, 0, 1], np.int32)), 4)
    assert (found.item[0] == -1).all()
    assert (found.item[1:] >= 0).all()  # by their taste
    assert (found.item[1] % 2 == 0).all()
    assert (found.item[2] % 2 == 1).all()


def test_sampled_softmax_keeps_the_contract():
    check_channel(lambda: TwoTower(full_below=0, negatives=12, **FAST))


def test_warm_start_carries_weights_over_and_lets_the_tables_grow():
    small, large = two_clans(20, 12), two_clans(24, 16)
    former = TwoTower(**FAST).fit(small)
    fresh = TwoTower(**FAST, warm_epochs=1).fit(large)
    warm = TwoTower(**FAST, warm_epochs=1).fit(large, FitContext(former=former))
    assert warm._facts["warm"]
    assert not fresh._facts["warm"]

    def moved(channel):
        start, size = former._facts["tables"]["item"]
        new = channel._facts["tables"]["item"][0]
        a, b = former._arrays["table"][start:][:size], channel._arrays["table"][new:][:size]
        return float(np.abs(a[FIRST:] - b[FIRST:]).mean())

    assert moved(warm) < 0.4 * moved(fresh)
    renamed = replace(large, items=Table("items", "x" + large.items.ids, large.items.frame))
    assert not TwoTower(**FAST).fit(renamed, FitContext(former=former))._facts["warm"]


def test_features_are_guessed_from_columns():
    frame = pl.DataFrame(
        {
            "title": [f"The one and only {k}" for k in range(300)],
            "genre": ["Action Drama", "Drama", "Action"] * 100,
            "tags": [["a"], ["a", "b"], []] * 100,
            "colour": ["red", "blue", None] * 100,
            "price": np.linspace(0, 9, 300),
            "size": [1, 2, 3] * 100,
            "constant": ["x"] * 300,
        }
    )
    found = {f.name: f for f in guessed(frame)}
    assert set(found) == {"genre", "tags", "colour", "price", "size"}
    assert found["genre"] == VarLenSparseFeat("genre", separator=" ", max_len=8)
    assert found["price"] == DenseFeat("price", transform="quantile")
    assert found["size"] == SparseFeat("size")


def test_nothing_to_learn_is_said():
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
