"""A table file as it was read, before its rows are checked."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.data.notes import Note


@dataclass
class RawTable:
    """A table file as it was read, before its rows are checked."""

    file: str
    """File name for messages and for the report of rejected rows."""
    frame: pl.DataFrame
    """Text files: columns of text, empty fields null. Other formats: as typed in the file."""
    row_numbers: NDArray[np.int64]
    """(n,) lines of a text file on which the rows begin, from 1; else row numbers from 1."""
    broken: list[tuple[NDArray[np.int64], str, pl.Series]]
    """Lines that cannot be parsed as rows: their numbers, the reason, their texts."""
    separator: str = ""
    """Of a text file; else empty."""
    notes: list[Note] = field(default_factory=list[Note])
    """How the file was read, where it is not evident."""
