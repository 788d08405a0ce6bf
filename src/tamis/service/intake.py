"""Events and items as clients send them: checked one by one, and made entries of the journal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, cast
from uuid import uuid4

import msgspec
import numpy as np
from msgspec import Meta, Struct

from tamis.data import MAX_ID, one_id
from tamis.journal import Event, Value
from tamis.schema import Behaviour, ProjectConfig, RequestError, suggest
from tamis.service._field_checks import (
    FIRST_MS,
    LAST_MS,
    check_id,
    check_unicode,
    plain,
    plain_id,
    refused,
    unit_hint,
)
from tamis.service.request import Id

DAY_MS = 86_400_000
"""Clocks of clients may be wrong by so much; an event from later on is refused."""
LARGEST = float(np.finfo(np.float32).max)
"""Largest value of an event: counters and histories hold 32 bits."""
_IDS = ("user_id", "item_id", "event_id", "recommendation_id")


class EventRow(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """An event as a client sends it."""

    user_id: Id
    """External user id."""
    item_id: Id
    """External item id."""
    behaviour: str | None = None
    """One of the project's behaviours, by name or label. If omitted: the first whose bounds hold
    the value."""
    time: int | None = None
    """When it happened, ms since 1970 UTC. If omitted: now."""
    value: float | None = None
    """Rating, seconds watched or price."""
    context: dict[str, Value] = {}
    """Columns of `[events] context`."""
    event_id: Annotated[str, Meta(min_length=1, max_length=200)] | int | None = None
    """The same id twice is one event: send one, and a retry cannot count twice."""
    recommendation_id: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    """That of the answer that showed the item."""
    position: Annotated[int, Meta(ge=1, le=10_000)] | None = None
    """Place in the slate, from 1."""


class Intake:
    """Checks events by the declaration of a project.

    Args:
        config: the project's declaration.
        clock: the time of arrival, ms since 1970 UTC.
    """

    def __init__(self, config: ProjectConfig, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._columns = config.events.request_columns
        self._behaviours = config.behaviours
        self._named: dict[str, list[str]] = {}
        """Name or label → the behaviours that it may mean, in the order of the declaration."""
        for name, behaviour in config.behaviours.items():
            self._named.setdefault(behaviour.label or name, []).append(name)
        self._named |= {name: [name] for name in config.behaviours}

    def read(self, rows: Sequence[object]) -> list[Event | RequestError]:
        """Each row as an event of the journal, or what is wrong with it."""
        arrival = self._clock()
        read: list[Event | RequestError] = []
        for row in rows:
            try:
                read.append(self._event(row, arrival))
            except RequestError as error:
                read.append(error)
        return read

    def _event(self, row: object, arrival: int) -> Event:
        sent = _event_row(row)
        time = arrival if sent.time is None else sent.time
        self._check_time(time, arrival)
        return Event(
            event_id=uuid4().hex if sent.event_id is None else str(sent.event_id),
            user_id=_text_id(sent.user_id),
            item_id=_text_id(sent.item_id),
            behaviour=self._behaviour(sent),
            time=time,
            arrival=arrival,
            value=sent.value,
            context=self._context(sent.context),
            recommendation_id=sent.recommendation_id,
            position=sent.position,
        )

    def _behaviour(self, sent: EventRow) -> str:
        """The declared name. Raises RequestError for an unknown one, and a value out of bounds."""
        if sent.behaviour is None:
            fits = [name for name, b in self._behaviours.items() if _holds(b, sent.value)]
            if fits and (len(self._behaviours) == 1 or sent.value is not None):
                return fits[0]
            if len(self._behaviours) == 1 and sent.value is None:
                return next(iter(self._behaviours))
            raise RequestError(
                f"behaviour is missing: give one of {', '.join(self._behaviours)}"
                + ("" if sent.value is None else f"; none has bounds that hold {sent.value:g}"),
                "behaviour",
            )
        names = self._named.get(sent.behaviour)
        if names is None:
            raise RequestError(
                f"behaviour = {sent.behaviour!r} is not declared: give one of "
                f"{', '.join(self._behaviours)}.{suggest(sent.behaviour, self._named)}",
                "behaviour",
            )
        if sent.value is None:
            return names[0]
        for name in names:
            if _holds(self._behaviours[name], sent.value):
                return name
        bounds = "; ".join(f"{name}: {_bounds(self._behaviours[name])}" for name in names)
        raise RequestError(
            f"value = {sent.value:g} is outside of the bounds of behaviour {sent.behaviour!r} "
            f"({bounds}): correct the value, or give the behaviour whose bounds hold it",
            "value",
        )

    def _check_time(self, time: int, arrival: int) -> None:
        if not FIRST_MS <= time < LAST_MS:
            raise RequestError(
                f"time = {time} is not within the years 2000 to 2100 in ms since 1970 UTC"
                f"{unit_hint(time)}",
                "time",
            )
        if time > arrival + DAY_MS:
            raise RequestError(
                f"time = {time} is more than a day after {arrival}, the time of the project's "
                "clock: leave out `time`, or correct the clock that it is from",
                "time",
            )

    def _context(self, given: Mapping[str, Value]) -> dict[str, Value]:
        for name in given:
            if name not in self._columns:
                declared = ", ".join(self._columns) or "none"
                raise RequestError(
                    f"context: there is no column {name!r}; the project declares {declared} "
                    f"([events] context in tamis.toml).{suggest(name, self._columns)}",
                    "context",
                )
        return dict(given)


def _event_row(row: object) -> EventRow:
    """The row's fields, checked by themselves."""
    if not isinstance(row, Mapping):
        raise RequestError(
            f'an event is an object such as {{"user_id": "u1", "item_id": "i1"}}, not {row!r:.80}'
        )
    fields = {str(k): plain(v) for k, v in cast("Mapping[Any, Any]", row).items()}
    for name in fields:
        if name not in EventRow.__struct_fields__:
            raise RequestError(
                f"{name}: an event has no such field.{suggest(name, EventRow.__struct_fields__)} "
                f"Fields: {', '.join(EventRow.__struct_fields__)}",
                name,
            )
    for name in ("user_id", "item_id"):
        if name in fields:
            fields[name] = plain_id(fields[name], name)
    try:
        sent = msgspec.convert(fields, EventRow)
    except msgspec.ValidationError as error:
        raise refused(error, fields) from error
    for name in _IDS:
        value = getattr(sent, name)
        if value is not None:
            check_id(value, name)
    for name, value in sent.context.items():
        check_unicode(name, "context")
        if isinstance(value, str):
            check_unicode(value, f"context[{name}]")
            if len(value) > MAX_ID:
                raise RequestError(
                    f"context[{name}] has {len(value):,} characters: at most {MAX_ID:,}", "context"
                )
    if sent.value is not None and not abs(sent.value) <= LARGEST:
        raise RequestError(
            f"value = {sent.value}: give a finite number of at most {LARGEST:.3g}", "value"
        )
    return sent


def _text_id(value: str | int) -> str:
    text = one_id(value)
    assert text is not None  # `check_id` has refused what is not an id
    return text


def _holds(behaviour: Behaviour, value: float | None) -> bool:
    low, high = behaviour.min_value, behaviour.max_value
    if low is None and high is None:
        return True
    return value is not None and (low is None or value >= low) and (high is None or value <= high)


def _bounds(behaviour: Behaviour) -> str:
    parts = [f"at least {behaviour.min_value:g}"] if behaviour.min_value is not None else []
    if behaviour.max_value is not None:
        parts.append(f"at most {behaviour.max_value:g}")
    return " and ".join(parts)
