"""The reading of attribute columns: which type their texts have, and which cells do not fit it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.data.booleans import boolean_texts
from tamis.data.ids import id_text
from tamis.data.lists import named_lists, read_lists
from tamis.data.missing import cleaned
from tamis.data.notes import Note
from tamis.data.numbers import Numbers, number_shaped, read_numbers
from tamis.data.text_form import PLAIN, TextForm

Wanted = Literal["number", "text", "words", "any", "lossless"]
"""What a column is read as. number: as numbers, whatever else it holds. text: as it is written.
words: as names or codes, one or a list per cell, never as numbers. any: as the type of nearly all
of its values. lossless: as the type of all of its values."""
SAMPLE = 1000
"""Values, evenly spaced, of which at least half must look like numbers for a closer look."""
FEW_BAD = 0.1
"""Most values of a column of numbers that may be something else, as a share of the given ones."""


@dataclass
class Attribute:
    """A column as it was read."""

    values: pl.Series
    """(n,) in its type; null where missing or bad."""
    bad: NDArray[np.bool_]
    """(n,) a value that does not fit the type of the column."""
    markers: dict[str, int] = field(default_factory=dict[str, int])
    """Texts that were read as missing, and how often."""
    notes: list[Note] = field(default_factory=list[Note])
    """How the texts were read, where it is not evident."""


def read_attribute(
    column: pl.Series,
    wanted: Wanted = "any",
    form: TextForm = PLAIN,
    infer: bool = True,
) -> Attribute:
    """Reads a column (n,) of attributes of any type.

    Texts become integers, floats, booleans (`boolean_texts`), lists (`read_lists`), or stay texts
    without blanks around them. Numbers with leading zeros and whole numbers beyond 64 bits stay
    texts: they are codes. A column of numbers may hold a few other values (`FEW_BAD`), which become
    missing and are `bad`; if it holds only whole numbers and codes with letters (`10`, `10A`), it
    stays text. Typed columns are brought to the same types (`plain_types`).

    Args:
        wanted: what the column is read as.
        form: how the texts of the file are written.
        infer: False keeps texts that are not wanted as numbers: the file has types of its own.
    """
    column = plain_types(column)
    if wanted == "number":
        return _of_numbers(read_numbers(column, form))
    fine = np.zeros(len(column), np.bool_)
    if column.dtype != pl.String:
        return Attribute(column, fine)
    clean = cleaned(column, form.missing)
    text = Attribute(clean.values, fine, clean.markers)
    if wanted == "text" or not infer:
        return text
    if wanted == "words":
        lists = read_lists(clean.values)
        if lists is None or (lists.is_null() & clean.values.is_not_null()).any():
            return replace(text, values=id_text(clean.values, column.name, missing=()))
        return Attribute(lists, fine, clean.markers)
    sample = _sample(clean.values)
    if not len(sample):
        return text
    if (truth := boolean_texts(clean.values)) is not None:
        return Attribute(truth, fine, clean.markers)
    if float(number_shaped(sample).mean() or 0.0) >= 0.5:  # type: ignore[arg-type]
        return _numbers_or_text(text, wanted, form)
    if (lists := read_lists(clean.values)) is not None:
        bad = (lists.is_null() & clean.values.is_not_null()).to_numpy()
        if not (wanted == "lossless" and bad.any()):
            return Attribute(lists, bad, clean.markers)
    return text


def plain_types(column: pl.Series) -> pl.Series:
    """The column in one of the types that the rest of the package reads.

    Decimals become Int64 if all are whole, else Float64; categories become texts, bytes too if they
    are UTF-8; lists of structs become lists of their names; NaN becomes null.
    """
    dtype = column.dtype
    if dtype.is_float():
        return column.fill_nan(None)
    if isinstance(dtype, pl.Decimal):
        return _of_decimals(column)
    if isinstance(dtype, pl.Categorical | pl.Enum):
        return column.cast(pl.String)
    if dtype == pl.Null:
        return column.cast(pl.String)
    if isinstance(dtype, pl.Int128 | pl.UInt64 | pl.UInt128):
        narrow = column.cast(pl.Int64, strict=False)
        fits = narrow.null_count() == column.null_count()
        return narrow if fits else column.cast(pl.String)
    if dtype == pl.Binary:
        try:
            return column.cast(pl.String)
        except pl.exceptions.PolarsError:
            return column
    return named_lists(column)


_ODD = (
    pl.Decimal, pl.Categorical, pl.Enum, pl.Null, pl.Int128, pl.UInt128, pl.UInt64, pl.Binary,
)  # fmt: skip


def plain_frame(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with columns of plain types; the same frame where they are already."""
    odd = [column for column in frame if not _is_plain(column.dtype)]
    return frame.with_columns(map(plain_types, odd)) if odd else frame


def _is_plain(dtype: pl.DataType) -> bool:
    if isinstance(dtype, pl.List):
        return not isinstance(dtype.inner, pl.Struct)
    return not isinstance(dtype, _ODD)


def _of_decimals(column: pl.Series) -> pl.Series:
    if column.dtype.scale:  # type: ignore[attr-defined]
        number = column.cast(pl.Float64)
        if not bool((number == number.round()).all()):
            return number
    whole = column.cast(pl.Int64, strict=False)
    return whole if whole.null_count() == column.null_count() else column.cast(pl.Float64)


def _of_numbers(found: Numbers) -> Attribute:
    return Attribute(found.values, found.bad, found.markers, found.notes)


def _sample(text: pl.Series) -> pl.Series:
    some = text.drop_nulls()
    return some.gather_every(max(1, len(some) // SAMPLE))


def _numbers_or_text(text: Attribute, wanted: Wanted, form: TextForm) -> Attribute:
    column = text.values
    if bool(column.str.contains(r"^[-+]?0\d").any()):
        return text
    whole = column.cast(pl.Int64, strict=False)
    if whole.null_count() == column.null_count():
        return Attribute(whole, text.bad, text.markers)
    long = column.str.contains(r"^[-+]?\d{16,}$").fill_null(False)
    if (long & whole.is_null()).any():
        return text
    found = read_numbers(column, form)
    given = len(column) - column.null_count()
    count = int(found.bad.sum())
    if count > FEW_BAD * given or (count and wanted == "lossless"):
        return text
    values = found.values
    bad = column.filter(pl.Series(found.bad))
    if bad.str.contains(r"^\d+(?:\s*[,;|/ ]\s*\d+)+$").any():
        return text  # lists of codes such as 3,7 and 3,7,12
    if not found.fractions and bool((values == values.round()).all()):
        code = bad.str.contains(r"^[A-Za-z0-9_-]*$") & bad.str.contains(r"\d")
        if count and bool(code.all()):
            text.notes.append(
                Note(
                    f'whole numbers and codes such as "{bad[0]}" are read as texts',
                    "Declare a dense feature of the column to read the numbers only.",
                )
            )
            return text
        values = values.cast(pl.Int64, strict=False)
    return Attribute(values, found.bad, text.markers, found.notes)
