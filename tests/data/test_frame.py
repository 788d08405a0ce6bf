"""A data frame as a data set."""

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import polars as pl
import pytest

from tamis.data import Table, columns_of, dataset_from_frame
from tamis.schema import DataError


def test_rows_are_events_in_time_order():
    frame = pl.DataFrame(
        {
            "u": ["b", "a", "b"],
            "i": [7, 8, 9],
            "t": [1_700_000_030, 1_700_000_010, 1_700_000_020],
            "stars": [5, 2, 4],
        }
    )
    data = dataset_from_frame(frame, user="u", item="i", time="t", value="stars", min_value=4)
    assert data.users.ids.to_list() == ["a", "b"]
    assert data.items.ids.to_list() == ["8", "9", "7"]
    assert data.events.time.tolist() == [1_700_000_010_000, 1_700_000_020_000, 1_700_000_030_000]
    assert data.events.user.tolist() == [0, 1, 1]
    assert data.events.value.tolist() == [2, 4, 5]
    assert data.positive.tolist() == [False, True, True]
    assert data.seen.all()


def test_pandas_and_row_order():
    frame = pd.DataFrame({"user_id": [1, 2], "item_id": ["é", "x"]})
    data = dataset_from_frame(frame)
    assert data.items.ids.to_list() == ["é", "x"]
    assert data.positive.all()
    assert len(data.behaviours) == 1
    assert data.events.time.tolist() == [0, 1]


@pytest.mark.parametrize(
    "times",
    [
        [1_700_000_000],
        [1_700_000_000_000],
        [1_700_000_000_000_000],
        [datetime.fromtimestamp(1_700_000_000, UTC)],
    ],
)
def test_times_become_milliseconds(times):
    data = dataset_from_frame(pl.DataFrame({"user_id": [1], "item_id": [2], "t": times}), time="t")
    assert data.events.time.tolist() == [1_700_000_000_000]


def test_no_rows():
    frame = pl.DataFrame(
        {"user_id": [], "item_id": []}, schema={"user_id": pl.Int64, "item_id": pl.Int64}
    )
    data = dataset_from_frame(frame)
    assert len(data.events) == len(data.users) == data.end == 0


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, {"user": "who"}, "no column 'who'; its columns are"),
        ({"item_id": [None, 1]}, {}, "'item_id' has 1 missing"),
        (
            {"t": ["2024-01-01", "x"]},
            {"time": "t"},
            "'t' has 1 values that are not times.*such as 'x'",
        ),
        ({"t": [1.7e9, 1.7e12]}, {"time": "t"}, "in another unit than the rest, such as"),
        (
            {"v": ["5", "b"]},
            {"value": "v"},
            "'v' has 1 values that are not numbers, such as 'b' in",
        ),
        ({}, {"min_value": 3}, "needs a value column"),
    ],
)
def test_errors_name_the_column(change, options, message):
    frame = pl.DataFrame({"user_id": [1, 2], "item_id": [3, 4]} | change)
    with pytest.raises(DataError, match=message):
        dataset_from_frame(frame, **options)


@pytest.mark.parametrize("frame", [pl.DataFrame(), pl.DataFrame({"age": [3, None]})])
def test_a_written_table_is_read_back_with_and_without_attributes(frame, tmp_path):
    Table("users", pl.Series("id", ["b", "a"]), frame).write(tmp_path / "users.parquet")
    back = Table.read("users", tmp_path / "users.parquet")
    assert back.ids.to_list() == ["b", "a"]
    assert back.frame.to_dict(as_series=False) == frame.to_dict(as_series=False)


def test_pandas_columns_keep_all_values_and_mark_missing_ones():
    frame = pd.DataFrame({"text": ["a", None], "tags": [["x", "y"], np.nan], "n": [1, 2]})
    frame["code"] = pd.Series(["c", pd.NA], dtype="string")
    frame["age"] = [np.nan, 1.5]
    frame["other"] = 0
    table = columns_of(frame, ["text", "tags", "n", "code", "age"])
    assert table.to_dict(as_series=False) == {
        "text": ["a", None],
        "tags": [["x", "y"], None],
        "n": [1, 2],
        "code": ["c", None],
        "age": [None, 1.5],
    }
    assert "other" in columns_of(frame, ["text", "lost"]).columns
