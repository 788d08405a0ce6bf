"""DeepFM: its formula, fits on frames and on rows, saving."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

from tamis.features import Block, DenseColumn, IdColumn, Layout, Rows, TableRange
from tamis.rank import DeepFM
from tamis.schema import (
    ConfigError,
    DenseFeat,
    NotFittedError,
    Side,
    SparseFeat,
    TrainingError,
    VarLenSparseFeat,
    VersionError,
)

LAYOUT = Layout(
    tables=(TableRange("user", 0, 6), TableRange("tag", 6, 5)),
    ids=(
        IdColumn("user", Side.USER, "user", 0),
        IdColumn("tags", Side.ITEM, "tag", 1, 2, "mean", True),
    ),
    dense=(DenseColumn("price", Side.ITEM, 0, 3),),
)
FEATURES = [SparseFeat("user_id"), SparseFeat("item_id"), DenseFeat("price")]
FAST = {
    "epochs": 6,
    "batch_size": 128,
    "learning_rate": 0.01,
    "embedding_learning_rate": 0.1,
    "hidden_units": (16,),
}


def random_rows(n: int, tasks: int = 1, layout: Layout = LAYOUT, seed: int = 0) -> Rows:
    draw = np.random.default_rng(seed)
    ids = np.stack(
        [draw.integers(0, 6, n), draw.integers(6, 11, n), draw.integers(6, 11, n)], 1
    ).astype(np.int32)
    dense = draw.normal(size=(n, 3)).astype(np.float32)
    labels = (draw.random((n, tasks)) < 0.5).astype(np.float32)
    return Rows(layout, [Block(ids, dense)], n, labels)


def taste(n: int, seed: int) -> pl.DataFrame:
    draw = np.random.default_rng(seed)
    user, item = draw.integers(0, 20, n), draw.integers(0, 30, n)
    click = ((user + item) % 2 == 0).astype(int)
    price = draw.normal(size=n)
    return pl.DataFrame(
        {
            "user_id": user,
            "item_id": item,
            "price": price,
            "click": click,
            "buy": click * (user < 9),
        }
    )


def naive_logit(net, ids, dense, dim: int) -> float:
    core = net.core
    weight = net.inputs.table.weight.detach().numpy().astype(np.float64)
    tags = [weight[i] for i in ids[1:] if i != 6]
    fields = [weight[ids[0]], np.mean(tags, axis=0) if tags else np.zeros(weight.shape[1])]
    linear = sum(f[dim] for f in fields)
    linear += float(core.numbers.weight.detach().numpy()[0] @ dense)
    pair = float(fields[0][:dim] @ fields[1][:dim])
    x = torch.tensor(np.concatenate([fields[0][:dim], fields[1][:dim], dense]), dtype=torch.float32)
    return linear + pair + core.heads(core.tower(x.unsqueeze(0))).item()


def test_forward_equals_the_formula_of_the_paper():
    model = DeepFM(embedding_dim=5, hidden_units=(7,), init_std=1.0)
    net = model.build(LAYOUT, 1, torch.Generator().manual_seed(0))
    with torch.no_grad():
        net.inputs.table.weight[:, 5].normal_()
        net.inputs.table.weight[[0, 6]] = 0.0
        net.core.numbers.weight.normal_()
    rows = random_rows(12)
    got = net(rows.take(torch.arange(12)))[:, 0].detach().numpy()
    block = rows.blocks[0]
    want = [naive_logit(net, i, d, 5) for i, d in zip(block.ids, block.dense, strict=True)]
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("n", [0, 1, 5])
def test_tasks_and_small_batches(n):
    model = DeepFM(epochs=1, hidden_units=(8,)).fit(random_rows(64, 2), tasks=["click", "like"])
    scores = model.score_rows(random_rows(n))
    assert list(scores) == ["click", "like"]
    for score in scores.values():
        assert score.shape == (n,)
        assert score.dtype == np.float32
        assert ((score > 0) & (score < 1)).all()


@pytest.mark.parametrize("kept", ["ids", "dense"])
def test_layouts_of_one_kind_only(kept):
    layout = (
        Layout(LAYOUT.tables, LAYOUT.ids, ()) if kept == "ids" else Layout((), (), LAYOUT.dense)
    )
    block = random_rows(40).blocks[0]
    ids = block.ids if kept == "ids" else block.ids[:, :0]
    dense = block.dense if kept == "dense" else block.dense[:, :0]
    rows = Rows(layout, [Block(ids, dense)], 40, random_rows(40).labels)
    score = DeepFM(epochs=2, hidden_units=(8,)).fit(rows).score_rows(rows)["label"]
    assert np.isfinite(score).all()


def to_pandas(frame: pl.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(frame.to_dict(as_series=False))


@pytest.mark.parametrize("make", [pl.DataFrame, to_pandas], ids=["polars", "pandas"])
def test_fits_frames_of_polars_and_pandas(make):
    train, valid, test = (make(taste(n, s)) for n, s in ((3000, 0), (500, 1), (500, 2)))
    model = DeepFM(features=FEATURES, **FAST).fit(train, label="click", valid=valid)
    assert model.evaluate(test)["auc"] > 0.98
    assert 0 < model.evaluate(test)["logloss"] < 0.3
    assert model.predict(test).shape == (500,)
    assert model.best_epoch == max(model.history, key=lambda e: e.metrics["auc"]).epoch


def test_several_labels_are_several_tasks():
    model = DeepFM(features=FEATURES, **FAST).fit(
        taste(3000, 0), label=["click", "buy"], valid=taste(500, 1)
    )
    metrics = model.evaluate(taste(500, 2))
    assert metrics["auc:click"] > 0.95
    assert metrics["auc:buy"] > 0.95
    assert model.predict(taste(7, 3)).shape == (7, 2)


def test_unseen_and_missing_values_are_scored():
    model = DeepFM(features=FEATURES, **FAST).fit(taste(500, 0), label="click")
    unseen = pl.DataFrame({"user_id": [999, None], "item_id": [1, 2], "price": [None, 1e9]})
    assert np.isfinite(model.predict(unseen)).all()


def test_a_saved_model_predicts_the_same(tmp_path):
    model = DeepFM(features=FEATURES, **FAST).fit(taste(500, 0), label="click")
    model.save(tmp_path / "m")
    again = DeepFM.load(tmp_path / "m")
    np.testing.assert_array_equal(again.predict(taste(50, 1)), model.predict(taste(50, 1)))
    assert again.config == model.config
    again.save(tmp_path / "twice")
    third = DeepFM.load(tmp_path / "twice", model.config)
    np.testing.assert_array_equal(third.predict(taste(50, 1)), model.predict(taste(50, 1)))


def test_a_damaged_model_raises(tmp_path):
    model = DeepFM(epochs=1).fit(random_rows(20))
    with pytest.raises(VersionError, match="no saved model"):
        DeepFM.load(tmp_path)
    model.save(tmp_path)
    (tmp_path / "weights" / "inputs.table.weight.npy").unlink()
    with pytest.raises(VersionError, match=r"table\.weight\.npy is missing"):
        DeepFM.load(tmp_path)


def test_a_second_fit_gives_the_same_model():
    rows = random_rows(200)
    model = DeepFM(epochs=2, hidden_units=(8,))
    first = model.fit(rows).score_rows(rows)["label"]
    np.testing.assert_array_equal(model.fit(rows).score_rows(rows)["label"], first)


class Context:
    seed, device, progress, chosen, negatives = 3, "cpu", False, None, 1.0

    def __init__(self, former=None):
        self.former = former


def test_a_fit_starts_from_the_former_one():
    rows = random_rows(200)
    former = DeepFM(epochs=3, hidden_units=(8,)).fit(rows, context=Context())
    tiny = {
        "learning_rate": 1e-12,
        "embedding_learning_rate": 1e-12,
        "hidden_units": (8,),
        "epochs": 1,
    }
    warm = DeepFM(**tiny).fit(rows, context=Context(former))
    np.testing.assert_allclose(warm.logits(rows), former.logits(rows), atol=1e-6)
    served = former.score_rows(rows)["label"]  # a line of the log-odds is fitted to the rows anew
    np.testing.assert_allclose(warm.score_rows(rows)["label"], served, atol=0.02)
    other = Layout(LAYOUT.tables, LAYOUT.ids, (DenseColumn("cost", Side.ITEM, 0, 3),))
    with pytest.raises(ConfigError, match="cannot start from"):
        DeepFM(**tiny).fit(random_rows(20, layout=other), context=Context(former))


def test_ndcg_within_requests_can_stop_a_fit():
    rows = random_rows(300)
    rows = rows.labelled(rows.labels, np.arange(300) // 10)
    model = DeepFM(epochs=2, metric="ndcg", loss="both", hidden_units=(8,)).fit(rows, rows)
    assert 0 < model.best["ndcg"] <= 1
    with pytest.raises(TrainingError, match="groups"):
        DeepFM(epochs=1, metric="ndcg").fit(rows, random_rows(20))


def test_errors_say_how_to_fix_them():
    with pytest.raises(ConfigError, match=r"hiden_units.*Options: .*hidden_units"):
        DeepFM(hiden_units=(3,))
    with pytest.raises(ConfigError, match="has no features"):
        DeepFM().fit(taste(10, 0), label="click")
    with pytest.raises(NotFittedError, match="call fit"):
        DeepFM().predict(taste(10, 0))
    with pytest.raises(NotFittedError, match="score_rows"):
        DeepFM(epochs=1).fit(random_rows(20)).predict(taste(10, 0))
    negative = random_rows(20).labelled(np.zeros((20, 1), np.float32), np.zeros(20, np.int64))
    with pytest.raises(TrainingError, match="'like' has no positive label"):
        DeepFM().fit(negative, tasks=["like"])
    with pytest.raises(TrainingError, match="2 tasks"):
        DeepFM().fit(random_rows(20), tasks=["a", "b"])


def test_lists_of_ids_are_pooled():
    frame = pd.DataFrame({"tags": ["a|b", "a", "", "b|c"] * 30, "label": [1, 1, 0, 0] * 30})
    feature = VarLenSparseFeat("tags", separator="|", max_len=3)
    model = DeepFM(features=[feature], **{**FAST, "epochs": 30}).fit(frame)
    assert model.evaluate(frame)["auc"] == 1.0
