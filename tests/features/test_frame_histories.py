"""Histories as a column of a frame: a plain loop gives the same, and no row sees its own time."""

import datetime as dt

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamis.features import history_column
from tamis.schema import ConfigError, DataError

ROWS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 6), st.integers(10, 15), st.booleans()), max_size=30
)
LOG = pl.DataFrame(
    {
        "user_id": ["b", "a", "a", "a", "b", "a"],
        "item_id": ["x", "x", "y", "z", "y", "w"],
        "timestamp": [5, 1, 3, 3, 9, 7],
        "like": [1, 1, 0, 1, 1, 1],
    }
)


def naive(rows, n, only_liked):
    """For each row: earlier rows of its user by time, in the order of the frame where equal."""
    found = []
    for user, time, _, _ in rows:
        own = [row for row in rows if row[0] == user and (row[3] or not only_liked)]
        past = [(t, item) for _, t, item, _ in own if t < time]
        found.append([item for _, item in sorted(past, key=lambda p: p[0])][-n:])
    return found


@given(rows=ROWS, n=st.integers(1, 5), only_liked=st.booleans())
def test_a_plain_loop_gives_the_same(rows, n, only_liked):
    frame = pl.DataFrame(
        rows,
        schema={
            "user_id": pl.Int64,
            "timestamp": pl.Int64,
            "item_id": pl.Int64,
            "like": pl.Boolean,
        },
        orient="row",
    )
    found = history_column(frame, where="like" if only_liked else None, n=n)
    assert found.to_list() == naive(rows, n, only_liked)
    assert found.dtype == pl.List(pl.Int64)


def test_rows_of_equal_time_and_rows_that_do_not_count_are_left_out():
    liked = [[], [], ["x"], ["x"], ["x"], ["x", "z"]]
    assert history_column(LOG, where="like").to_list() == liked
    assert history_column(LOG, n=1).to_list() == [[], [], ["x"], ["x"], ["x"], ["z"]]


def test_frames_of_any_kind_and_times_of_any_type_give_the_same():
    expected = history_column(LOG).to_list()
    dates = [dt.date(2020, 1, day) for day in LOG["timestamp"]]
    assert history_column(LOG.with_columns(timestamp=pl.Series(dates))).to_list() == expected
    assert history_column(LOG.to_pandas()).to_list() == expected
    mixed = LOG.rename({"user_id": "u", "timestamp": "t", "item_id": "i"})
    assert history_column(mixed, user="u", time="t", item="i").to_list() == expected
    assert history_column(LOG[:0]).to_list() == []


def test_a_long_log_gives_what_one_user_alone_gives():
    random, n = np.random.default_rng(0), 200_000
    log = pl.DataFrame(
        {
            "user_id": random.integers(0, 500, n),
            "item_id": random.integers(0, 900, n),
            "timestamp": random.integers(0, 10_000, n),
        }
    )
    whole = log.with_columns(past=history_column(log, n=20))
    one = log.filter(pl.col("user_id") == 7)
    assert whole.filter(pl.col("user_id") == 7)["past"].equals(history_column(one, n=20))


@pytest.mark.parametrize(
    ("frame", "options", "error", "message"),
    [
        (LOG.drop("timestamp"), {}, DataError, "no column 'timestamp'"),
        (LOG, {"time": "timestmp"}, DataError, "no column 'timestmp'.*`timestamp`"),
        (LOG, {"where": "timestamp"}, DataError, "'timestamp' holds 5 in row 0.*0 and 1"),
        (LOG.with_columns(user_id=None), {}, DataError, "'user_id' has 6 missing"),
        (
            LOG.with_columns(timestamp=pl.lit(float("nan"))),
            {},
            DataError,
            "'timestamp' has 6 missing",
        ),
        (LOG, {"n": 0}, ConfigError, "n = 0"),
    ],
)
def test_what_cannot_be_used_is_refused(frame, options, error, message):
    with pytest.raises(error, match=message):
        history_column(frame, **options)
