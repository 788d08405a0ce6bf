"""External ids as text: `1`, `1.0`, `"1"` and `" 1 "` are one id."""

from __future__ import annotations

import datetime
import decimal
import numbers
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.data.missing import MISSING
from tamis.schema import DataError

_WHOLE = r"^-?(?:0|[1-9]\d*)\.0+$"
"""A whole number written as a float; `007.0` keeps its zeros and is left as it is."""
_SHORTENED = r"^-?\d(?:[.,]\d+)?E\+\d+$"
"""`1.23457E+17`: what a spreadsheet writes for a long number."""
EXACT = 2**53
"""Whole numbers from here on are not all representable as float64."""


def id_text(column: pl.Series, file: str, missing: Sequence[str] = MISSING) -> pl.Series:
    """(n,) ids as text; null where there is none.

    Surrounding blanks are removed, whole floats and decimals (`1.0`) become whole numbers, dates
    are written as ISO 8601. Every value is read by itself, so a table, a log and a request agree.

    Args:
        column: ids of any type.
        file: name for the message.
        missing: texts that mean a missing id; the empty text always does.

    Raises:
        DataError: the column holds lists, structs or bytes that are not UTF-8 text.
    """
    dtype = column.dtype
    if dtype == pl.Binary:
        column = _decoded(column, file)
    elif dtype.is_nested() or dtype == pl.Object:
        raise DataError(
            f"{file}: column `{column.name}` holds {dtype}; ids must be text or numbers."
        )
    elif dtype.is_float():
        return _floats(column)
    elif isinstance(dtype, pl.Decimal):
        column = column.cast(pl.String)
        shorter = pl.first().str.replace(r"(\.\d*?)0+$", "${1}").str.strip_chars_end(".")
        return column.to_frame().select(shorter).to_series()
    elif dtype.is_temporal():
        return _dates(column)
    elif dtype.is_integer() or dtype == pl.Boolean:
        return column.cast(pl.String)
    return _texts(column.cast(pl.String), missing)


def one_id(external: object) -> str | None:
    """A single id as text, as `id_text` reads it; None where there is none (None, NaN).

    Raises DataError for lists, arrays and mappings.
    """
    if isinstance(external, str):
        text = external.strip()
        whole, point, zeros = text.partition(".")
        if point and zeros and not zeros.strip("0") and _is_whole(whole):
            return whole
        return text or None
    if isinstance(external, np.datetime64):
        return id_text(pl.Series(np.array([cast("Any", external)])), "")[0]
    if isinstance(external, np.generic):  # of which numpy.str_ and numpy.float64 are others as well
        return one_id(cast("object", external.item()))
    if isinstance(external, bool):
        return str(external).lower()
    if isinstance(external, numbers.Integral):
        return str(int(external))
    if isinstance(external, float):
        return id_text(pl.Series([external]), "")[0]
    if external is None or _is_gap(external):
        return None
    if isinstance(external, bytes):
        return one_id(external.decode("utf-8", "replace"))
    if isinstance(external, decimal.Decimal | datetime.date):
        return id_text(pl.Series([external]), "")[0]
    if isinstance(external, list | tuple | set | frozenset | Mapping | np.ndarray | pl.Series):
        kind = type(cast("object", external)).__name__
        raise DataError(f"an id is a text or a number, not a {kind}: {external!r}")
    return str(external).strip() or None


def shortened_ids(ids: pl.Series) -> pl.Series:
    """Those of the ids that a spreadsheet shortened (`1.23457E+17`)."""
    found = ids.filter(ids.str.contains("E+", literal=True).fill_null(False))
    return found.filter(found.str.contains(_SHORTENED))


def _is_whole(text: str) -> bool:
    digits = text.removeprefix("-")
    return digits.isascii() and digits.isdigit() and (digits == "0" or digits[0] != "0")


def _is_gap(external: object) -> bool:
    """pandas.NA and pandas.NaT, without importing pandas."""
    return type(external).__name__ in ("NAType", "NaTType")


def _texts(column: pl.Series, missing: Sequence[str]) -> pl.Series:
    whole = column.cast(pl.Int64, strict=False)
    if whole.null_count() == column.null_count():
        return column  # whole numbers, also with leading zeros, are written as they should be
    unique = column.unique()
    plain = _plain(unique, missing)
    changed = unique.ne_missing(plain)
    if not changed.any():
        return column
    name = column.name
    pairs = pl.DataFrame({"raw": unique, "plain": plain}).filter(changed)
    joined = pl.DataFrame({"raw": column}).join(
        pairs.with_columns(changed=True), on="raw", how="left", maintain_order="left"
    )
    return joined.select(
        pl.when(pl.col("changed").is_null()).then("raw").otherwise("plain").alias(name)
    ).to_series()


def _plain(texts: pl.Series, missing: Sequence[str]) -> pl.Series:
    text = pl.col("id").str.strip_chars()
    text = pl.when(text.str.contains(_WHOLE)).then(text.str.replace(r"\.0+$", "")).otherwise(text)
    gap = text.is_in(list(missing)) | (text == "")
    return texts.alias("id").to_frame().select(pl.when(~gap).then(text).alias("id")).to_series()


def _floats(column: pl.Series) -> pl.Series:
    value = pl.first()
    whole = value.is_finite() & (value == value.round()) & (value.abs() < 1e38)
    text = (
        pl.when(whole)
        .then(pl.when(whole).then(value).cast(pl.Int128).cast(pl.String))
        .when(value.is_not_nan())
        .then(value.cast(pl.String))
    )
    return column.cast(pl.Float64).to_frame().select(text.alias(column.name)).to_series()


def _dates(column: pl.Series) -> pl.Series:
    """ISO 8601; without a time of day where it is midnight, without trailing zeros."""
    if isinstance(column.dtype, pl.Datetime):
        text = pl.first().dt.to_string("%Y-%m-%d %H:%M:%S%.f")
        text = text.str.replace(r"\.(\d*?)0+$", ".${1}").str.strip_chars_end(".")
        text = text.str.strip_suffix(" 00:00:00")
        return column.to_frame().select(text.alias(column.name)).to_series()
    return column.cast(pl.String)


def _decoded(column: pl.Series, file: str) -> pl.Series:
    try:
        return column.cast(pl.String)
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"{file}: column `{column.name}` holds bytes that are not UTF-8 text; ids must be text "
            "or numbers."
        ) from error


def ids_of(external: object) -> pl.Series:
    """(n,) ids of a sequence, an array or a series as text; a bare id is a sequence of one.

    Raises DataError for tables, mappings and nested lists.
    """
    return id_text(id_column(external), "ids", missing=())


def id_column(external: object) -> pl.Series:
    """(n,) the same ids in their own type, as text where they have several types."""
    if isinstance(external, pl.Series):
        return external
    if isinstance(external, np.ndarray):
        array = cast("NDArray[Any]", external)
        if array.dtype.kind in "iufbM":
            return pl.Series("id", np.atleast_1d(array))
        external = array.ravel().tolist()
    if isinstance(external, Mapping) or hasattr(external, "columns"):
        raise DataError(
            f"ids: expected an id or a list of ids, got {type(cast('object', external)).__name__}"
        )
    if isinstance(external, str | bytes) or not isinstance(external, Iterable):
        values = [external]
    else:
        values = list(cast("Iterable[object]", external))
    try:
        column = pl.Series("id", values)
        if column.dtype != pl.Object and not any(isinstance(v, np.datetime64) for v in values):
            return column  # of numpy's dates, polars keeps the number
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError):
        pass  # ids of several types
    return pl.Series("id", [one_id(value) for value in values], dtype=pl.String)
