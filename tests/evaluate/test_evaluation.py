"""Models evaluated side by side, against numbers computed by hand."""

from typing import Any

import numpy as np
import polars as pl
import pytest

import tamis
from tamis.cascade import Queries, Recalled
from tamis.evaluate import EvaluationTable, evaluate, gauc
from tamis.evaluate.evaluation import _rate_metrics, _weighted_auc
from tamis.rank import LR
from tamis.recall import BaseChannel, Hot, ItemCF
from tamis.schema import ComponentConfig, ConfigError, DataError, SparseFeat
from tamis.train import auc

LOG = pl.DataFrame({"user_id": list("aaabbbccc"), "item_id": list("123231314")})
"""Held out by leave-one-out: 3 for a, 1 for b, 4 for c."""


class Fixed(BaseChannel):
    """Recalls the items 4, 3, 1, in that order, for every user."""

    name = "fixed"
    Config = ComponentConfig
    config: ComponentConfig

    def _fit(self, data: Any, context: Any) -> dict[str, Any]:
        self._arrays = {"items": data.items.rows(pl.Series(["4", "3", "1"]))}
        return {}

    def _recall(self, queries: Queries, k: int) -> Recalled:
        item = np.full((len(queries), k), -1, np.int32)
        item[:, : min(k, 3)] = self._arrays["items"][:k]
        return Recalled(item, np.where(item >= 0, 1.0, -np.inf).astype(np.float32))


@pytest.fixture(scope="module")
def split() -> tamis.Holdout:
    return tamis.leave_one_out(tamis.dataset_from_frame(LOG))


@pytest.fixture(scope="module")
def table(split: tamis.Holdout) -> EvaluationTable:
    return evaluate({"fixed": Fixed(), "hot": Hot()}, split, k=2, mask_seen=False)


def test_channel_metrics_by_hand(table: EvaluationTable) -> None:
    found = table["fixed"]
    assert found["ndcg@2"] == pytest.approx((1 / np.log2(3) + 0 + 1) / 3)
    assert found["recall@2"] == found["hit@2"] == pytest.approx(2 / 3)
    assert found["mrr@2"] == pytest.approx((1 / 2 + 0 + 1) / 3)
    assert found["coverage@2"] == 2 / 4


def test_the_table_states_its_protocol(table: EvaluationTable) -> None:
    text = repr(table)
    assert text.splitlines()[0].split()[:3] == ["model", "ndcg@2", "recall@2"]
    assert text.splitlines()[1].startswith("fixed")
    assert "full ranking of 4 items, seen items kept, users: 3" in text
    assert "leave-one-out" in text
    assert "95 % bootstrap interval over users" in text


def test_frames_hold_every_metric_and_its_interval(table: EvaluationTable) -> None:
    frame = table.to_frame()
    assert frame["model"].to_list() == ["fixed", "hot"]
    assert frame["ndcg@2"][0] == pytest.approx(table["fixed"]["ndcg@2"])
    assert {"fit_seconds", "users_per_second", "popularity@2"} <= set(frame.columns)
    rows = table.intervals().filter(pl.col("metric") == "recall@2")
    assert (rows["low"] <= rows["mean"]).all()
    assert (rows["mean"] <= rows["high"]).all()


def test_a_model_does_not_differ_from_itself(table: EvaluationTable) -> None:
    same = table.difference("fixed", "fixed", "ndcg@2")
    assert (same.mean, same.low, same.high) == (0, 0, 0)
    with pytest.raises(ConfigError, match="'ndcg@3' has no intervals for 'fixed'"):
        table.difference("fixed", "hot", "ndcg@3")
    with pytest.raises(ConfigError, match=r"no model 'fix'.*fixed"):
        table["fix"]


def test_the_package_is_callable(split: tamis.Holdout) -> None:
    table = tamis.evaluate({"itemcf": ItemCF()}, split, k=(1, 2))
    assert {"ndcg@1", "ndcg@2"} <= set(table["itemcf"])
    assert table["itemcf"]["hit@2"] in (0, pytest.approx(1 / 3), pytest.approx(2 / 3), 1)


def rows(n: int = 600, seed: int = 0) -> pl.DataFrame:
    """Rows whose click rate depends on the item; every tenth user has one class only."""
    random = np.random.default_rng(seed)
    user, item = random.integers(0, 30, n), random.integers(0, 20, n)
    click = random.random(n) < (0.2 + 0.6 * (item % 2))
    return pl.DataFrame({"user_id": user, "item_id": item, "click": (click & (user % 10 > 0)) * 1})


FEATURES = [SparseFeat(name="user_id"), SparseFeat(name="item_id")]


def test_rankers_have_the_metrics_of_their_own_evaluate() -> None:
    train, test = rows(), rows(seed=1)
    model = LR(features=FEATURES, epochs=2)
    table = evaluate(
        {"lr": model}, train=train, valid=rows(seed=2), test=test, label="click", user="user_id"
    )
    own, scores = model.evaluate(test), model.predict(test)
    clicks, users = test["click"].to_numpy(), test["user_id"].to_numpy()
    assert table["lr"]["auc"] == pytest.approx(own["auc"], abs=1e-6)
    assert table["lr"]["logloss"] == pytest.approx(own["logloss"], abs=1e-6)
    assert table["lr"]["gauc"] == pytest.approx(gauc(clicks, scores, users))
    row = table.intervals().filter(pl.col("metric") == "auc").row(0, named=True)
    assert row["low"] < row["mean"] < row["high"]
    assert "600 test rows; trained on 600 rows, stopped by 600 rows" in table.protocol
    again = evaluate({"same": model, "lr": model}, test=test, user="user_id")
    assert again["same"] == table["lr"]
    assert again.difference("same", "lr", "auc").high == 0


def test_weighted_auc_is_the_auc_of_repeated_rows() -> None:
    random = np.random.default_rng(3)
    label = (random.random(50) < 0.4).astype(np.float64)
    score = random.integers(0, 8, 50) / 8.0
    weight = random.poisson(1.0, 50).astype(np.float64)
    order = np.argsort(score, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(score[order]) > 0, True))
    times = weight.astype(int)
    assert _weighted_auc(label[order], weight[order], ends) == pytest.approx(
        auc(label.repeat(times), score.repeat(times))
    )


def test_intervals_of_rankers_have_their_nominal_coverage() -> None:
    """The AUC of two normal scores one deviation apart is Φ(1/√2) = 0.760."""
    inside = 0
    for seed in range(40):
        random = np.random.default_rng(seed)
        label = np.repeat([0.0, 1.0], 150)
        score = random.normal(label)
        replicates = _rate_metrics(label, 1 / (1 + np.exp(-score)), None, seed)["auc"][1]
        low, high = np.quantile(replicates, [0.025, 0.975])
        inside += int(low <= 0.7602 <= high)
    assert inside >= 33


def test_errors_of_arguments_explain_what_to_give(split: tamis.Holdout) -> None:
    with pytest.raises(ConfigError, match="models is empty"):
        evaluate({}, split)
    with pytest.raises(ConfigError, match="'lr' is a LR, which is no recall channel"):
        evaluate({"lr": LR(features=FEATURES)}, split)
    with pytest.raises(ConfigError, match="'hot' is a Hot, which is no ranker"):
        evaluate({"hot": Hot()}, test=rows())
    with pytest.raises(ConfigError, match="nothing to evaluate on"):
        evaluate({"hot": Hot()})
    with pytest.raises(ConfigError, match="either a split"):
        evaluate({"hot": Hot()}, split, test=rows())
    with pytest.raises(ConfigError, match="valid is a frame"):
        evaluate({"hot": Hot()}, split, valid=rows())
    with pytest.raises(ConfigError, match="valid is a split"):
        evaluate({"lr": LR(features=FEATURES)}, train=rows(), valid=split, test=rows())
    with pytest.raises(DataError, match="no column 'uid'"):
        evaluate({"lr": LR(features=FEATURES)}, train=rows(), test=rows(), user="uid")
    with pytest.raises(DataError, match="the test frame has no row"):
        evaluate({"lr": LR(features=FEATURES)}, train=rows(), test=rows(0))
