"""Rows of a plain data frame, without a project."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

from tamis.features import FrameSpace
from tamis.schema import ConfigError, DataError, DenseFeat, Side, SparseFeat, VarLenSparseFeat

FRAME = pl.DataFrame(
    {
        "user_id": [7, 7, 8],
        "item_id": ["a", "b", "a"],
        "age": [20.0, None, 40.0],
        "genres": ["x|y", None, "x"],
        "clicked": [["a"], ["a", "b"], []],
        "label": [1, 0, None],
        "weight": [1.0, 2.0, 3.0],
    }
)
FEATURES = [
    SparseFeat("user_id"),
    SparseFeat("item_id"),
    DenseFeat("age", side=Side.USER),
    DenseFeat("age_band", column="age", transform="bucket", boundaries=(30,)),
    VarLenSparseFeat("genres", separator="|", max_len=2),
    VarLenSparseFeat("clicked", max_len=3, shares="item_id"),
]


@pytest.fixture
def space():
    return FrameSpace.fit(FRAME, FEATURES)


def test_tables_lie_end_to_end(space):
    found = [(t.name, t.start, t.size) for t in space.layout.tables]
    assert found == [
        ("user_id", 0, 4),
        ("item_id", 4, 4),
        ("age_band", 8, 4),
        ("genres", 12, 4),
    ]
    assert space.layout.n_rows == 16


def test_rows_by_hand(space):
    block = space.rows(FRAME).blocks[0]
    # user 7→2, 8→3; item a→4+2, b→4+3; bands 8+{2, 0, 3}; genres 12+…; clicks in items' table.
    assert block.ids.tolist() == [
        [2, 6, 10, 14, 15, 6, 4, 4],
        [2, 7, 8, 12, 12, 6, 7, 4],
        [3, 6, 11, 14, 12, 4, 4, 4],
    ]
    assert block.dense.tolist() == [[-1, 0], [0, 1], [1, 0]]


def test_the_layout_holds_side_table_and_width(space):
    ids = {c.name: c for c in space.layout.ids}
    assert ids["clicked"].table == "item_id"
    assert (ids["clicked"].first, ids["clicked"].width, ids["clicked"].ragged) == (5, 3, True)
    assert ids["user_id"].side is Side.USER
    assert ids["item_id"].side is Side.ITEM
    assert not ids["user_id"].ragged
    assert space.layout.dense[0].width == 2


def test_labels_and_weights(space):
    rows = space.rows(FRAME, labels=["label"], weights="weight")
    np.testing.assert_array_equal(rows.labels, [[1], [0], [np.nan]])
    assert rows.weights.tolist() == [1, 2, 3]
    assert space.rows(FRAME, weights=np.ones(3)).weights.tolist() == [1, 1, 1]
    with pytest.raises(DataError, match=r"shape \(2,\)"):
        space.rows(FRAME, weights=np.ones(2))


def test_unseen_ids_and_missing_values_do_not_raise(space):
    odd = FRAME.head(1).with_columns(user_id=pl.lit(99), item_id=pl.lit(None, pl.String))
    assert space.rows(odd).blocks[0].ids[0, :2].tolist() == [1, 4]


def test_pandas_equals_polars(space):
    frame = pd.DataFrame({c: FRAME[c].to_list() for c in FRAME.columns})
    left, right = space.rows(frame, ["label"]), space.rows(FRAME, ["label"])
    np.testing.assert_array_equal(left.blocks[0].ids, right.blocks[0].ids)
    np.testing.assert_array_equal(left.blocks[0].dense, right.blocks[0].dense)
    np.testing.assert_array_equal(left.labels, right.labels)


def test_zero_rows_and_one_row(space):
    assert len(space.rows(FRAME.head(0), ["label"])) == 0
    one = space.rows(FRAME.head(1)).take(torch.tensor([0]))
    assert one.ids.shape == (1, space.layout.id_width)


def test_saved_and_loaded_make_the_same_rows(space, tmp_path):
    space.save(tmp_path)
    again = FrameSpace.load(tmp_path)
    assert again.layout == space.layout
    assert again.features == space.features
    for left, right in zip(again.rows(FRAME).blocks, space.rows(FRAME).blocks, strict=True):
        np.testing.assert_array_equal(left.ids, right.ids)
        np.testing.assert_array_equal(left.dense, right.dense)
    assert again.coverage().equals(space.coverage())


def test_fit_does_not_look_at_later_frames(space):
    before = space.layout.to_dict()
    space.rows(FRAME.with_columns(user_id=pl.lit(1234)))
    assert space.layout.to_dict() == before


def test_coverage(space):
    found = {r["feature"]: r for r in space.coverage().iter_rows(named=True)}
    assert found["age"]["present"] == pytest.approx(2 / 3)
    assert found["genres"]["present"] == pytest.approx(2 / 3)
    assert found["user_id"]["codes"] == 2
    assert found["age"]["codes"] is None


@pytest.mark.parametrize("pandas", [False, True])
def test_a_missing_column_suggests_the_close_one(pandas):
    frame = pd.DataFrame({"item_id": [1]}) if pandas else FRAME
    with pytest.raises(DataError, match="did you mean 'item_id'"):
        FrameSpace.fit(frame, [SparseFeat("itemid")])


def test_contradictions_are_refused():
    with pytest.raises(DataError, match="training frame is empty"):
        FrameSpace.fit(FRAME.head(0), FEATURES)
    with pytest.raises(ConfigError, match="no features"):
        FrameSpace.fit(FRAME, [])
    with pytest.raises(ConfigError, match="'age' is used twice"):
        FrameSpace.fit(FRAME, [DenseFeat("age"), DenseFeat("age")])
    with pytest.raises(ConfigError, match="shares the table of 'nothing'"):
        FrameSpace.fit(FRAME, [VarLenSparseFeat("clicked", shares="nothing")])
    with pytest.raises(DataError, match="DataFrame, got list"):
        FrameSpace.fit([1, 2], [DenseFeat("age")])
