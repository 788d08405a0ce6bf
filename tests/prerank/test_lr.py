"""Compares logistic regression with scikit-learn, and its NumPy scoring with its module."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from tamis.features import Block, DenseColumn, IdColumn, Layout, Rows, TableRange
from tamis.prerank import GBDT, LR
from tamis.schema import Side
from tamis.train import predict

LAYOUT = Layout(
    tables=(TableRange("user", 0, 7), TableRange("tag", 7, 6)),
    ids=(
        IdColumn("user", Side.USER, "user", 0),
        IdColumn("tags", Side.ITEM, "tag", 1, 3, "max", True),
    ),
    dense=(DenseColumn("age", Side.USER, 0), DenseColumn("price", Side.ITEM, 1, 2)),
)


def rows(n: int, items: int, tasks: int = 2, pointers: bool = True) -> Rows:
    draw = np.random.default_rng(4)
    user = Block(np.array([[3]], np.int32), np.array([[0.5]], np.float32), np.zeros(n, np.int32))
    item_ids = draw.integers(7, 13, (items, 3)).astype(np.int32)
    numbers = draw.normal(size=(items, 2)).astype(np.float32)
    at = draw.integers(0, items, n).astype(np.int32)
    item = Block(item_ids, numbers, at) if pointers else Block(item_ids[at], numbers[at])
    labels = (draw.random((n, tasks)) < 0.4).astype(np.float32)
    return Rows(LAYOUT, [user, item], n, labels)


@pytest.mark.parametrize("items", [5, 500])
@pytest.mark.parametrize("pointers", [True, False])
def test_scores_by_block_equal_the_module(items, pointers):
    model = LR(epochs=3).fit(rows(200, 50), tasks=["a", "b"])
    test = rows(100, items, pointers=pointers)
    want = 1 / (1 + np.exp(-predict(model.model, test) - np.float32(model.shifts)))
    got = model.score_rows(test)
    np.testing.assert_allclose(np.stack([got["a"], got["b"]], 1), want, rtol=1e-5, atol=1e-6)
    assert got["a"].dtype == np.float32
    assert np.ptp(got["a"]) > 0


@pytest.mark.parametrize("n", [0, 1])
def test_no_candidates_and_a_single_one(n):
    model = LR(epochs=1).fit(rows(50, 9, 1))
    assert model.score_rows(rows(n, 9))["label"].shape == (n,)


def test_finds_scikit_learns_coefficients():
    draw = np.random.default_rng(0)
    x = draw.normal(size=(4000, 3)).astype(np.float32)
    y = draw.random(4000) < 1 / (1 + np.exp(-(x @ [1.0, -2.0, 0.5] + 0.3)))
    layout = Layout((), (), (DenseColumn("x", Side.CROSS, 0, 3),))
    block = Block(np.zeros((4000, 0), np.int32), x)
    data = Rows(layout, [block], 4000, y.astype(np.float32)[:, None])
    model = LR(epochs=80, batch_size=4000, learning_rate=0.1, bfloat16="off").fit(data)
    sk = LogisticRegression(C=1e6).fit(x, y)
    np.testing.assert_allclose(model.model.dense.weight.detach()[0], sk.coef_[0], atol=0.05)
    assert model.model.dense.bias.item() == pytest.approx(sk.intercept_[0], abs=0.05)
    np.testing.assert_allclose(
        model.score_rows(data)["label"], sk.predict_proba(x)[:, 1], atol=0.01
    )


def test_the_scores_of_ids_are_their_rates():
    user = np.repeat([2, 3], 2000).astype(np.int32)
    layout = Layout((TableRange("user", 0, 4),), (IdColumn("user", Side.USER, "user", 0),), ())
    y = np.concatenate([np.arange(2000) % 10 < 1, np.arange(2000) % 10 < 7]).astype(np.float32)
    block = Block(user[:, None], np.zeros((4000, 0), np.float32))
    data = Rows(layout, [block], 4000, y[:, None])
    score = LR(epochs=40, batch_size=400, patience=9).fit(data).score_rows(data)["label"]
    assert score[0] == pytest.approx(0.1, abs=0.03)
    assert score[-1] == pytest.approx(0.7, abs=0.03)


def test_a_saved_model_scores_the_same(tmp_path):
    model = LR(epochs=1).fit(rows(50, 9, 1))
    model.save(tmp_path)
    test = rows(30, 9)
    again = LR.load(tmp_path, LR.Config(epochs=7))
    np.testing.assert_array_equal(again.score_rows(test)["label"], model.score_rows(test)["label"])
    assert torch.equal(again.model.table.weight, model.model.table.weight)


def test_twins_of_one_name_differ_in_repr_and_refer_to_each_other():
    assert repr(LR(teacher=0.5)) == "prerank.LR(teacher=0.5)"
    assert repr(GBDT(trees=3)) == "prerank.GBDT(trees=3)"
    for kind in (LR, GBDT):
        assert f"`tamis.rank.{kind.__name__}`" in kind.__doc__
