"""Texts that stand for a missing value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

MISSING = (
    "NULL", "Null", "null", "(null)", "[null]", "<null>", "NA", "N/A", "n/a", "<NA>", "#N/A", "#NA",
    "NaN", "NAN", "nan", "-nan", "NaT", "None", "undefined", "\\N", "-", "--", "–", "—",
    "#NULL!", "#VALUE!", "#REF!", "#DIV/0!", "#NAME?", "#NUM!",
)  # fmt: skip
"""Texts that mean a missing value where a table does not list its own in `missing`: what databases,
pandas, R, JavaScript and spreadsheets write, and dashes. Upper and lower case count. The empty
text and blanks always mean it."""


@dataclass(frozen=True)
class Cleaned:
    """A text column without blanks around its values and without texts for missing values."""

    values: pl.Series
    """(n,) text; null where missing."""
    markers: dict[str, int]
    """How often each text for a missing value occurred; empty texts are not counted."""


def cleaned(column: pl.Series, missing: Sequence[str] = MISSING) -> Cleaned:
    """A text column (n,) stripped of blanks, with missing values as null."""
    text = column.str.strip_chars()
    gone = text.is_in(list(missing))
    markers: dict[str, int] = {}
    if gone.any():
        counts = text.filter(gone).value_counts(sort=True, name="n")
        markers = dict(counts.iter_rows())
    gap = gone | (text == "")
    if gap.any():
        text = text.to_frame().select(pl.when(~gap).then(pl.first())).to_series()
    return Cleaned(text.alias(column.name), markers)


def markers_text(markers: dict[str, int]) -> str:
    """The counts of `Cleaned.markers` in words: `"NULL" 12, "-" 3`."""
    return ", ".join(f'"{text}" {count:,}' for text, count in markers.items())
