"""Pre-rankers that learn from the fitted ranker."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from tamis.cascade import FitContext
from tamis.features import Block, DenseColumn, Layout, Rows
from tamis.prerank import LR
from tamis.prerank._base import _centred_ranks, distilled_rows
from tamis.schema import Side, TaskConfig

CLICK = TaskConfig(name="click")
LAYOUT = Layout((), (), (DenseColumn("x", Side.CROSS, 0, 1),))


class FixedRanker:
    """A ranker that predicts a click rate of 0.8 where x > 0 and 0 elsewhere."""

    def score_rows(self, rows):
        return {"click": (rows.blocks[0].dense[:, 0] > 0) * np.float32(0.8)}


def rows(labels):
    n = len(labels)
    x = np.random.default_rng(0).normal(size=(n, 1)).astype(np.float32)
    block = Block(np.zeros((n, 0), np.int32), x)
    return Rows(LAYOUT, [block], n, np.array(labels, np.float32).reshape(n, -1))


def test_labels_are_mixed_by_hand():
    data = rows([[1, 1], [0, 0], [np.nan, np.nan]])
    data.blocks[0].dense[:, 0] = [1.0, -1.0, 2.0]
    got = distilled_rows(data, [CLICK, TaskConfig(name="like")], FixedRanker(), 0.75)
    # .25 · 1 + .75 · .8; .25 · 0 + .75 · 0; no label: the teacher alone. "like" is kept.
    np.testing.assert_allclose(got.labels, [[0.85, 1], [0, 0], [0.8, np.nan]], rtol=1e-6)
    assert data.labels[0, 0] == 1  # the given rows are not changed


def test_sampled_negatives_by_hand():
    data = rows([[1], [np.nan]])
    data.blocks[0].dense[:, 0] = [1.0, 1.0]
    got = distilled_rows(data, [CLICK], FixedRanker(), 0.5, rates=[0.1])
    # .8 becomes .8 / (.8 + .1 · .2) = .9756 among the rows that are left
    np.testing.assert_allclose(got.labels[:, 0], [0.5 + 0.5 * 0.8 / 0.82, np.nan], rtol=1e-6)


def test_watch_times_are_mixed_on_the_scale_of_their_loss():
    task = TaskConfig(name="click", kind="watch_time", scale=30, unit="s", behaviour=["watch"])
    data = rows([[30.0], [np.nan]])
    data.blocks[0].dense[:, 0] = [1.0, 1.0]
    got = distilled_rows(data, [task], FixedRanker(), 0.5).labels[:, 0]
    # the label of 30 s is y = 1/2; t = .8 is y = .8/1.8 = 4/9; their mean is 17/36: t = 17/19
    np.testing.assert_allclose(got, [30 * 17 / 19, 30 * 0.8], rtol=1e-5)


def test_numbers_are_mixed_and_classes_are_kept():
    data = rows([[3.0], [np.nan]])
    data.blocks[0].dense[:, 0] = [1.0, 1.0]
    number = TaskConfig(name="click", kind="regression")
    np.testing.assert_allclose(
        distilled_rows(data, [number], FixedRanker(), 0.5).labels[:, 0], [1.9, 0.8]
    )
    classes = TaskConfig(name="click", kind="multiclass", classes=(1, 3))
    np.testing.assert_array_equal(
        distilled_rows(data, [classes], FixedRanker(), 1.0).labels, data.labels
    )


@pytest.mark.parametrize(("teacher", "follows"), [(1.0, True), (0.0, False)])
def test_learns_the_order_of_the_ranker_where_labels_are_noise(teacher, follows):
    noise = np.random.default_rng(5).random((3000, 1)) < 0.3
    data = rows(noise)
    model = LR(epochs=30, batch_size=500, learning_rate=0.05, teacher=teacher)
    model.fit(data, tasks=["click"], context=FitContext(teacher=FixedRanker()))
    score = model.score_rows(data)["click"]
    corr = np.corrcoef(score, data.blocks[0].dense[:, 0] > 0)[0, 1]
    weight = float(model.model.dense.weight.detach()[0, 0])
    assert (weight > 2) is follows
    assert corr > 0.7 or not follows


def test_stops_by_agreement_with_the_ranker():
    data, valid = rows(np.tile([[0], [1]], (500, 1))), rows(np.zeros((300, 1)))
    model = LR(epochs=3, teacher=1.0)
    model.fit(data, valid, tasks=["click"], context=FitContext(teacher=FixedRanker()))
    assert next(iter(model.history[0].metrics)) == "agreement"
    assert model.best["agreement"] > 0.7
    assert not model.chosen.calibrations  # the predictions of the ranker are calibrated
    plain = LR(epochs=3, teacher=0.3)
    plain.fit(
        data,
        rows(np.tile([[0], [1]], (150, 1))),
        tasks=["click"],
        context=FitContext(teacher=FixedRanker()),
    )
    assert "agreement" not in plain.history[0].metrics


def test_agreement_is_spearmans_correlation():
    draw = np.random.default_rng(3)
    theirs, ours = draw.integers(0, 5, (40, 2)).astype(np.float32), draw.normal(size=(40, 2))
    model = LR(teacher=1.0)
    model._teacher_ranks = _centred_ranks(theirs)
    want = np.mean([spearmanr(theirs[:, t], ours[:, t]).statistic for t in range(2)])
    assert model.agreement(ours.astype(np.float32), rows(np.zeros((40, 1)))) == pytest.approx(
        want, abs=1e-5
    )
    assert model.agreement(np.ones((40, 2), np.float32), rows(np.zeros((40, 1)))) == 0
