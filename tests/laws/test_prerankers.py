"""Every pre-ranker in the room keeps the scorers' contract."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from tamis.cascade import Scorer, item_column, registry, user_column
from tamis.features import Block, DenseColumn, IdColumn, Layout, Rows, TableRange
from tamis.schema import NotFittedError, Side, TrainingError
from tamis.train import auc

PRERANKERS = registry.available("prerank")
OPTIONS = {
    "lr": {"epochs": 4, "batch_size": 512},
    "gbdt": {"trees": 30, "min_leaf": 20},
    "inner_product": {"epochs": 4, "batch_size": 256, "learning_rate": 3e-3},
    "three_tower": {"epochs": 4, "batch_size": 256, "learning_rate": 3e-3},
    "stored": {"epochs": 8, "batch_size": 256, "learning_rate": 3e-2},
}
"""For a fit of seconds; a new pre-ranker is checked with its defaults until it is named here."""
TASKS = ["click", "like"]
USERS, ITEMS, DIM = 40, 30, 4
USER, ITEM = TableRange("user", 0, USERS + 2), TableRange("item", USERS + 2, ITEMS + 2)
LAYOUT = Layout(
    tables=(USER, ITEM),
    ids=(
        IdColumn("user", Side.USER, "user", 0),
        IdColumn("liked", Side.USER, "item", 1, 3, "mean", True),
        IdColumn("item", Side.ITEM, "item", 4),
    ),
    dense=(
        DenseColumn("age", Side.USER, 0),
        DenseColumn(user_column("two_tower"), Side.USER, 1, DIM),
        DenseColumn("price", Side.ITEM, 1 + DIM, 2),
        DenseColumn(item_column("two_tower"), Side.ITEM, 3 + DIM, DIM),
        DenseColumn("item clicks", Side.ITEM, 3 + 2 * DIM, 1, moving=True),
        DenseColumn("found by", Side.CROSS, 4 + 2 * DIM, 1),
    ),
)


@cache
def world():
    """Users' and items' attributes: what is clicked is what user and item have in common."""
    draw = np.random.default_rng(0)
    users = draw.normal(size=(USERS, 1 + DIM)).astype(np.float32)
    items = draw.normal(size=(ITEMS, 2 + DIM)).astype(np.float32)
    ids = np.arange(ITEMS, dtype=np.int32)[:, None] + ITEM.start + 2
    return users, Block(ids, items)


def rows(n, queries=8, seed=1):
    """n candidates of some queries; unknown users and empty histories among them."""
    draw = np.random.default_rng(seed)
    users, items = world()
    whose = np.sort(draw.integers(0, queries, n)).astype(np.int32)
    who = draw.integers(0, USERS, queries)
    ids = np.concatenate(
        [who[:, None] + 2, draw.integers(ITEM.start + 2, ITEM.start + ITEM.size, (queries, 3))], 1
    ).astype(np.int32)
    ids[::4, 0] = 1  # unknown
    ids[::3, 1:] = ITEM.start  # nothing liked yet
    at = draw.integers(0, ITEMS, n).astype(np.int32)
    clicks = draw.normal(size=(n, 1)).astype(np.float32)
    found = draw.normal(size=(n, 1)).astype(np.float32)
    fit = (users[who[whose], 1:] * items.dense[at, 2:]).sum(1)
    value = fit + clicks[:, 0] + found[:, 0] + items.dense[at, 0]
    chance = 1 / (1 + np.exp(-2 * value))
    labels = (draw.random((n, 2)) < np.stack([chance, chance**2], 1)).astype(np.float32)
    none = np.zeros((n, 0), np.int32)
    blocks = [
        Block(ids, users[who], whose),
        Block(items.ids, items.dense, at),
        Block(none, clicks),
        Block(none, found),
    ]
    return Rows(LAYOUT, blocks, n, labels, groups=whose.astype(np.int64))


def make(name):
    return PRERANKERS[name](**OPTIONS.get(name, {}))


@cache
def fitted(name):
    return make(name).fit(rows(3000, 600), tasks=TASKS)


def scores(model, asked):
    found = model.score_rows(asked)
    assert list(found) == TASKS
    for score in found.values():
        assert score.shape == (len(asked),)
        assert score.dtype == np.float32
        assert np.isfinite(score).all()
        assert ((score >= 0) & (score <= 1)).all()
    return np.stack(list(found.values()), 1)


@pytest.fixture(params=PRERANKERS)
def name(request):
    return request.param


def test_the_room_holds_what_the_documents_promise():
    assert {"lr", "gbdt", "inner_product", "three_tower", "stored"} <= set(PRERANKERS)


def test_is_a_scorer_and_documented(name):
    assert isinstance(fitted(name), Scorer)
    text = PRERANKERS[name].__doc__
    assert all(word in text for word in ("When to use:", "Cost:", "Source:"))
    assert PRERANKERS[name].Config.__doc__


@pytest.mark.parametrize("n", [0, 1])
def test_few_candidates(name, n):
    assert scores(fitted(name), rows(n, 1)).shape == (n, 2)


def test_learns(name):
    asked = rows(2000, 50, seed=9)
    found = scores(fitted(name), asked)
    for t in range(2):
        assert auc(asked.labels[:, t], found[:, t]) > 0.6  # of eight seeds the least was .759


def test_a_batch_of_requests_is_each_alone(name):
    asked = rows(120, 6, seed=5)
    together = scores(fitted(name), asked)
    users = asked.blocks[0]
    for q in range(6):
        mine = np.flatnonzero(users.pointer == q)
        alone = asked.select(mine)
        one = Block(users.ids[q : q + 1], users.dense[q : q + 1], np.zeros(len(mine), np.int32))
        alone = replace(alone, blocks=[one, *alone.blocks[1:]], _tensors={})
        np.testing.assert_allclose(scores(fitted(name), alone), together[mine], atol=2e-6)


def test_order_does_not_matter(name):
    asked = rows(90, 4, seed=6)
    order = np.random.default_rng(2).permutation(90)
    np.testing.assert_allclose(
        scores(fitted(name), asked.select(order)), scores(fitted(name), asked)[order], atol=2e-6
    )


def test_rows_laid_flat_score_the_same(name):
    """Pointers are a way to say it, not part of the question."""
    asked = rows(70, 5, seed=7)
    flat = [
        b if b.pointer is None else Block(b.ids[b.pointer], b.dense[b.pointer])
        for b in asked.blocks
    ]
    got = scores(fitted(name), Rows(LAYOUT, flat, 70))
    np.testing.assert_allclose(got, scores(fitted(name), asked), atol=2e-6)


def test_saving_changes_nothing(name, tmp_path):
    fitted(name).save(tmp_path)
    again = PRERANKERS[name].load(tmp_path, make(name).config)
    asked = rows(200, 3, seed=8)
    np.testing.assert_array_equal(scores(again, asked), scores(fitted(name), asked))


def test_the_same_seed_fits_the_same(name):
    again = make(name).fit(rows(3000, 600), tasks=TASKS)
    asked = rows(50, 2, seed=3)
    np.testing.assert_array_equal(scores(again, asked), scores(fitted(name), asked))


def test_a_label_may_be_missing(name):
    data = rows(1500, 300, seed=4)
    data.labels[::2, 1] = np.nan
    assert scores(make(name).fit(data, tasks=TASKS), rows(40)).shape == (40, 2)


def test_inputs_are_left_as_they_were(name):
    asked = rows(60, 3, seed=2)
    before = [(b.ids.copy(), b.dense.copy()) for b in asked.blocks]
    scores(fitted(name), asked)
    for block, (ids, dense) in zip(asked.blocks, before, strict=True):
        np.testing.assert_array_equal(block.ids, ids)
        np.testing.assert_array_equal(block.dense, dense)


def test_scoring_before_fit_says_so(name):
    with pytest.raises(NotFittedError, match="fit"):
        make(name).score_rows(rows(5))


def test_nothing_to_learn_from_says_so(name):
    data = rows(50)
    data.labels[:] = 0
    with pytest.raises(TrainingError, match="positive"):
        make(name).fit(data, tasks=TASKS)
