"""Proposes the columns of the log that describe the request: device, city, place."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from tamis.data import ColumnProfile, EventLog
from tamis.data import column_names as words
from tamis.onboarding._declared import Declared
from tamis.onboarding._outcomes import unused_columns

MOST_VALUES = 1_000
"""Most distinct values of a proposed column of context."""
LEAST_REPEATS = 10
"""Least number of rows per distinct value."""


def describe_context(declared: Declared, log: EventLog) -> None:
    """Adds `context`, `city`, `latitude` and `longitude` to `events`, where columns look like it.

    They have a usual name, and neither one value per user nor one per item. Columns of texts have
    few values, which repeat.
    """
    events: dict[str, Any] = declared.data["events"]
    used = {*log.found.values(), *declared.outcomes}
    _, others = unused_columns(log, used)
    free = [log.columns[name] for name in others if log.is_attribute(name) is None]
    events |= _place(free)
    chosen = [c for c in free if c.name not in events.values() and _is_context(c)]
    city = next((c.name for c in chosen if words.is_one_of(c.head, _CITY)), None)
    if city is not None:
        events["city"] = city
    context = [c.name for c in chosen if c.name != city]
    if context:
        events["context"] = context
    given = [*([city] if city else []), *context]
    given += [events[key] for key in ("latitude", "longitude") if key in events]
    if given:
        declared.notes.append(
            f"describe the request, as context of the rankers: {', '.join(f'`{c}`' for c in given)}"
            f" of {log.file}; requests should give them too"
        )


def request_columns(declared: Declared) -> set[str]:
    """The columns that `describe_context` has declared."""
    events = declared.data["events"]
    single = (events.get(key) for key in ("city", "latitude", "longitude"))
    return {*events.get("context", ()), *(name for name in single if name)}


def context_features(declared: Declared, taken: Collection[str]) -> list[dict[str, Any]]:
    """The features of the declared context, under names that are not in `taken`."""
    events = declared.data["events"]
    sources = [*events.get("context", ()), *(["city"] if "city" in events else [])]
    sources += ["geohash"] if "latitude" in events else []
    features: list[dict[str, Any]] = []
    for source in sources:
        name = {"name": source}
        if source in taken:
            name = {"name": f"request_{source}", "column": source}
        rare = {"min_count": 2} if source == "geohash" else {}
        features.append({"kind": "sparse", "side": "context"} | name | rare)
    return features


_CITY = frozenset(words.CITY)


def _is_context(column: ColumnProfile) -> bool:
    reserved = ("hour", "weekday", "weekend", "holiday", "geohash", "city")
    if column.name in reserved and not words.is_one_of(column.head, _CITY):
        return False
    few = 2 <= column.distinct <= min(MOST_VALUES, column.given / LEAST_REPEATS)
    if not few or not (column.is_text or column.is_whole):
        return False
    return any(words.is_one_of(word, words.REQUEST_CONTEXT_WORDS) for word in column.parts.words)


def _place(columns: list[ColumnProfile]) -> dict[str, str]:
    """`latitude` and `longitude`, where columns of numbers have both names and fitting values."""
    found: dict[str, str] = {}
    for role, names, most in (
        ("latitude", words.LATITUDE, 90),
        ("longitude", words.LONGITUDE, 180),
    ):
        for column in columns:
            if not column.is_number or column.distinct < 2 or column.head not in names:
                continue
            if -most <= column.lowest and column.highest <= most:
                found.setdefault(role, column.name)
    return found if len(found) == 2 else {}
