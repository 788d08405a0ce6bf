"""Rows: gathering through pointers; new labels and selections do not change the source."""

import json

import numpy as np
import polars as pl
import torch

from tamis.features import Block, FrameSpace, Layout, Rows
from tamis.schema import DenseFeat, SparseFeat


def rows():
    users = Block(
        np.array([[1], [2]], np.int32), np.zeros((2, 0), np.float32), np.array([1, 0, 1], np.int32)
    )
    items = Block(np.array([[5, 6], [7, 8], [9, 0]], np.int32), np.ones((3, 1), np.float32))
    return Rows(Layout((), (), ()), [users, items], 3, labels=np.array([[0], [1], [0]], np.float32))


def test_blocks_lie_side_by_side():
    batch = rows().take(torch.tensor([2, 1]))
    assert batch.ids.tolist() == [[2, 9, 0], [1, 7, 8]]
    assert batch.ids.dtype == torch.int32
    assert batch.dense.tolist() == [[1], [1]]
    assert batch.labels.tolist() == [[0], [1]]


def test_new_labels_are_taken_even_after_the_old_ones_were():
    old = rows()
    old.take(torch.tensor([0]))
    new = old.labelled(np.full((3, 1), 7, np.float32), np.array([0, 0, 1]))
    batch = new.take(torch.tensor([0, 2]))
    assert batch.labels.tolist() == [[7], [7]]
    assert batch.groups.tolist() == [0, 1]
    assert old.take(torch.tensor([0])).labels.tolist() == [[0]]


def test_selected_rows_share_the_entities_of_blocks():
    old = rows()
    part = old.select(np.array([2, 0]))
    assert part.take(torch.tensor([0])).ids.tolist() == old.take(torch.tensor([2])).ids.tolist()
    assert part.blocks[0].ids is old.blocks[0].ids
    assert len(part) == 2


def test_no_rows():
    batch = rows().take(torch.zeros(0, dtype=torch.int64))
    assert batch.ids.shape == (0, 3)
    assert len(batch) == 0


def test_a_layout_equals_that_of_its_dictionary():
    frame = pl.DataFrame({"user_id": [1], "age": [2.0]})
    layout = FrameSpace.fit(frame, [SparseFeat("user_id"), DenseFeat("age")]).layout
    assert Layout.from_dict(json.loads(json.dumps(layout.to_dict()))) == layout
