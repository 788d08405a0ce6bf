"""Channels with an index do not recall items before their publication time."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from tamis.cascade import FitContext
from tamis.cascade.query_batches import at_end
from tamis.data import Table
from tamis.recall import FM, Content, TwoTower
from tamis.schema import SparseFeat, TableConfig
from tamis.testing import two_clans

DAY = 86_400_000
CHANNELS = {
    "content": Content(columns=("category",)),
    "content-max": Content(columns=("category",), pool="max"),
    "fm": FM(embedding_dim=8, epochs=2, negatives=20),
    "two_tower": TwoTower(embedding_dim=8, epochs=2),
}


@pytest.mark.parametrize("name", CHANNELS)
def test_an_item_is_recalled_only_after_its_publication(name):
    data = two_clans()
    late = data.end + 3 * DAY
    published = data.items.frame["published"].to_numpy().copy()
    published[[4, 5]] = late
    items = data.items.frame.with_columns(pl.Series("published", published))
    data = replace(data, items=Table("items", data.items.ids, items))
    roles = TableConfig(path="items.csv", id="id", published="published")
    features = (SparseFeat(name="category", side="item"),)
    channel = CHANNELS[name].fit(data, FitContext(items=roles, features=features))
    queries = at_end(data, np.arange(24, dtype=np.int32), exclude_seen=False)
    before = channel.recall(queries, 16)
    assert not np.isin(before.item, [4, 5]).any()
    assert (np.diff((before.item < 0).astype(int), axis=1) >= 0).all()  # padded at the end only
    after = channel.recall(replace(queries, time=np.full(24, late + 1)), 16)
    assert np.isin(after.item, [4, 5]).any(axis=1).sum() >= 12
    others = [row[~np.isin(row, [4, 5, -1])].tolist() for row in after.item]
    assert [row[row >= 0].tolist() for row in before.item] == others
