"""Every model that reads a list of ids pools it as its feature says, and is finite without ids."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

import tamis
from tamis.cascade import FitContext
from tamis.cascade.query_batches import at_end
from tamis.data import dataset_from_frame
from tamis.recall import FM, TwoTower
from tamis.schema import SparseFeat, VarLenSparseFeat

N = 400
POOLINGS = ("mean", "attention", "gru", "transformer")
QUICK = {"epochs": 2, "batch_size": 64, "embedding_dim": 4}
DEEP = {**QUICK, "hidden_units": (8,)}
TOWERS = {**QUICK, "user_units": (8, 4), "item_units": (8, 4)}
MODELS = {
    "dnn": lambda f: tamis.DNN(features=f, **DEEP, init_std=0.3),
    "ppnet": lambda f: tamis.PPNet(features=f, **DEEP, init_std=0.3),
    "fm": lambda f: tamis.rank.FM(features=f, **QUICK, init_std=0.3),
    "mmoe": lambda f: tamis.MMoE(features=f, **DEEP, init_std=0.3),
    "three_tower": lambda f: tamis.ThreeTower(features=f, **TOWERS, init_std=0.3),
    "inner_product": lambda f: tamis.InnerProduct(features=f, **TOWERS, init_std=0.3),
    "dssm": lambda f: tamis.DSSM(
        user_features=[x for x in f if x.name.startswith("user")],
        item_features=[x for x in f if x.name.startswith("item")],
        **DEEP,
    ),
}


def frame(seed=0):
    draw = np.random.default_rng(seed)
    lists = [draw.integers(0, 9, draw.integers(0, 5)).tolist() for _ in range(N)]
    item = draw.integers(0, 9, N)
    hit = [bool(known) and known[-1] == i for known, i in zip(lists, item, strict=True)]
    return pl.DataFrame(
        {
            "user_id": draw.integers(0, 20, N),
            "user_past": lists,
            "item_id": item,
            "item_tags": [[int(i) % 3, 7][: i % 3] for i in item],
            "label": (np.array(hit) | (draw.random(N) < 0.2)).astype(int),
        }
    )


def features(pooling):
    return [
        SparseFeat("user_id"),
        VarLenSparseFeat("user_past", shares="item_id", max_len=4, pooling=pooling),
        SparseFeat("item_id"),
        VarLenSparseFeat("item_tags", max_len=2, pooling=pooling),
    ]


@pytest.mark.parametrize("name", MODELS)
def test_models_of_frames(name, tmp_path):
    train, test = frame(), frame(1)
    empty = test.with_columns(
        user_past=pl.Series([[]] * N, dtype=pl.List(pl.Int64)),
        item_tags=pl.Series([None] * N, dtype=pl.List(pl.Int64)),
    )
    found = []
    for pooling in POOLINGS:
        model = MODELS[name](features(pooling)).fit(train)
        found.append(np.asarray(model.predict(test)))
        assert np.isfinite(found[-1]).all()
        assert np.isfinite(model.predict(empty)).all()
        model.save(tmp_path / pooling)
        again = type(model).load(tmp_path / pooling).predict(test)
        np.testing.assert_allclose(again, found[-1], rtol=1e-5, atol=1e-6)
    for k, one in enumerate(found):
        assert not any(np.allclose(one, other) for other in found[k + 1 :])


@pytest.mark.parametrize("kind", [TwoTower, FM])
def test_channels(kind, tmp_path):
    """An item's lists, of a declared feature."""
    draw = np.random.default_rng(3)
    log = pl.DataFrame(
        {"user": draw.integers(0, 30, 600), "item": draw.integers(0, 25, 600), "t": range(600)}
    )
    data = dataset_from_frame(log, user="user", item="item", time="t")
    tags = pl.Series("tags", ["|".join(f"t{i % k}" for k in (2, 3)[: i % 3]) for i in range(25)])
    data = replace(data, items=data.items.with_frame(pl.DataFrame([tags])))
    queries = at_end(data, np.arange(30, dtype=np.int32), exclude_seen=False)
    found = []
    for pooling in POOLINGS:
        tag = VarLenSparseFeat("tags", separator="|", max_len=3, pooling=pooling)
        context = FitContext(seed=1, features=(tag,))
        channel = kind(embedding_dim=8, epochs=2).fit(data, context)
        recalled = channel.recall(queries, 10)
        assert np.isfinite(recalled.score).all()
        channel.save(tmp_path / pooling)
        again = kind.load(tmp_path / pooling).recall(queries, 10)
        np.testing.assert_array_equal(again.item, recalled.item)
        found.append(recalled.score)
    for k, one in enumerate(found):
        assert not any(np.allclose(one, other) for other in found[k + 1 :])
