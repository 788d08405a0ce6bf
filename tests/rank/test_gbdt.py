"""Gradient-boosted trees: learn an interaction, agree with LightGBM, can be saved."""

from __future__ import annotations

from pathlib import Path

import lightgbm as lgb
import numpy as np
import polars as pl
import pytest

from tamis.cascade import FitContext
from tamis.features import FrameSpace
from tamis.rank import GBDT
from tamis.schema import ConfigError, DenseFeat, NotFittedError, SparseFeat, TrainingError
from tamis.train import Chosen, auc

FEATURES = [
    SparseFeat("colour"),
    SparseFeat("user_id"),
    DenseFeat("x", transform="none"),
    DenseFeat("y", transform="none"),
]
SMALL = {"trees": 60, "learning_rate": 0.1, "min_leaf": 20}


def frame(n: int = 3000, seed: int = 0) -> pl.DataFrame:
    """The colour decides which number determines the label, which no linear model can express."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(2, n))
    colour = rng.choice(["red", "blue"], n)
    positive = np.where(colour == "red", x, y) > 0
    return pl.DataFrame(
        {
            "colour": colour,
            "user_id": rng.integers(0, 500, n),
            "x": x,
            "y": y,
            "click": positive.astype(np.float32),
        }
    )


def test_it_learns_an_interaction_of_numbers_and_a_category() -> None:
    model = GBDT(features=FEATURES, **SMALL).fit(frame(), label="click")
    assert model.evaluate(frame(seed=1))["auc"] > 0.95
    ranked = model.importance()
    assert {"colour", "x[0]", "y[0]"} == set(list(ranked)[:3])
    assert "user_id" not in ranked  # 500 ids are more than `categories`
    assert sum(ranked.values()) == pytest.approx(1)


def test_it_equals_lightgbm_on_the_same_inputs() -> None:
    data = frame()
    features = [DenseFeat("x", transform="none"), DenseFeat("y", transform="none")]
    model = GBDT(features=features, rows_share=1.0, columns_share=1.0, **SMALL)
    got = model.fit(data, label="click").predict(data)
    rows = FrameSpace.fit(data, features).rows(data)
    other = lgb.train(
        {
            "objective": "binary",
            "num_leaves": 31,
            "learning_rate": 0.1,
            "min_data_in_leaf": 20,
            "verbose": -1,
            "num_threads": 1,
        },
        lgb.Dataset(rows.blocks[0].dense, data["click"].to_numpy(), params={"verbose": -1}),
        60,
    )
    np.testing.assert_allclose(got, other.predict(rows.blocks[0].dense), atol=1e-6)


def test_validation_chooses_the_number_of_trees() -> None:
    space = FrameSpace.fit(frame(), FEATURES)

    def rows(seed: int):
        data = frame(seed=seed)
        made = space.rows(data, labels=["click"])
        assert made.labels is not None
        return made.labelled(made.labels, np.arange(len(data), dtype=np.int64) // 10)

    model = GBDT(**SMALL).fit(rows(0), rows(1), ["click"])
    assert [e.epoch for e in model.history] == [10, 20, 30, 40, 50, 60]
    assert model.chosen.trees == model.best_epoch
    again = GBDT(**SMALL).fit(rows(0), None, ["click"], FitContext(chosen=Chosen(trees=7)))
    assert [b.num_trees() for b in again.boosters] == [7]
    assert again.chosen.trees == 7
    impatient = GBDT(**SMALL, patience=10).fit(rows(0), rows(1), ["click"])
    assert len(impatient.history) <= len(model.history)
    assert impatient.history[-1].epoch - impatient.best_epoch <= 10
    assert model.best["ndcg"] == max(e.metrics["ndcg"] for e in model.history)


def test_a_saved_model_predicts_the_same(tmp_path: Path) -> None:
    data = frame()
    model = GBDT(features=FEATURES, **SMALL).fit(data, label="click")
    model.save(tmp_path)
    np.testing.assert_array_equal(GBDT.load(tmp_path).predict(data), model.predict(data))


def test_the_same_seed_gives_the_same_model() -> None:
    data = frame(800)
    first, again = (GBDT(features=FEATURES, **SMALL).fit(data, label="click") for _ in range(2))
    np.testing.assert_array_equal(first.predict(data), again.predict(data))


def test_several_tasks_and_missing_labels() -> None:
    data = frame().with_columns(
        like=pl.when(pl.col("click") > 0).then((pl.col("x") > 0).cast(pl.Float32))
    )
    model = GBDT(features=FEATURES, **SMALL).fit(data, label=["click", "like"])
    scores = model.predict(data)
    known = data["like"].is_not_null().to_numpy()
    assert scores.shape == (3000, 2)
    assert auc(data["like"].to_numpy()[known], scores[known, 1]) > 0.95


def test_batches_of_none_and_one() -> None:
    data = frame()
    model = GBDT(features=FEATURES, **SMALL).fit(data, label="click")
    assert model.predict(data.head(0)).shape == (0,)
    np.testing.assert_array_equal(model.predict(data.head(1)), model.predict(data)[:1])


def test_error_messages() -> None:
    with pytest.raises(NotFittedError, match="GBDT is not fitted"):
        GBDT(features=FEATURES).predict(frame(10))
    with pytest.raises(ConfigError, match="leafs"):
        GBDT(leafs=3)
    with pytest.raises(TrainingError, match="no positive label"):
        GBDT(features=FEATURES).fit(frame(50).with_columns(click=0.0), label="click")
