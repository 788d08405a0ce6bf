"""InnerProduct as a two-tower model of frames: the vectors of both towers."""

import numpy as np
import polars as pl
import pytest

from tamis.prerank import InnerProduct
from tamis.schema import DataError, NotFittedError, SparseFeat

FEATURES = [
    SparseFeat(name="user_id"),
    SparseFeat(name="city", side="user"),
    SparseFeat(name="item_id"),
]


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    random = np.random.default_rng(0)
    n = 800
    frame = pl.DataFrame(
        {"user_id": random.integers(0, 20, n), "item_id": random.integers(0, 15, n)}
    ).with_columns(city=pl.col("user_id") % 3)
    like = (frame["user_id"] % 2 == frame["item_id"] % 2).cast(pl.Int8)
    return frame.with_columns(click=like, buy=like * (frame["item_id"] > 7))


@pytest.fixture(scope="module")
def model(frame: pl.DataFrame) -> InnerProduct:
    model = InnerProduct(features=FEATURES, epochs=2, batch_size=64, calibrate="none")
    return model.fit(frame, label="click")


def test_a_logit_is_the_product_of_both_vectors_plus_a_rate_of_the_user(
    model: InnerProduct, frame: pl.DataFrame
) -> None:
    users, items = model.user_vectors(frame), model.item_vectors(frame)
    assert users.shape == items.shape == (800, 32)
    p = model.predict(frame).astype(np.float64)
    rest = np.log(p / (1 - p)) - (users * items).sum(1)
    for user in range(3):
        own = rest[(frame["user_id"] == user).to_numpy()]
        assert own == pytest.approx(np.full(len(own), own[0]), abs=1e-4)


def test_each_tower_reads_its_own_columns_only(model: InnerProduct, frame: pl.DataFrame) -> None:
    users = model.user_vectors(frame.select("city", "user_id"))
    np.testing.assert_array_equal(users, model.user_vectors(frame))
    items = model.item_vectors(frame.select("item_id").to_pandas())
    np.testing.assert_array_equal(items, model.item_vectors(frame))
    assert model.user_vectors(frame[:0]).shape == (0, 32)


def test_every_label_has_a_user_vector_of_its_own(frame: pl.DataFrame) -> None:
    model = InnerProduct(features=FEATURES, epochs=1).fit(frame, label=["click", "buy"])
    assert model.user_vectors(frame).shape == (800, 2, 32)
    assert model.item_vectors(frame).shape == (800, 32)


def test_a_missing_column_and_a_missing_fit_are_reported(
    model: InnerProduct, frame: pl.DataFrame
) -> None:
    with pytest.raises(DataError, match="'city'"):
        model.user_vectors(frame.drop("city"))
    with pytest.raises(NotFittedError, match="call fit"):
        InnerProduct(features=FEATURES).item_vectors(frame)
