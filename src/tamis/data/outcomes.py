"""Outcomes in columns of their own: `is_click`, `is_like` … several in one row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from tamis.data.numbers import read_numbers
from tamis.data.rejects import Sieve
from tamis.data.text_form import PLAIN, TextForm
from tamis.runtime import Bool, Float32, Index
from tamis.schema import Behaviour


@dataclass(frozen=True)
class OutcomeRows:
    """The rows of the log that a behaviour with a column of its own has."""

    code: int
    """Position of the behaviour in the declaration."""
    holds: Bool
    """(n,) rows that are such an event."""
    value: Float32 | None
    """(n,) the numbers of the column, which are the values of the events; None for a column of true
    and false, whose events have the row's value."""


def read_outcomes(
    frame: pl.DataFrame, behaviours: Sequence[Behaviour], sieve: Sieve, form: TextForm = PLAIN
) -> list[OutcomeRows]:
    """The outcomes of the behaviours that have a column of their own, in their order.

    A cell that is neither true or false nor a number is reported and counts as missing.
    """
    found: list[OutcomeRows] = []
    for code, behaviour in enumerate(behaviours):
        if behaviour.column is None:
            continue
        column = frame[behaviour.column]
        read = read_numbers(column, form)
        sieve.blank(read.bad, "neither true or false nor a number", column.name, column)
        sieve.note(read.notes, column.name)
        number = read.values.fill_null(np.nan).to_numpy().astype(np.float32)
        if behaviour.min_value is None and behaviour.max_value is None:
            found.append(OutcomeRows(code, number > 0, None))
        else:
            found.append(OutcomeRows(code, within(number, behaviour), number))
    return found


def truth_numbers(column: pl.Series) -> tuple[Float32, Bool]:
    """(n,) numbers of a column of numbers, booleans or texts: true is 1, false 0, missing NaN.

    Returns:
        The numbers, and (n,) which cells are none of these.
    """
    read = read_numbers(column)
    return read.values.fill_null(np.nan).to_numpy().astype(np.float32), read.bad


def within(value: Float32, behaviour: Behaviour) -> Bool:
    """(n,) values within the bounds of a behaviour; NaN only where it has none."""
    fits = np.ones(len(value), dtype=np.bool_)
    if behaviour.min_value is not None:
        fits &= value >= np.float32(behaviour.min_value)
    if behaviour.max_value is not None:
        fits &= value <= np.float32(behaviour.max_value)
    return fits


def events_of_rows(
    first: np.ndarray[tuple[int], np.dtype[np.uint8]], none: int, outcomes: Sequence[OutcomeRows]
) -> tuple[Index, np.ndarray[tuple[int], np.dtype[np.uint8]], Float32 | None]:
    """The events of all rows, in the order of the rows.

    A row has the event of its first behaviour and one of each outcome that holds, in this order.

    Args:
        first: (n,) code of the behaviour of each row that has no column of its own.
        none: the code of rows without one.

    Returns:
        row: (E,) rows of the events. code: (E,) their behaviours. value: (E,) values of outcomes
        with numbers of their own, NaN for other events; None if there is no such outcome.
    """
    rows = [np.flatnonzero(first != none), *(np.flatnonzero(o.holds) for o in outcomes)]
    codes = [
        first[rows[0]],
        *(np.full(len(r), o.code, np.uint8) for r, o in zip(rows[1:], outcomes, strict=True)),
    ]
    row = np.concatenate(rows)
    order = np.argsort(row, kind="stable")
    values = None
    if any(o.value is not None for o in outcomes):
        parts = [np.full(len(rows[0]), np.nan, np.float32)]
        for r, o in zip(rows[1:], outcomes, strict=True):
            parts.append(o.value[r] if o.value is not None else np.full(len(r), np.nan, np.float32))
        values = np.concatenate(parts)[order]
    return row[order], np.concatenate(codes)[order], values
