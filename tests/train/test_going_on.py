"""A fit that starts from a former one: a line, not the weights, corrects overconfidence."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from scipy.special import expit

from tamis.cascade import FitContext
from tamis.features import Block, FrameSpace, Rows
from tamis.jobs._update_levels import calibrate_on
from tamis.rank import DeepFM
from tamis.schema import LabelError, SparseFeat
from tamis.train import Calibration, Chosen, log_loss
from tamis.train.estimator import Estimator

USERS, ITEMS, ROWS = 200, 150, 3_000
OPTIONS = {
    "embedding_dim": 8,
    "hidden_units": [64, 32],
    "batch_size": 1024,
    "engine": "torch",
    "learning_rate": 0.01,
}


class World(NamedTuple):
    """Few rows that a former fit learns by heart, new ones, and all pairs."""

    old: Rows
    new: Rows
    few: Rows
    """New rows with about twenty positives."""
    pairs: Rows
    truth: NDArray[np.float64]
    """(users, items) the chance of a positive label."""

    def worth(self, model: DeepFM) -> float:
        """The mean chance of the ten items that the model ranks first for each user."""
        scores = model.probabilities(self.pairs)[:, 0].reshape(self.truth.shape)
        first = np.argsort(-scores, axis=1)[:, :10]
        return float(np.take_along_axis(self.truth, first, axis=1).mean())


@pytest.fixture(scope="module")
def world() -> World:
    draw = np.random.default_rng(0)
    taste, kind = draw.normal(size=(USERS, 2)), draw.normal(size=(ITEMS, 2))
    truth = expit(draw.normal(size=ITEMS) + 0.5 * taste @ kind.T - 2)

    def frame(user: NDArray[np.int64], item: NDArray[np.int64]) -> pl.DataFrame:
        label = (draw.random(len(user)) < truth[user, item]).astype(np.float32)
        return pl.DataFrame({"user_id": user, "item_id": item, "label": label})

    old, new = (
        frame(draw.integers(USERS, size=ROWS), draw.integers(ITEMS, size=ROWS)) for _ in range(2)
    )
    user, item = np.indices(truth.shape).reshape(2, -1)
    space = FrameSpace.fit(old, (SparseFeat("user_id"), SparseFeat("item_id")))
    few, pairs = new.head(120), frame(user, item)
    return World(
        old=labelled(space, old),
        new=labelled(space, new),
        few=labelled(space, few),
        pairs=labelled(space, pairs),
        truth=truth,
    )


def labelled(space: FrameSpace, frame: pl.DataFrame) -> Rows:
    label = frame["label"].to_numpy(writable=True)[:, None]
    return space.rows(frame).labelled(label, np.arange(len(frame)))


def fitted(
    rows: Rows, epochs: int, former: DeepFM | None = None, scales: tuple[float, ...] = ()
) -> DeepFM:
    context = FitContext(former=former, chosen=Chosen(epochs=epochs, scales=scales))
    return DeepFM(**OPTIONS).fit(rows, None, ["label"], context)


@pytest.fixture(scope="module")
def former(world) -> DeepFM:
    """Learnt by heart: its predictions are far too sure."""
    return fitted(world.old, 40)


def test_one_pass_over_new_rows_improves_the_order(world, former, monkeypatch):
    before, after = world.worth(former), world.worth(fitted(world.new, 1, former))
    monkeypatch.setattr(Estimator, "_scaled_objective", lambda self, objective, *_: objective)
    without = world.worth(fitted(world.new, 1, former))
    assert without < before  # as it was: learning to be less sure costs the order
    assert after > 1.04 * before


def test_predictions_are_as_sure_as_new_rows_bear_out(world, former):
    label = world.pairs.labels[:, 0]
    model = fitted(world.new, 1, former)
    assert 0 < model.scales[0] < 0.3
    loss, before = (log_loss(label, m.probabilities(world.pairs)[:, 0]) for m in (model, former))
    assert loss < 0.5 * before


def test_scales_are_saved_and_kept_by_the_pass_that_follows(world, former, tmp_path):
    model = fitted(world.new, 1, former)
    model.save(tmp_path)
    opened = DeepFM.load(tmp_path)
    assert opened.scales == pytest.approx(model.scales)
    assert (opened.format, former.format) == (2, 1)
    np.testing.assert_allclose(
        opened.probabilities(world.pairs), model.probabilities(world.pairs), rtol=1e-5
    )
    again = fitted(world.old, 1, opened, scales=opened.scales)
    assert again.scales == pytest.approx(model.scales)
    carried = DeepFM(**OPTIONS).carried(model, world.new)
    assert carried.scales == model.scales


def test_few_labels_keep_what_was_served(world, former):
    """On twenty positives a line would be chance."""
    assert 5 < world.few.labels.sum() < 50
    assert fitted(world.few, 1, former).scales == pytest.approx((1.0,), abs=1e-3)


def test_a_fit_from_scratch_has_no_scales(world):
    assert fitted(world.new, 1).scales == ()


def two_tasks(rows: Rows, rare: NDArray[np.float32]) -> Rows:
    return rows.relabelled(np.concatenate([rows.labels, rare], axis=1))


def test_a_task_without_a_positive_keeps_what_it_has_learnt(world):
    """A night without a purchase: the other tasks learn all the same."""
    tasks, old = ["label", "rare"], two_tasks(world.old, world.old.labels)
    begun = DeepFM(**OPTIONS).fit(old, None, tasks, FitContext(chosen=Chosen(epochs=5)))
    context = FitContext(former=begun, chosen=Chosen(epochs=1))
    none = np.zeros_like(world.new.labels)
    model = DeepFM(**OPTIONS).fit(two_tasks(world.new, none), None, tasks, context)
    text = "task 'rare' has no positive label in 3,000 new rows: it keeps what it has learnt"
    assert text in model.notes
    before, after = (m.probabilities(world.pairs)[:, 1] for m in (begun, model))
    assert after.mean() == pytest.approx(before.mean(), rel=0.15)
    assert world.worth(model) > world.worth(begun)
    with pytest.raises(LabelError, match="task 'label' has no positive label"):
        DeepFM(**OPTIONS).fit(
            two_tasks(world.new, none).relabelled(0 * old.labels), None, tasks, context
        )


def test_few_held_out_labels_keep_the_calibration_of_a_carried_ranker(world, former):
    carried = DeepFM(**OPTIONS).carried(former, world.few)
    carried.calibrations = (Calibration(kind="platt", slope=0.5, y=(-1.0,)),)
    served = carried.probabilities(world.pairs)
    calibrate_on(carried, world.few)
    np.testing.assert_array_equal(carried.probabilities(world.pairs), served)
    calibrate_on(carried, world.new)
    assert carried.calibrations[0].slope != 0.5


def test_a_carried_fit_predicts_new_ids_as_unseen_ones(world, former):
    layout, tables, start = world.old.layout, [], 0
    for part in layout.tables:
        tables.append(replace(part, start=start, size=part.size + 3))
        start += part.size + 3
    larger = replace(layout, tables=tuple(tables))
    # Row by row: a known user and item, an unseen item, a new one in each of its three new rows.
    user, item = larger.tables
    last = item.start + item.size
    items = [item.start + 5, item.start + 1, last - 3, last - 2, last - 1]
    ids = np.array([[user.start + 4, one] for one in items], np.int32)
    rows = Rows(larger, [Block(ids, np.zeros((5, 0), np.float32))], 5)
    carried = DeepFM(**OPTIONS).carried(former, rows)
    logits = carried.logits(rows)[:, 0]
    np.testing.assert_allclose(logits[2:], logits[1], rtol=1e-5)
    assert abs(logits[0] - logits[1]) > 0.01
    same = Rows(
        layout,
        [
            Block(
                np.array([[layout.tables[0].start + 4, layout.tables[1].start + 5]], np.int32),
                np.zeros((1, 0), np.float32),
            )
        ],
        1,
    )
    np.testing.assert_allclose(former.logits(same)[0, 0], logits[0], rtol=1e-6)
