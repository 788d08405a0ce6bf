"""Intercept correction: the mean prediction equals the mean label."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from tamis.features import Block, DenseColumn, Layout, Rows
from tamis.rank import DNN
from tamis.schema import Side, TaskConfig
from tamis.train.intercept import centre

NAN = float("nan")


def test_the_shift_by_hand() -> None:
    # σ(0 + b) = 3/4: b = log 3; the row without a label does not count.
    assert centre(np.array([1.0, 1, 1, 0, NAN]), np.zeros(5)) == pytest.approx(np.log(3))
    weighed = centre(np.array([1.0, 0]), np.zeros(2), np.array([1.0, 4]))
    assert weighed == pytest.approx(-np.log(4))


def test_fractional_targets_and_large_shifts() -> None:
    draw = np.random.default_rng(0)
    z = draw.normal(0, 3, 1000)
    for y in (draw.random(1000), (draw.random(1000) < 0.003) * 1.0):
        shift = centre(y, z + 30)
        assert expit(z + 30 + shift).mean() == pytest.approx(y.mean(), rel=1e-6)


@pytest.mark.parametrize("labels", [[], [NAN], [0, 0], [1, 1]])
def test_one_class_only_gives_no_shift(labels: list[float]) -> None:
    assert centre(np.array(labels, np.float64), np.ones(len(labels))) == 0


def test_a_fit_corrects_its_intercepts(tmp_path) -> None:
    layout = Layout((), (), (DenseColumn("x", Side.CONTEXT, 0, 2),))
    draw = np.random.default_rng(1)
    x = draw.normal(size=(4000, 2)).astype(np.float32)
    click = draw.random(4000) < expit(x[:, 0] - 2)
    like = np.where(click, draw.random(4000) < 0.3, NAN)
    seconds = np.where(click, draw.exponential(20, 4000), NAN)
    labels = np.column_stack([click, like, seconds]).astype(np.float32)
    rows = Rows(layout, [Block(np.zeros((4000, 0), np.int32), x)], 4000, labels)
    watch = TaskConfig(name="w", kind="watch_time", scale=20)
    model = DNN(epochs=1, learning_rate=1e-4).fit(rows, None, ["click", "like|click", watch])
    raw = expit(model.logits(rows))
    assert abs(raw[:, 0].mean() / click.mean() - 1) > 0.5  # one epoch of small steps
    p = model.probabilities(rows)
    assert p[:, 0].mean() == pytest.approx(click.mean(), rel=1e-4)
    assert p[click, 1].mean() == pytest.approx(np.nanmean(like), rel=1e-4)
    exp_z = model.score_rows(rows)["w"]
    y = seconds / 20 / (1 + seconds / 20)
    assert (exp_z / (1 + exp_z))[click].mean() == pytest.approx(np.nanmean(y), rel=1e-4)
    model.save(tmp_path)
    np.testing.assert_array_equal(DNN.load(tmp_path).probabilities(rows), p)
