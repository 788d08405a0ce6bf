"""The content channel and its vectors, by hand."""

import numpy as np
import polars as pl
import pytest

from tamis.cascade import FitContext
from tamis.cascade.query_batches import at_end
from tamis.data import Dataset, Ragged, Table, dataset_from_frame
from tamis.recall import Content
from tamis.recall.content._vectors import content_vectors, usable_columns
from tamis.schema import ConfigError, SparseFeat, TableConfig, VarLenSparseFeat


def made(items: pl.DataFrame, likes: list[tuple[int, int]]) -> Dataset:
    """A log over a table of items of which not all have events."""
    frame = pl.DataFrame(likes, schema=["user_id", "item_id"], orient="row")
    data = dataset_from_frame(frame, user="user_id", item="item_id")
    ids = pl.Series([str(i) for i in range(len(items))])
    events = data.events
    row = np.array([int(i) for i in data.items.ids.to_list()], np.int32)
    events = type(events)(**{**vars(events), "item": row[events.item]})
    return Dataset(data.users, Table("items", ids, items), events, data.behaviours)


def test_rare_values_weigh_more_and_columns_alike():
    frame = pl.DataFrame({"tags": ["a|b", "a", "a|c", None], "brand": ["x", "x", "y", "x"]})
    v = content_vectors(frame, {"tags": None, "brand": None}, 64)
    a, b = np.log(1 + 4 / 3), np.log(1 + 4 / 1)
    tags = a * a / (np.hypot(a, b) * a)  # items 0 and 1 share the tag a
    assert v[0] @ v[1] == pytest.approx((tags + 1) / 2, abs=1e-6)
    assert v[0] @ v[2] == pytest.approx(a * a / (a * a + b * b) / 2, abs=1e-6)
    assert v[3] @ v[1] == pytest.approx(np.sqrt(0.5), abs=1e-6)  # all of one column, none of two
    np.testing.assert_allclose(np.linalg.norm(v, axis=1), 1, rtol=1e-6)


def test_hashed_values_keep_their_inner_products_on_average():
    random = np.random.default_rng(0)
    words = [[f"w{x}" for x in random.choice(3000, 20, replace=False)] for _ in range(200)]
    words += [[*w[:10], *(f"v{x}" for x in range(10))] for w in words[:100]]
    frame = pl.DataFrame({"words": words})
    exact = content_vectors(frame, {"words": None}, 10_000)
    small = content_vectors(frame, {"words": None}, 512)
    assert small.shape == (300, 512)
    error = small @ small.T - exact @ exact.T
    assert abs(error.mean()) < 0.005
    assert np.abs(error).mean() < 0.06


def test_vectors_words_numbers_and_what_is_missing():
    frame = pl.DataFrame(
        {
            "image": [[3.0, 4.0], [0.0, 2.0], None, [1.0, float("nan")]],
            "title": ["The red fox", "red FOX!", "blue whale", "a blue sky"],
            "price": [1.0, 2.0, None, 900.0],
            "flag": [True, False, True, None],
        }
    )
    image = content_vectors(frame, {"image": None}, 8)
    np.testing.assert_allclose(image, [[0.6, 0.8], [0, 1], [0, 0], [0, 0]], rtol=1e-6)
    many = pl.concat([frame.with_columns(title=pl.col("title") + f" n{i}") for i in range(40)])
    title = content_vectors(many, {"title": None}, 500)
    assert title[0] @ title[4] > 0.1  # the red fox n0, red fox n1
    assert title[0] @ title[6] == 0
    price = content_vectors(frame, {"price": None}, 20)
    assert not price[2].any()
    assert (price[0] * price[3]).sum() == 0
    assert usable_columns(frame, ["title"]) == ["image", "flag"]


def test_an_item_without_events_is_found_and_one_without_content_is_not():
    items = pl.DataFrame({"category": ["s", "s", "t", "t", "s", None], "price": [1] * 6})
    data = made(items, [(1, 0), (2, 2), (2, 0)])
    channel = Content().fit(data)
    found = channel.recall(at_end(data, np.array([0, 1], np.int32)), 6)
    assert set(found.item[0][:2]) == {1, 4}
    assert found.score[0, 0] == pytest.approx(1)
    assert 5 not in found.item
    assert channel.because(at_end(data, np.array([1], np.int32)), 3) == 2


def test_max_is_near_any_liked_item_and_mean_near_their_middle():
    items = pl.DataFrame({"v": [[1.0, 0.0], [0.0, 1.0], [0.7, 0.7], [1.0, 0.05], [-1.0, 0.0]]})
    data = made(items, [(1, 0), (1, 1)])
    queries = at_end(data, np.zeros(1, np.int32))
    assert Content().fit(data).recall(queries, 5).item[0, 0] == 2
    found = Content(pool="max").fit(data).recall(queries, 5)
    vectors = Content().fit(data).item_vectors()
    best = (vectors[[2, 3, 4]] @ vectors[[0, 1]].T).max(1)
    assert found.item[0].tolist() == [3, 2, 4, -1, -1]
    np.testing.assert_allclose(found.score[0, :3], np.sort(best)[::-1], atol=1e-6)
    all_of_them = queries.excluding(Ragged.of([np.arange(5, dtype=np.int32)]))
    assert (Content(pool="max").fit(data).recall(all_of_them, 3).item == -1).all()


def test_columns_come_from_the_config_the_features_or_the_table():
    items = pl.DataFrame(
        {"genre": ["a/b", "b", "c"], "kind": ["x", "y", "x"], "born": ["1", "2", "3"]}
    )
    data = made(items, [(1, 0)])
    features = (
        VarLenSparseFeat(name="genre", separator="/", side="item"),
        SparseFeat(name="kind", side="user"),
    )
    roles = TableConfig(path="items.csv", id="id", published="born")

    def columns(channel, **context):
        return channel.fit(data, FitContext(**context))._facts["columns"]

    assert columns(Content(columns=("born",)), features=features) == ["born"]
    assert columns(Content(), features=features) == ["genre"]
    assert columns(Content(), items=roles) == ["genre", "kind"]
    split = Content().fit(data, FitContext(features=features)).item_vectors()
    assert split[0] @ split[1] > 0.3


def test_errors():
    data = made(pl.DataFrame({"price": [1.0, 2.0]}), [(1, 0)])
    with pytest.raises(
        ConfigError, match=r"no column of the items describes their content .*price"
    ):
        Content().fit(data)
    with pytest.raises(ConfigError, match=r"no column 'prize'.*price"):
        Content(columns=("prize",)).fit(data)
