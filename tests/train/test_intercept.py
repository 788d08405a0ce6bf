"""Intercept correction: the mean prediction equals the mean label."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from tamis.features import Block, DenseColumn, Layout, Rows
from tamis.rank import DNN
from tamis.schema import Side, TaskConfig
from tamis.train.calibration import Calibration
from tamis.train.intercept import centre, rate_beyond_chance

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


def test_the_rate_moves_beyond_chance_by_hand() -> None:
    y = np.repeat([1.0, 0.0], [25, 75])
    se = np.sqrt(0.25 * 0.75 / 100) / (0.25 * 0.75)  # of the log-odds: .2309
    assert rate_beyond_chance(y, np.full(100, 0.29)) == pytest.approx(0.29)  # within one SE
    difference = np.log(1 / 3) - np.log(0.5 / 0.5)
    share = 1 - (se / difference) ** 2  # .956
    assert rate_beyond_chance(y, np.full(100, 0.5)) == pytest.approx(expit(share * difference))
    assert rate_beyond_chance(np.zeros(100), np.full(100, 0.01)) == pytest.approx(0.01)
    many = np.tile(y, 10_000)
    assert rate_beyond_chance(many, np.full(len(many), 0.3)) == pytest.approx(0.25, rel=1e-3)


def test_positives_of_one_query_are_one_observation() -> None:
    y = np.repeat([1.0, 0.0], [40, 60])
    query = np.arange(100)
    apart = rate_beyond_chance(y, np.full(100, 0.25), query)
    assert apart == rate_beyond_chance(y, np.full(100, 0.25))
    # 40 positives of a single query: SE of the mean is √(24² + 60 · .4²) / 100 = .242, of its
    # log-odds 1.01, and the difference is .693.
    together = rate_beyond_chance(y, np.full(100, 0.25), np.where(y == 1, 0, query))
    assert together == pytest.approx(0.25)


@pytest.mark.parametrize("before", [0.0, 1.0])
def test_former_predictions_without_doubt_leave_a_rate_that_is_finite(before: float) -> None:
    y = np.repeat([1.0, 0.0], [500, 500])
    assert rate_beyond_chance(y, np.full(1000, before)) == pytest.approx(0.5, rel=1e-3)


def test_served_predictions_are_centred_on_new_rows_with_their_calibration() -> None:
    layout = Layout((), (), (DenseColumn("x", Side.CONTEXT, 0, 1),))
    draw = np.random.default_rng(2)

    def rows(n: int, shift: float) -> Rows:
        x = draw.normal(size=(n, 1)).astype(np.float32)
        click = draw.random(n) < expit(x[:, 0] + shift)
        like = np.where(click, draw.random(n) < 0.3, NAN)
        labels = np.column_stack([click, like]).astype(np.float32)
        return Rows(layout, [Block(np.zeros((n, 0), np.int32), x)], n, labels)

    tasks = ["click", "like|click"]
    former = DNN(epochs=1).fit(rows(20_000, -3.0), None, tasks)
    model = DNN(epochs=1, negatives=0.5).fit(rows(20_000, -3.0), None, tasks)
    # As after a fit on rows that clicked more by chance:
    model.calibrations = (Calibration(kind="platt", y=(0.4,), slope=0.7), Calibration())
    new = rows(50_000, -2.0)
    assert new.labels is not None
    assert abs(model.probabilities(new)[:, 0].mean() / new.labels[:, 0].mean() - 1) > 0.1
    model.centre_on(new, former)
    p = model.probabilities(new)
    assert p[:, 0].mean() == pytest.approx(new.labels[:, 0].mean(), rel=0.01)
    liked = new.labels[:, 0] == 1
    before = former.probabilities(new)[liked, 1]
    wanted = rate_beyond_chance(new.labels[liked, 1], before)
    assert p[liked, 1].mean() == pytest.approx(wanted, rel=1e-4)
    assert model.calibrations[0].slope == 0.7  # its shape is as it was fitted
    few = rows(600, -3.0)
    model.centre_on(few, former)
    assert few.labels is not None
    assert few.labels[:, 0].sum() < 50
    p, before = model.probabilities(few)[:, 0], former.probabilities(few)[:, 0]
    assert p.mean() == pytest.approx(before.mean(), rel=1e-3)
