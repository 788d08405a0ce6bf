"""Every pre-ranker of the package is a valid scorer."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from tamis.cascade import Scorer, item_column, user_column
from tamis.features import Block, DenseColumn, IdColumn, Layout, Rows, TableRange
from tamis.schema import NotFittedError, Side, TrainingError
from tamis.service import registry
from tamis.train import auc

PRERANKERS = registry.available("prerank")
OPTIONS = {
    "lr": {"epochs": 4, "batch_size": 512},
    "gbdt": {"trees": 30, "min_leaf": 20},
    "inner_product": {"epochs": 4, "batch_size": 256, "learning_rate": 3e-3},
    "three_tower": {"epochs": 4, "batch_size": 256, "learning_rate": 3e-3},
    "stored": {"epochs": 8, "batch_size": 256, "learning_rate": 3e-2},
}
"""Options for quick fits; a pre-ranker that is not named here is tested with its defaults."""
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
    """Users' and items' attributes; clicks depend on the product of both."""
    draw = np.random.default_rng(0)
    users = draw.normal(size=(USERS, 1 + DIM)).astype(np.float32)
    items = draw.normal(size=(ITEMS, 2 + DIM)).astype(np.float32)
    ids = np.arange(ITEMS, dtype=np.int32)[:, None] + ITEM.start + 2
    return users, Block(ids, items)


def rows(n, queries=8, seed=1):
    """n candidates of some queries, including unknown users and empty histories."""
    draw = np.random.default_rng(seed)
    users, items = world()
    whose = np.sort(draw.integers(0, queries, n)).astype(np.int32)
    who = draw.integers(0, USERS, queries)
    ids = np.concatenate(
        [who[:, None] + 2, draw.integers(ITEM.start + 2, ITEM.start + ITEM.size, (queries, 3))], 1
    ).astype(np.int32)
    ids[::4, 0] = 1  # unknown
    ids[::3, 1:] = ITEM.start  # empty history
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


def scores(model, given):
    """(n, T) probabilities, after checks of names, shapes and range."""
    found = model.score_rows(given)
    assert list(found) == TASKS
    for score in found.values():
        assert score.shape == (len(given),)
        assert score.dtype == np.float32
        assert np.isfinite(score).all()
        assert ((score >= 0) & (score <= 1)).all()
    return np.stack(list(found.values()), 1)


@pytest.fixture(params=PRERANKERS)
def name(request):
    return request.param


def test_the_documented_pre_rankers_exist():
    assert {"lr", "gbdt", "inner_product", "three_tower", "stored"} <= set(PRERANKERS)


def test_is_a_scorer_and_documented(name):
    assert isinstance(fitted(name), Scorer)
    text = PRERANKERS[name].__doc__
    assert all(word in text for word in ("When to use:", "Cost:", "Source:"))
    assert PRERANKERS[name].Config.__doc__


@pytest.mark.parametrize("n", [0, 1])
def test_no_candidates_and_a_single_one(name, n):
    assert scores(fitted(name), rows(n, 1)).shape == (n, 2)


def test_learns(name):
    test = rows(2000, 50, seed=9)
    found = scores(fitted(name), test)
    for t in range(2):
        assert auc(test.labels[:, t], found[:, t]) > 0.6  # the minimum over eight seeds was .759


def test_a_batch_of_requests_scores_as_each_alone(name):
    test = rows(120, 6, seed=5)
    together = scores(fitted(name), test)
    users = test.blocks[0]
    for q in range(6):
        at = np.flatnonzero(users.pointer == q)
        alone = test.select(at)
        one = Block(users.ids[q : q + 1], users.dense[q : q + 1], np.zeros(len(at), np.int32))
        alone = replace(alone, blocks=[one, *alone.blocks[1:]], _tensors={})
        np.testing.assert_allclose(scores(fitted(name), alone), together[at], atol=2e-6)


def test_order_does_not_matter(name):
    test = rows(90, 4, seed=6)
    order = np.random.default_rng(2).permutation(90)
    np.testing.assert_allclose(
        scores(fitted(name), test.select(order)), scores(fitted(name), test)[order], atol=2e-6
    )


def test_rows_without_pointers_score_the_same(name):
    test = rows(70, 5, seed=7)
    flat = [
        b if b.pointer is None else Block(b.ids[b.pointer], b.dense[b.pointer]) for b in test.blocks
    ]
    got = scores(fitted(name), Rows(LAYOUT, flat, 70))
    np.testing.assert_allclose(got, scores(fitted(name), test), atol=2e-6)


def test_a_saved_pre_ranker_scores_the_same(name, tmp_path):
    fitted(name).save(tmp_path)
    again = PRERANKERS[name].load(tmp_path, make(name).config)
    test = rows(200, 3, seed=8)
    np.testing.assert_array_equal(scores(again, test), scores(fitted(name), test))


def test_the_same_seed_gives_the_same_scores(name):
    again = make(name).fit(rows(3000, 600), tasks=TASKS)
    test = rows(50, 2, seed=3)
    np.testing.assert_array_equal(scores(again, test), scores(fitted(name), test))


def test_labels_may_be_missing(name):
    data = rows(1500, 300, seed=4)
    data.labels[::2, 1] = np.nan
    assert scores(make(name).fit(data, tasks=TASKS), rows(40)).shape == (40, 2)


def test_scoring_does_not_change_its_inputs(name):
    test = rows(60, 3, seed=2)
    before = [(b.ids.copy(), b.dense.copy()) for b in test.blocks]
    scores(fitted(name), test)
    for block, (ids, dense) in zip(test.blocks, before, strict=True):
        np.testing.assert_array_equal(block.ids, ids)
        np.testing.assert_array_equal(block.dense, dense)


def test_scoring_before_a_fit_raises(name):
    with pytest.raises(NotFittedError, match="fit"):
        make(name).score_rows(rows(5))


def test_labels_without_a_positive_raise(name):
    data = rows(50)
    data.labels[:] = 0
    with pytest.raises(TrainingError, match="positive"):
        make(name).fit(data, tasks=TASKS)
