"""Tables, cards and facts that a report's HTML page and its terminal output both print.

Each report turns its JSON into one summary made of these parts. Every number is formatted once, in
the summary, so the page and the terminal cannot disagree.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MISSING = "–"
"""Printed where there is no finite number."""

Facts = tuple[tuple[str, str], ...]
"""(name, value) pairs."""


@dataclass(frozen=True)
class IntervalMark:
    """A difference and its confidence interval as positions on a scale that a column shares."""

    mean: float
    """Position in [0, 1], as are `low`, `high` and `zero`."""
    low: float
    high: float
    zero: float
    positive: bool
    """Whether the whole interval lies above 0."""


@dataclass(frozen=True)
class Cell:
    """One value of a table."""

    text: str
    bar: float | None = None
    """Length of a bar next to the text, in [0, 1]; None for no bar."""
    accent: bool = False
    """Whether the bar has the accent colour."""
    interval: IntervalMark | None = None


@dataclass(frozen=True)
class ReportColumn:
    """A column of a table; the column of row labels is not among them."""

    heading: str
    prose: bool = False
    """Whether the cells hold words, which are aligned left and may wrap."""
    page_only: bool = False
    """Whether the terminal leaves the column out, because 80 characters do not hold it."""


@dataclass(frozen=True)
class Row:
    """A line of a table: a label and one cell per column."""

    label: str
    cells: tuple[Cell, ...]
    highlight: bool = False


@dataclass(frozen=True)
class ReportTable:
    """A titled table; `label` is the heading of the column of row labels."""

    title: str
    columns: tuple[ReportColumn, ...]
    rows: tuple[Row, ...]
    label: str = ""


@dataclass(frozen=True)
class Card:
    """A headline number with a label and a note in small print."""

    label: str
    value: str
    note: str = ""


def number(value: Any) -> float | None:
    """The value as a float, or None where it is not a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def shown(value: Any, form: str = ".3f") -> str:
    """The number in the given format, a dash where it is not a finite number."""
    found = number(value)
    return MISSING if found is None else format(found, form)


def duration(seconds: float | None) -> str:
    """Seconds as text: `3.2 s`, `2 min 05 s`; a dash for None."""
    if seconds is None:
        return MISSING
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"


def value_text(value: Any) -> str:
    """A value of the JSON as text: lists and objects joined by commas, calibrations by kind."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return shown(value, ".4g")
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Mapping) and {"kind", "x", "y"} <= value.keys():
        knots = len(value["x"])
        return f"{value['kind']} ({knots} knots)" if knots > 1 else str(value["kind"])
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {value_text(part)}" for key, part in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(value_text, value))
    return str(value)


def facts(values: Mapping[str, Any]) -> Facts:
    """Names and values as text, underscores in names as spaces; None values are left out."""
    return tuple(
        (str(key).replace("_", " "), value_text(value))
        for key, value in values.items()
        if value is not None
    )


def cells(values: Iterable[Any], forms: Iterable[str]) -> tuple[Cell, ...]:
    """One cell per value, each in its format."""
    return tuple(Cell(shown(v, form)) for v, form in zip(values, forms, strict=True))


def bar_cell(value: Any, longest: float, form: str = ".3f", *, accent: bool = False) -> Cell:
    """A number with a bar; `longest` is the value whose bar has full length."""
    length = (number(value) or 0.0) / longest if longest > 0 else 0.0
    return Cell(shown(value, form), bar=min(max(length, 0.0), 1.0), accent=accent)


def interval_cells(
    intervals: Sequence[Mapping[str, Any] | None], form: str = "+.3f"
) -> tuple[Cell, ...]:
    """Differences with their intervals, drawn on one scale that holds all of them and 0.

    Args:
        intervals: {`mean`, `low`, `high`} of a difference, or None for a dash.
        form: the format of the three numbers.
    """
    ends = [0.0, *(i[end] for i in intervals if i for end in ("low", "high"))]
    margin = (max(ends) - min(ends)) * 0.06 or 1.0
    low, width = min(ends) - margin, max(ends) - min(ends) + 2 * margin

    def cell(interval: Mapping[str, Any] | None) -> Cell:
        if interval is None:
            return Cell(MISSING)
        mean, first, last = (interval[key] for key in ("mean", "low", "high"))
        places = ((value - low) / width for value in (mean, first, last, 0.0))
        mark = IntervalMark(*places, positive=first > 0)
        return Cell(f"{mean:{form}} [{first:{form}}, {last:{form}}]", interval=mark)

    return tuple(map(cell, intervals))
