"""Checks of the fields that callers send: ids, texts and times; messages say how to fix it."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping
from datetime import date
from math import isfinite
from typing import Any, cast

import msgspec
import numpy as np
import polars as pl

from tamis.data import MAX_ID, one_id, parse_times
from tamis.schema import RequestError

FIRST_MS, LAST_MS = 946_684_800_000, 4_102_444_800_000
"""2000-01-01 and 2100-01-01 UTC in ms: times outside are refused as having another unit."""
LATEST = 2**63
"""Largest number that can be a time in any unit; larger ones have no unit to suggest."""
_UNITS = {"seconds": 1000.0, "microseconds": 1e-3, "nanoseconds": 1e-6}
"""Milliseconds of one unit."""


def plain(value: Any) -> Any:
    """numpy scalars, lists and other sequences as the plain Python values that JSON would hold."""
    if isinstance(value, np.generic):
        return cast("Any", value.item())
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        pairs = cast("Mapping[Any, Any]", value).items()
        return {plain(key): plain(each) for key, each in pairs}
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        return cast("Any", value)
    return [plain(each) for each in cast("Iterable[Any]", value)]


def plain_id(value: Any, place: str) -> Any:
    """Ids that JSON does not know (floats, decimals, dates, bytes) as texts; others unchanged.

    Raises RequestError for values that stand for a missing one (NaN, pandas.NA) and infinities.
    """
    if isinstance(value, str | int | list | tuple | dict | None):
        return cast("Any", value)
    known = one_id(value)
    if known is None or (isinstance(value, float) and not isfinite(value)):
        raise RequestError(f"{place} = {value}: not an id; leave it out", place.split("[")[0])
    return known


def check_id(value: str | int, place: str) -> None:
    """Raises RequestError for a blank or very long id, or one that is not Unicode text."""
    text = str(value)
    field = place.split("[")[0]
    if not text.strip():
        raise RequestError(f"{place} = {value!r}: an id is not blank; leave it out", field)
    if len(text) > MAX_ID:
        raise RequestError(
            f"{place} = {reprlib.repr(text)}: an id has at most {MAX_ID:,} characters", field
        )
    check_unicode(text, place)


def check_unicode(text: str, place: str) -> None:
    """Raises RequestError for a text that holds half of a surrogate pair, such as "\\ud800"."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RequestError(
            f"{place} = {reprlib.repr(text)}: character {error.start} is half of a surrogate pair, "
            "not Unicode text; send both halves, or the character itself",
            place.split("[")[0],
        ) from error


def refused(error: msgspec.ValidationError, fields: Mapping[str, Any]) -> RequestError:
    """What msgspec refused: the place, the value there, what was expected, and for a time what to
    send instead."""
    place = _place_of(str(error))
    field, _, index = place.partition("[")
    value = fields.get(field)
    if index and isinstance(value, list):
        value = cast("list[Any]", value)[int(index.partition("]")[0])]
    shown = f" = {reprlib.repr(value)}" if field in fields else ""
    hint = _time_hint(value) if field == "time" else ""
    return RequestError(f"{place}{shown}: {_expectation(error)}{hint}", field)


def _place_of(message: str) -> str:
    """The place in msgspec's "… - at `$.exclude_item_ids[3]`"."""
    parts = message.split("`")
    return parts[-2].removeprefix("$.").replace("[...]", "") if len(parts) > 2 else ""


def _time_hint(value: Any) -> str:
    """How to send a time that was given as text, as a date or as a fraction of seconds."""
    how = "; times are sent in ms since 1970 UTC, as a whole number"
    if isinstance(value, float):
        return unit_hint(value) or how
    if not isinstance(value, str | date):
        return how
    times = parse_times(pl.Series([value]))
    usable = not (times.bad | times.missing).any()
    return f"{how}: {int(times.ms[0])}" if usable else how


def _expectation(error: msgspec.ValidationError) -> str:
    """What msgspec expected, without the place: "expected `int` >= 1"."""
    text = str(error).split(" - at ")[0]
    return text[:1].lower() + text[1:]


def unit_hint(time: float) -> str:
    """How to fix a time that was probably given in another unit."""
    if abs(time) > LATEST:
        return ""
    for unit, ms in _UNITS.items():
        if FIRST_MS <= time * ms < LAST_MS:
            return f"; it looks like {unit}: send {int(time * ms)}"
    return ""
