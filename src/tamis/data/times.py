"""Parses timestamps of any unit into milliseconds since 1970 UTC."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

PER_UNIT_MS = {"s": 1000.0, "ms": 1.0, "us": 1e-3, "ns": 1e-6}
_FROM = {"s": 1e8, "ms": 1e11, "us": 1e14, "ns": 1e17}
"""Smallest number that counts as a time of the unit (1973 to 5138); smaller ones fit no unit."""
_SMALL = "small"

_ISO = (
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%d",
    "%Y/%m/%d %H:%M:%S%.f",
    "%Y/%m/%d %H:%M",
    "%Y/%m/%d",
    "%Y%m%d",
)
_ZONED = ("%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f %#z", "%Y-%m-%d %H:%M%#z")


@dataclass
class Times:
    """A parsed column."""

    ms: NDArray[np.int64]
    """(n,) milliseconds since 1970 UTC; 0 where `bad`."""
    unit: str
    """s, ms, us, ns, iso (text) or typed (a date column of Parquet)."""
    missing: NDArray[np.bool_]
    """(n,) no value."""
    bad: NDArray[np.bool_]
    """(n,) a value that is not a time."""
    other_unit: NDArray[np.bool_]
    """(n,) a number of another magnitude than most, so in another unit."""
    small: bool = False
    """Most numbers are too small for a date after 1973; they may be seconds since some start."""


def parse_times(column: pl.Series, unit: str = "auto") -> Times:
    """Parses a column (n,) of times.

    Date columns are converted. Numbers have the given `unit` (s, ms, us or ns); with "auto" it is
    detected from the magnitude that most of them have (s from 1e8, ms from 1e11, us from 1e14, ns
    from 1e17), and numbers of another magnitude are flagged as `other_unit`. Texts, and all texts
    with unit "iso", are ISO 8601 with the year first, UTC where they name no time zone.
    """
    if column.dtype.is_temporal():
        return _typed(column)
    missing = column.is_null().to_numpy()
    if column.dtype == pl.String:
        whole = column.cast(pl.Int64, strict=False)
        if whole.null_count() == column.null_count():
            return _numbers(whole.fill_null(0).to_numpy(), missing, missing, unit)
        number = column.cast(pl.Float64, strict=False)
        texts = len(column) - int(missing.sum())
        if unit == "iso" or (unit == "auto" and _given(number).sum() * 2 < texts):
            return _iso(column, missing)
        return _numbers(number.fill_null(np.nan).to_numpy(), missing, ~_given(number), unit)
    if column.dtype.is_integer():
        filled = column.cast(pl.Int64, strict=False).fill_null(0).to_numpy()
        return _numbers(filled, missing, missing, unit)
    if column.dtype.is_float():
        filled = column.cast(pl.Float64).fill_null(np.nan).to_numpy()
        return _numbers(filled, missing, ~np.isfinite(filled), unit)
    return Times(
        np.zeros(len(column), np.int64), unit, missing, ~missing, np.zeros(len(column), np.bool_)
    )


def _given(number: pl.Series) -> NDArray[np.bool_]:
    return np.isfinite(number.fill_null(np.nan).to_numpy())


def _typed(column: pl.Series) -> Times:
    missing = column.is_null().to_numpy()
    if column.dtype == pl.Time or column.dtype == pl.Duration:
        nothing = np.zeros(len(column), np.int64)
        return Times(nothing, "typed", missing, ~missing, np.zeros(len(column), np.bool_))
    if isinstance(column.dtype, pl.Datetime) and column.dtype.time_zone:
        column = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    ms = column.cast(pl.Datetime("ms")).cast(pl.Int64).fill_null(0).to_numpy()
    no = np.zeros(len(ms), dtype=np.bool_)
    return Times(ms, "typed", missing, no, no)


def _numbers(
    number: NDArray[np.int64] | NDArray[np.float64],
    missing: NDArray[np.bool_],
    unusable: NDArray[np.bool_],
    unit: str,
) -> Times:
    bad = unusable & ~missing
    other = np.zeros(len(number), dtype=np.bool_)
    small = False
    if unit in ("auto", "iso"):
        unit, other = _majority(number, ~unusable)
        small, unit = unit == _SMALL, "s" if unit == _SMALL else unit
    factor = PER_UNIT_MS[unit]
    usable = ~(bad | missing | other)
    safe = np.where(usable, number, 0)
    ms = safe * int(factor) if factor >= 1 else np.floor_divide(safe, round(1 / factor))
    beyond = np.abs(ms.astype(np.float64)) > 1e17
    whole = np.where(beyond, 0, np.floor(ms)).astype(np.int64)
    return Times(whole, unit, missing, bad | (beyond & usable), other, small)


def _majority(
    number: NDArray[np.int64] | NDArray[np.float64], usable: NDArray[np.bool_]
) -> tuple[str, NDArray[np.bool_]]:
    names = [_SMALL, *_FROM]
    edges = np.array(list(_FROM.values()))
    magnitude = np.searchsorted(edges, np.where(usable, number, 0), side="right")
    counts = np.bincount(magnitude[usable], minlength=len(names))
    most = int(counts.argmax()) if counts.any() else 1
    return names[most], usable & (magnitude != most)


def _iso(column: pl.Series, missing: NDArray[np.bool_]) -> Times:
    """Parses ISO texts, whose year is first; numbers among them are flagged as another unit."""
    zulu = column.str.strip_chars().str.replace(r"([Zz]|\s*(UTC|GMT))$", "+00:00")
    plain = zulu.str.replace("T", " ", literal=True)
    frame = pl.DataFrame({"t": plain})
    naive = [
        pl.col("t").str.to_datetime(f, strict=False, time_unit="ms")
        if "%H" in f
        else pl.col("t").str.to_date(f, strict=False).cast(pl.Datetime("ms"))
        for f in _ISO
    ]
    zoned = [
        pl.col("t")
        .str.to_datetime(f, strict=False, time_unit="ms", time_zone="UTC")
        .dt.replace_time_zone(None)
        for f in _ZONED
    ]
    parsed = frame.select(pl.coalesce(*naive, *zoned))["t"]
    digits = plain.str.contains(r"^-?\d+(\.\d+)?$").fill_null(False).to_numpy()
    other = parsed.is_null().to_numpy() & digits
    bad = parsed.is_null().to_numpy() & ~missing & ~other
    return Times(parsed.cast(pl.Int64).fill_null(0).to_numpy(), "iso", missing, bad, other)
