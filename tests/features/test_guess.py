"""Features guessed from tables."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from tamis.data import Dataset, Events, Table
from tamis.features import FeatureSpace, default_features
from tamis.schema import Behaviour, DenseFeat, ProjectConfig, Side, SparseFeat, VarLenSparseFeat

N = 200


def project(category_separator=None):
    return ProjectConfig.model_validate(
        {
            "name": "p",
            "events": {"path": "e.csv"},
            "items": {
                "path": "i.csv",
                "id": "item_id",
                "title": "title",
                "category": "kind",
                "category_separator": category_separator,
                "author": "author",
            },
            "behaviours": {"click": {}, "buy": {"positive": True}},
            "cascade": {"channels": {"hot": {}}, "rank": {}},
        }
    )


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    items = pl.DataFrame(
        {
            "title": [f"title {k}" for k in range(N)],
            "kind": rng.choice(["a b", "b", "c"], N).tolist(),
            "author": [f"author {k}" for k in range(N)],
            "text": [f"words, {k} and more, {k}" for k in range(N)],
            "tags": rng.choice(["x|y", "y", "z|x"], N).tolist(),
            "price": rng.lognormal(3, 3, N),
            "weight": rng.normal(5, 1, N),
            "vector": rng.normal(size=(N, 4)).tolist(),
            "shelves": [[1, 2]] * N,
            "same": ["x"] * N,
            "empty": pl.Series([None] * N, dtype=pl.String),
        }
    )
    users = pl.DataFrame({"age": rng.integers(1, 8, N), "vip": rng.random(N) < 0.5})
    time = np.arange(50, dtype=np.int64)
    events = Events(
        rng.integers(0, N, 50).astype(np.int32),
        rng.integers(0, N, 50).astype(np.int32),
        np.ones(50, np.uint8),
        time,
        time,
        np.full(50, np.nan, np.float32),
        np.full(50, -1, np.int64),
        np.zeros(50, np.int16),
    )
    ids = [pl.Series("id", [f"{s}{k}" for k in range(N)]) for s in "ui"]
    behaviours = (Behaviour(name="click"), Behaviour(name="buy", positive=True))
    tables = Table("users", ids[0], users), Table("items", ids[1], items)
    return Dataset(*tables, events, behaviours)


def test_each_column_by_what_it_holds(data):
    found = {f.name: f for f in default_features(data, project())}
    assert list(found)[:2] == ["user_id", "item_id"]
    for name in ("age", "vip", "author", "kind"):
        assert isinstance(found[name], SparseFeat), name
    assert found["tags"].separator == "|"
    assert found["tags"].max_len == 2
    assert isinstance(found["shelves"], VarLenSparseFeat)
    assert found["price"].transform == "log1p"
    assert found["weight"].transform == "standard"
    assert isinstance(found["vector"], DenseFeat)
    assert found["vector"].width == 4
    assert not {"title", "text", "same", "empty"} & set(found)
    assert found["liked"].history == ("buy",)
    assert found["liked"].shares == "item_id"


def test_the_declared_separator_splits_categories(data):
    found = {f.name: f for f in default_features(data, project(" "))}
    assert isinstance(found["kind"], VarLenSparseFeat)
    assert found["kind"].separator == " "


@pytest.mark.parametrize(
    ("days", "shown", "taken"), [(3, True, True), (1, True, False), (3, False, False)]
)
def test_the_hour_is_taken_from_impressions_of_days(data, days, shown, taken):
    time = np.linspace(0, days * 86_400_000, 50, endpoint=False).astype(np.int64)
    behaviours = (Behaviour(name="show", impression=shown), data.behaviours[1])
    behaviour = (np.arange(50) % 2).astype(np.uint8)
    events = replace(data.events, time=time, arrival=time, behaviour=behaviour)
    if days == 1:  # what people did without being shown anything goes back further
        time[1] -= 9 * 86_400_000
    log = replace(data, events=events, behaviours=behaviours)
    config = project(" ")
    features = default_features(log, config)
    assert ("hour" in {f.name for f in features}) == taken
    space = FeatureSpace.fit(log, features, config=config)
    assert [c.side for c in space.layout.ids if c.name == "hour"] == [Side.CONTEXT] * taken


def test_what_is_guessed_can_be_fitted(data):
    config = project(" ")
    space = FeatureSpace.fit(data, default_features(data, config), config=config)
    assert space.recipes is not None
    assert {f"share:{n}" for n in ("kind", "tags", "author", "shelves")} <= {
        c.name for c in space.layout.dense
    }
