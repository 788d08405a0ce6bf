"""Shares of rows with a value per feature, counted by hand."""

import numpy as np
import polars as pl

from tamis.evaluate import compare_coverage
from tamis.evaluate.feature_coverage import coverage_notes, coverage_table
from tamis.features import Block, FrameSpace, RowCoverage, Rows
from tamis.schema import DenseFeat, SparseFeat, VarLenSparseFeat

FEATURES = [
    SparseFeat("device"),
    DenseFeat("age"),
    VarLenSparseFeat("genres", separator="|", max_len=2),
    DenseFeat("price", transform="bucket", boundaries=(1.0,)),
]
TRAIN = pl.DataFrame(
    {
        "device": ["ios", "web", "ios", None],
        "age": [20.0, 30.0, None, 40.0],
        "genres": ["a|b", "a", "", "b"],
        "price": [0.5, 2.0, None, None],
    }
)
TEST = pl.DataFrame(
    {
        "device": [None, None, "tv", "ios", None],
        "age": [None, 1.0, 2.0, 3.0, 4.0],
        "genres": ["c", "c|a", None, "a", "b"],
        "price": [0.5, 2.0, 2.0, 2.0, None],
    }
)


def test_shares_of_rows():
    space = FrameSpace.fit(TRAIN, FEATURES)
    coverage = RowCoverage(FEATURES)
    assert coverage.result() == {}
    rows = space.rows(TEST)
    for part in (np.arange(2), np.arange(2, 5)):
        coverage.add(rows.select(part))
    shares = {name: (one["present"], one["unseen"]) for name, one in coverage.result().items()}
    # Of genres, only the first row holds none that training had.
    expected = {"device": (0.4, 0.2), "age": (0.8, 0), "genres": (0.8, 0.2), "price": (0.8, 0)}
    assert shares == expected


def test_rows_that_share_entities_count_each():
    space = FrameSpace.fit(TRAIN, FEATURES)
    rows = space.rows(TEST)
    (block,) = rows.blocks
    pointer = np.array([3, 3, 3, 0], np.int32)  # three times a row with the device, once without
    some = Rows(rows.layout, [Block(block.ids, block.dense, pointer)], 4)
    assert RowCoverage.of(FEATURES, some)["device"] == {"present": 0.75, "unseen": 0.0}


def test_a_feature_whose_share_differs_is_marked():
    space = FrameSpace.fit(TRAIN, FEATURES)
    train = RowCoverage.of(FEATURES, space.rows(TRAIN))
    test = RowCoverage.of(FEATURES, space.rows(TEST))
    found = compare_coverage(space.coverage(), train, test)
    assert {name: one["differs"] for name, one in found.items()} == {
        "device": True,
        "age": False,
        "genres": False,
        "price": True,
    }
    assert found["device"] == {
        "kind": "sparse",
        "codes": 2,
        "train": 0.75,
        "test": 0.4,
        "unseen": 0.2,
        "differs": True,
    }
    notes = list(coverage_notes(found))
    assert len(notes) == 2
    assert notes[0].startswith(
        "The feature device has a value in 75% of the training rows but in 40%"
    )
    table = coverage_table(found)
    assert [row.label for row in table.rows] == [
        "device (differs)",
        "price (differs)",
        "genres",
        "age",
    ]
    assert [cell.text for cell in table.rows[0].cells] == ["75.0%", "40.0%", "20.0%", "2"]


def test_a_version_of_an_earlier_release_has_no_training_shares():
    space = FrameSpace.fit(TRAIN, FEATURES)
    test = RowCoverage.of(FEATURES, space.rows(TEST))
    found = compare_coverage(space.coverage(), {}, test)
    assert not any(one["differs"] for one in found.values())
    assert coverage_table(found).rows[0].cells[0].text == "–"
    assert coverage_table({}) is None
