"""The pre-ranker over a channel's stored vectors."""

import numpy as np
import pytest

from tamis.cascade import FitContext, beside, block_of
from tamis.features import Block, DenseColumn, Layout, Rows
from tamis.prerank import LR, Stored
from tamis.schema import ConfigError, Side
from tamis.train import auc, predict

ITEMS, DIM = 50, 6
LAYOUT = Layout((), (), (DenseColumn("x", Side.CROSS, 0),))
VECTORS = np.random.default_rng(0).normal(size=(ITEMS, DIM)).astype(np.float32)


def plain(n):
    return Rows(LAYOUT, [Block(np.zeros((n, 0), np.int32), np.ones((n, 1), np.float32))], n)


def rows(n, queries, seed=1, flat=False):
    """Clicks are more likely the larger the product of the vectors."""
    draw = np.random.default_rng(seed)
    users = draw.normal(size=(queries, DIM)).astype(np.float32)
    whose, at = np.sort(draw.integers(0, queries, n)), draw.integers(0, ITEMS, n)
    score = (users[whose] * VECTORS[at]).sum(1)
    labels = (draw.random(n) < 1 / (1 + np.exp(-2 * score))).astype(np.float32)[:, None]
    user, item = block_of(users, whose), block_of(VECTORS, at)
    if flat:
        user = Block(user.ids[whose], users[whose])
        item = Block(item.ids[at], VECTORS[at])
    wide = beside(plain(n), "two_tower", user, item)
    return wide.labelled(labels, whose.astype(np.int64))


@pytest.fixture(scope="module", params=[(), (16, 8)], ids=["lr", "shallow"])
def model(request):
    made = Stored(epochs=30, batch_size=500, learning_rate=0.02, hidden_units=request.param)
    return made.fit(rows(4000, 300), tasks=["click"])


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize(("n", "queries"), [(1, 1), (300, 1), (5000, 7), (20, 20)])
def test_split_scoring_equals_the_forward(model, n, queries, flat):
    test = rows(n, queries, seed=n, flat=flat)
    np.testing.assert_allclose(model.logits(test), predict(model.model, test), atol=1e-5)


def test_learns_the_inner_product(model):
    test = rows(3000, 90, seed=5)
    assert auc(test.labels[:, 0], model.score_rows(test)["click"]) > 0.85


def test_the_regression_weights_all_coordinates_equally():
    made = Stored(epochs=60, batch_size=500, learning_rate=0.02).fit(rows(20_000, 900))
    weight = made.model.top.layers[0].weight.detach().numpy()[0]
    np.testing.assert_allclose(weight[2 * DIM :], 2.0, atol=0.3)  # the log-odds are 2 u · i
    np.testing.assert_allclose(weight[: 2 * DIM], 0.0, atol=0.15)


def test_a_saved_model_scores_the_same(model, tmp_path):
    model.save(tmp_path)
    again = Stored.load(tmp_path)
    test = rows(40, 2)
    np.testing.assert_array_equal(again.logits(test), model.logits(test))
    assert Stored(channel="fm").vectors_of == "fm"


def test_rows_without_vectors_are_refused():
    with pytest.raises(ConfigError, match="do not contain the vectors of channel 'two_tower'"):
        Stored().fit(plain(9).labelled(np.ones((9, 1), np.float32), np.zeros(9, np.int64)))


def test_the_teacher_gets_rows_without_the_vectors():
    n = 2000
    data = rows(n, 80)
    teacher = LR(epochs=2).fit(plain(n).labelled(data.labels, data.groups), tasks=["click"])
    made = Stored(epochs=2, teacher=1.0)
    made.fit(data, tasks=["click"], context=FitContext(teacher=teacher))
    rate = float(data.labels.mean())  # the teacher has learned the mean only
    assert float(made.score_rows(data)["click"].mean()) == pytest.approx(rate, abs=0.1)
