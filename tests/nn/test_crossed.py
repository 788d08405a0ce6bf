"""Crossed columns: one weight per combination, sums over multi-valued features, absent ids."""

from dataclasses import dataclass
from itertools import product

import pytest
import torch

from tamis.nn import CrossedColumns


@dataclass
class Column:
    name: str
    table: str
    first: int
    width: int = 1
    pooling: str = "mean"


@dataclass
class Table:
    name: str
    start: int
    size: int


@dataclass
class Layout:
    tables: tuple = (Table("user", 0, 9), Table("item", 9, 9), Table("tag", 18, 9))
    ids: tuple = (Column("user", "user", 0), Column("item", "item", 1), Column("tags", "tag", 2, 3))


def crossed(*crosses, buckets=1 << 20, outputs=1):
    made = CrossedColumns(Layout(), crosses, buckets, outputs)
    with torch.no_grad():
        made.table.weight[1:].normal_(generator=torch.Generator().manual_seed(0))
    return made


def test_every_combination_has_a_bucket_of_its_own_in_a_large_table():
    made = crossed(("user", "item"))
    pairs = list(product(range(1, 9), range(10, 18)))
    ids = torch.tensor([[u, i, 18, 18, 18] for u, i in pairs], dtype=torch.int32)
    assert len(made.hashed(ids).unique()) == len(pairs)


def test_order_of_the_features_and_the_cross_matter():
    made = crossed(("user", "item"), ("item", "user"), ("user", "item"))
    assert len(made.hashed(torch.tensor([[3, 12, 18, 18, 18]], dtype=torch.int32)).unique()) == 3


def test_weights_by_hand():
    made = crossed(("user", "item"), ("user", "tags"), outputs=2)
    ids = torch.tensor([[3, 12, 20, 18, 22]], dtype=torch.int32)  # the middle tag is absent
    pair, first, absent, last = made.hashed(ids)[0].tolist()
    assert absent == 0
    weight = made.table.weight
    want = torch.stack([weight[pair], weight[first] + weight[last]])
    torch.testing.assert_close(made(ids)[0], want)


@pytest.mark.parametrize("ids", [[0, 12, 20, 21, 22], [3, 9, 20, 21, 22]])
def test_an_absent_id_has_weight_zero(ids):
    assert crossed(("user", "item"))(torch.tensor([ids], dtype=torch.int32)).item() == 0


def test_buckets_are_within_the_table():
    made = crossed(("user", "item", "tags"), buckets=5)
    ids = torch.randint(1, 9, (400, 5), dtype=torch.int32) + torch.tensor([0, 9, 18, 18, 18]).int()
    found = made.hashed(ids)
    assert found.dtype == torch.int32
    assert sorted(found.unique().tolist()) == [1, 2, 3, 4, 5]
    assert made(ids[:0]).shape == (0, 1, 1)


def test_only_the_weights_of_the_batch_have_a_gradient():
    made = crossed(("user", "item"))
    ids = torch.tensor([[3, 12, 18, 18, 18], [4, 12, 18, 18, 18]], dtype=torch.int32)
    made(ids).sum().backward()
    (left,) = made.table.take_row_gradients()
    assert left.ids.tolist() == made.hashed(ids).tolist()
    assert made.table.weight.grad is None
