"""A request: all that a caller may give, checked once where it enters (HTTP, CLI, Python)."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Annotated, Any, cast

import msgspec
import numpy as np
from msgspec import Meta, Struct

from tamis.cascade import Context
from tamis.data import one_id
from tamis.schema import RequestError, suggest

FIRST_MS, LAST_MS = 946_684_800_000, 4_102_444_800_000
"""2000-01-01 and 2100-01-01 UTC in ms: times outside are refused as having another unit."""
_UNITS = {"seconds": 1000.0, "microseconds": 1e-3, "nanoseconds": 1e-6}
"""Milliseconds of one unit."""

Id = Annotated[str, Meta(min_length=1, max_length=1024)] | int
"""An external id; numbers are taken as text: 42 and "42" are the same id."""


class Request(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A request for recommendations. Every field may be left out.

    Build one with `Request.of(...)` in Python, which checks the fields; the HTTP service decodes
    the same class from JSON.
    """

    user: Id | None = None
    """External user id. Without one, or for an unknown one, the items are not personalised."""
    n: Annotated[int, Meta(ge=1, le=1000)] | None = None
    """Number of items wanted. If omitted: the project's slate size."""
    exclude: Annotated[tuple[Id, ...], Meta(max_length=10_000)] = ()
    """Item ids that must not be in the answer."""
    time: int | None = None
    """The request's time in ms since 1970 UTC, not before the end of the version's data. If
    omitted: the time of the project's clock."""
    interests: Annotated[tuple[str, ...], Meta(max_length=1000)] = ()
    """Declared interests of a new user: categories, brands or keywords of the items."""
    latitude: Annotated[float, Meta(ge=-90, le=90)] | None = None
    """Degrees north of the request's place; goes with `longitude`."""
    longitude: Annotated[float, Meta(ge=-180, le=180)] | None = None
    """Degrees east of the request's place; goes with `latitude`."""
    city: Annotated[str, Meta(max_length=1024)] | None = None
    """The request's city, as the items' (or users') column spells it."""
    explain: bool = False
    """Whether each item comes with its reasons."""
    why_not: Id | None = None
    """An item id: the answer then says which stage removed this item."""
    request_id: Annotated[str, Meta(max_length=200)] = ""
    """Identifies the request in answers and logs. If empty: the service makes one."""

    @classmethod
    def of(cls, **fields: Any) -> Request:
        """A checked request from Python values (ids of any type, lists for tuples).

        Raises RequestError naming the field, the value and how to fix it.
        """
        return cls.parse(fields)

    @classmethod
    def parse(cls, fields: Mapping[str, Any], strict: bool = True) -> Request:
        """A checked request of {field: value}.

        Args:
            strict: False also takes numbers and booleans that are written as texts.

        Raises RequestError naming the field, the value and how to fix it.
        """
        unknown = set(fields) - set(cls.__struct_fields__)
        if unknown:
            name = sorted(unknown)[0]
            raise RequestError(
                f"{name}: a request has no such field.{suggest(name, cls.__struct_fields__)} "
                f"Fields: {', '.join(cls.__struct_fields__)}",
                name,
            )
        for name in ("exclude", "interests"):
            if isinstance(fields.get(name), str):
                raise RequestError(
                    f"{name} is the text {fields[name]!r}: give a list of texts", name
                )
        plain = {key: _plain(value) for key, value in fields.items()}
        for name in ("user", "why_not"):
            if name in plain:
                plain[name] = _plain_id(plain[name])
        if isinstance(plain.get("exclude"), list):
            plain["exclude"] = [_plain_id(item) for item in plain["exclude"]]
        try:
            request = msgspec.convert(plain, cls, strict=strict)
        except msgspec.ValidationError as error:
            field = _field_of(str(error))
            value = f" = {reprlib.repr(fields[field])}" if field in fields else ""
            raise RequestError(f"{field}{value}: {_expectation(error)}", field) from error
        request.check()
        return request

    def check(self) -> None:
        """Raises RequestError for what the field types cannot express: half a place, a time in
        another unit, a number that is not finite."""
        for name, other in (("latitude", "longitude"), ("longitude", "latitude")):
            value = getattr(self, name)
            if value is not None and getattr(self, other) is None:
                raise RequestError(
                    f"{name} is given without {other}: a place needs both, in degrees", name
                )
            if value is not None and not isfinite(value):
                raise RequestError(f"{name} is {value}: give a number of degrees", name)
        if self.time is not None and not FIRST_MS <= self.time < LAST_MS:
            raise RequestError(
                f"time = {self.time} is not within the years 2000 to 2100 in ms since 1970 UTC"
                f"{_unit_hint(self.time)}",
                "time",
            )

    @property
    def user_id(self) -> str | None:
        """The user id as text, as the tables hold it: 1, 1.0 and "1" are one id."""
        return one_id(self.user)

    @property
    def context(self) -> Context | None:
        """Place, city and interests for the stages that read them; None where none is given."""
        if self.latitude is None and not self.city and not self.interests:
            return None
        return Context(
            np.array([np.nan if self.latitude is None else self.latitude], dtype=np.float64),
            np.array([np.nan if self.longitude is None else self.longitude], dtype=np.float64),
            (self.city or None,),
            (tuple(self.interests),),
        )


def _plain(value: Any) -> Any:
    """numpy scalars, lists and other sequences as the plain Python values that JSON would hold."""
    if isinstance(value, np.generic):
        return cast("Any", value.item())
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(each) for each in cast("Iterable[Any]", value)]
    return value


def _plain_id(value: Any) -> Any:
    """Ids that JSON does not know (floats, decimals, dates, bytes) as texts; others unchanged."""
    kept = isinstance(value, str | int | list | tuple | dict | None)
    return cast("Any", value) if kept else one_id(value)


def _field_of(message: str) -> str:
    """The field in msgspec's "… - at `$.n`" or "unknown field `m`"."""
    parts = message.split("`")
    return parts[-2].removeprefix("$.").split("[")[0] if len(parts) > 2 else ""


def _expectation(error: msgspec.ValidationError) -> str:
    """What msgspec expected, without the place: "expected `int` >= 1"."""
    text = str(error).split(" - at ")[0]
    return text[:1].lower() + text[1:]


def _unit_hint(time: int) -> str:
    """How to fix a time that was probably given in another unit."""
    for unit, ms in _UNITS.items():
        if FIRST_MS <= time * ms < LAST_MS:
            return f"; it looks like {unit}: send {int(time * ms)}"
    return ""
