"""Timestamps: one moment in every way of writing it."""

from datetime import UTC, date, datetime

import polars as pl
import pytest

from tamis.data.times import parse_times

MOMENT = 1_600_000_000_000  # 2020-09-13 12:26:40 UTC


@pytest.mark.parametrize(
    ("value", "unit"),
    [
        ("1600000000", "s"),
        ("1600000000.0", "s"),
        ("1600000000000", "ms"),
        ("1600000000000000", "us"),
        ("1600000000000000000", "ns"),
        (1600000000, "s"),
        (1.6e9, "s"),
        (1600000000000, "ms"),
        ("2020-09-13 12:26:40", "iso"),
        ("2020-09-13T12:26:40", "iso"),
        ("2020-09-13T12:26:40Z", "iso"),
        ("2020-09-13T12:26:40.000", "iso"),
        ("2020-09-13T14:26:40+02:00", "iso"),
        ("2020/09/13 12:26:40", "iso"),
        (datetime(2020, 9, 13, 12, 26, 40), "typed"),
        (datetime(2020, 9, 13, 12, 26, 40, tzinfo=UTC), "typed"),
    ],
)
def test_one_moment_in_every_unit(value: object, unit: str) -> None:
    times = parse_times(pl.Series("t", [value, value, None]))
    assert times.ms.tolist()[:2] == [MOMENT, MOMENT]
    assert times.unit == unit
    assert times.missing.tolist() == [False, False, True]
    assert not times.bad.any()
    assert not times.other_unit.any()


def test_dates() -> None:
    for column in (pl.Series("t", ["2020-09-13"]), pl.Series("t", [date(2020, 9, 13)])):
        assert parse_times(column).ms.tolist() == [1_599_955_200_000]


def test_fractions_of_seconds_survive() -> None:
    assert parse_times(pl.Series("t", ["1600000000.25"])).ms.tolist() == [MOMENT + 250]


def test_a_minority_of_another_unit_is_flagged() -> None:
    column = pl.Series("t", ["1600000000", "1600000001", "1600000001000", "5", "x"])
    times = parse_times(column)
    assert times.other_unit.tolist() == [False, False, True, True, False]
    assert times.bad.tolist() == [False] * 4 + [True]


def test_numbers_among_texts_are_of_another_unit() -> None:
    times = parse_times(pl.Series("t", ["2020-09-13", "2020-09-14", "1600000000", "soon"]))
    assert times.other_unit.tolist() == [False, False, True, False]
    assert times.bad.tolist() == [False, False, False, True]


def test_a_given_unit_is_used() -> None:
    assert parse_times(pl.Series("t", [5, 1600000000]), "s").ms.tolist() == [5000, MOMENT]
    assert parse_times(pl.Series("t", [1600000000000]), "us").ms.tolist() == [1_600_000_000]


def test_small_numbers_are_seconds_and_flagged() -> None:
    times = parse_times(pl.Series("t", [0, 1, 2]))
    assert times.small
    assert times.ms.tolist() == [0, 1000, 2000]


def test_overflowing_numbers_are_not_times() -> None:
    times = parse_times(pl.Series("t", [1.6e9, 1e300, float("inf")]), "s")
    assert times.bad.tolist() == [False, True, True]


def test_an_empty_column() -> None:
    times = parse_times(pl.Series("t", [None, None], dtype=pl.String))
    assert times.missing.all()
    assert not times.bad.any()
