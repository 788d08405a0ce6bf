"""Sampling of negatives: which rows are kept, and the exact correction."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from tamis.features import Block, Layout, Rows
from tamis.rank import DeepFM
from tamis.schema import ConfigError, DenseFeat, TaskConfig, TrainingError
from tamis.train import corrected, sample_negatives

NAN = np.float32(np.nan)


def rows(labels, **more) -> Rows:
    labels = np.asarray(labels, np.float32)
    n = len(labels)
    block = Block(np.zeros((n, 0), np.int32), np.arange(n, dtype=np.float32)[:, None])
    return Rows(layout=Layout((), (), ()), blocks=[block], n=n, labels=labels, **more)


def numbers(kept: Rows):
    """Numbers of the rows kept."""
    return kept.blocks[0].dense[:, 0].astype(int)


def test_positives_and_a_share_of_the_negatives_are_kept() -> None:
    random = np.random.default_rng(0)
    labels = (random.random((50_000, 1)) < 0.1).astype(np.float32)
    kept = sample_negatives(rows(labels), [0.1], seed=3)
    assert kept.labels.sum() == labels.sum()
    assert (kept.labels == 0).sum() == pytest.approx(0.1 * (labels == 0).sum(), rel=0.05)
    np.testing.assert_array_equal(kept.labels[:, 0], labels[numbers(kept), 0])
    again = sample_negatives(rows(labels), [0.1], seed=3)
    np.testing.assert_array_equal(numbers(again), numbers(kept))


def test_tasks_have_their_own_rates_and_rows_without_a_label_are_dropped() -> None:
    random = np.random.default_rng(1)
    labels = (random.random((20_000, 3)) < 0.2).astype(np.float32)
    labels[::2, 2] = NAN  # a condition that does not hold
    kept = sample_negatives(rows(labels), [1.0, 0.5, 0.1], seed=0)
    assert len(kept) == 20_000  # the first task keeps all
    assert not np.isnan(kept.labels[:, 0]).any()
    for t, rate in ((1, 0.5), (2, 0.1)):
        known = ~np.isnan(labels[:, t])
        negatives = known & (labels[:, t] == 0)
        stay = ~np.isnan(kept.labels[:, t])
        assert stay[known & ~negatives].all()
        assert not stay[~known].any()
        assert stay[negatives].mean() == pytest.approx(rate, rel=0.1)
    sparse = sample_negatives(rows(labels), [0.1, 0.1, 0.1], seed=0)
    assert not np.isnan(sparse.labels).all(1).any()
    # One draw per row: rows without a positive are kept for all tasks or for none.
    none = (np.nan_to_num(labels) == 0).all(1)
    assert np.isin(np.flatnonzero(none), numbers(sparse)).mean() == pytest.approx(0.1, rel=0.15)


def test_groups_weights_and_numbers_stay_with_their_rows() -> None:
    labels = np.array([[0], [1], [0], [2.5]], np.float32)
    whole = rows(labels, groups=np.array([5, 6, 7, 8]), weights=np.array([1, 2, 3, 4], np.float32))
    kept = sample_negatives(whole, [1e-9], seed=0)
    assert kept.labels.tolist() == [[1.0], [2.5]]
    assert kept.groups.tolist() == [6, 8]
    assert kept.weights.tolist() == [2, 4]
    assert sample_negatives(whole, [1.0], seed=0) is whole


@given(
    st.lists(st.floats(-12, 12), min_size=1, max_size=20),
    st.floats(1e-3, 1.0),
)
def test_the_correction_is_the_formula_on_probabilities(logits, rate) -> None:
    z = np.array(logits)[:, None]
    p = expit(z)
    expected = rate * p / ((1 - p) + rate * p)
    np.testing.assert_allclose(expit(corrected(z, [rate])), expected, rtol=1e-5)


def test_rates_out_of_range_are_refused() -> None:
    for rate in (0, -0.1, 1.5):
        with pytest.raises(ConfigError, match=rf"negatives = {rate}"):
            sample_negatives(rows([[0], [1]]), [rate], seed=0)
    with pytest.raises(TrainingError, match="2 rates of negatives, but the labels have shape"):
        sample_negatives(rows([[0], [1]]), [0.5, 0.5], seed=0)


def frame() -> pl.DataFrame:
    random = np.random.default_rng(0)
    x = random.normal(size=3000)
    click = random.random(3000) < expit(x)
    like = click & (random.random(3000) < 0.3)
    return pl.DataFrame({"x": x, "click": click.astype(float), "like": like.astype(float)})


def fitted(*tasks: TaskConfig, **options) -> DeepFM:
    model = DeepFM(features=[DenseFeat("x")], epochs=1, hidden_units=(4,), **options)
    return model.fit(frame(), tasks=tasks)


def test_a_tasks_own_rate_takes_precedence() -> None:
    tasks = TaskConfig(name="click", negatives=1.0), TaskConfig(name="like|click")
    assert fitted(*tasks, negatives=0.25).rates == (1.0, 0.25)
    number = TaskConfig(name="x", kind="regression")
    assert fitted(TaskConfig(name="click"), number, negatives=0.5).rates == (0.5, 1.0)


def test_sampling_with_an_esmm_task_is_refused() -> None:
    tasks = TaskConfig(name="click"), TaskConfig(name="like|click", esmm=True)
    with pytest.raises(ConfigError, match=r"negatives = 0\.5 cannot be combined with an ESMM task"):
        fitted(*tasks, negatives=0.5)
