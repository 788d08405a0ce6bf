"""The columns of the behaviour, the value and the request of an event log."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from tamis.data import column_names as words
from tamis.data.column_profile import ColumnProfile
from tamis.data.label_meanings import usual_meaning

_LARGE = 20
"""Rows from which the repetition of values is evidence."""


Attribute = Callable[[str], str | None]
"""Of which side a column is an attribute, "item" or "user"; None if of neither."""


def behaviour_column(rest: Iterable[ColumnProfile], attribute: Attribute) -> str | None:
    """The column of the names of behaviours: labels with usual meanings, or by its name."""
    best: tuple[float, str | None] = (0.0, None)
    for column in rest:
        labels = column.labels
        if not labels or not (column.is_text or column.is_whole) or column.is_truth:
            continue
        plain = words.plain(column.name)
        named = 1.0 - 0.02 * words.BEHAVIOUR.index(plain) if plain in words.BEHAVIOUR else 0.0
        if not named and words.is_one_of(column.head, _BEHAVIOUR_HEADS):
            named = 0.5
        bare = plain in ("type", "kind", "interaction")
        whose = set(column.parts.words[:-1]) & _BEHAVIOUR_HEADS
        by_words = bool(whose) or plain in words.BEHAVIOUR
        known = [label for label in labels if usual_meaning(label, by_words) is not None]
        if column.head in ("type", "kind", "interaction") and not known and not whose:
            named = named if bare and column.is_whole else 0.0  # of the item, of the device
        if column.is_whole and (not named or len(labels) > 12):
            continue
        if not named and column.is_text and words.is_one_of(column.head, words.RATING_WORDS):
            named = 0.5  # ratings in words
        if not named and len(labels) < 2:
            continue
        points = named + (len(known) / len(labels) if known else 0.0)
        if attribute(column.name) and (len(known) < 2 or not named):
            points -= 1.0
        if points >= 0.5 and points > best[0]:
            best = (points, column.name)
    return best[1]


def value_column(rest: Sequence[ColumnProfile], attribute: Attribute) -> str | None:
    """The column of a rating, of seconds or of an amount."""
    numbers = [
        c
        for c in rest
        if c.is_number and not c.is_truth and not c.parts.is_id and c.distinct
        and not _of_a_calendar(c) and not _OF_THE_REVIEW & set(c.parts.words)
    ]  # fmt: skip
    for column in numbers:  # returns are in the number of pieces, not in the price
        if column.lowest < 0 and words.is_one_of(column.head, words.QUANTITY_WORDS):
            return column.name
    own = [c for c in numbers if not attribute(c.name)]
    for some in (own, numbers):  # a price of the item says nothing of the event
        if name := _named_value(some):
            return name
    return next((c.name for c in numbers if _is_scale(c, attribute)), None)


_OF_THE_REVIEW = words.word_set("helpful helpfulness useful funny cool")
"""Words of the names of votes for a review, which say nothing of the item."""
_CALENDAR = {"hour": 24, "minute": 59, "weekday": 7, "dow": 7, "day": 31, "week": 53, "month": 12}
"""Last words of the names of parts of dates and clocks, and their largest numbers."""


def _of_a_calendar(column: ColumnProfile) -> bool:
    """Whether a column holds a part of a date or a clock, such as the hour from 0 to 23."""
    most = _CALENDAR.get(column.head)
    return most is not None and column.is_whole and 0 <= column.lowest <= column.highest <= most


def _is_scale(column: ColumnProfile, attribute: Attribute) -> bool:
    """Whether numbers without a telling name are ratings: all values of a usual scale occur."""
    if words.is_one_of(column.head, words.ATTRIBUTE_WORDS) or column.given < _LARGE:
        return False
    if attribute(column.name):
        return False
    return tuple(column.numbers) in _SCALES


def request_column(rest: Sequence[ColumnProfile]) -> str | None:
    """The column of the request, the basket or the session: it repeats, and is no number."""
    usable = [c for c in rest if c.distinct and not c.is_truth]
    fitting = [c for c in usable if c.given < _LARGE or c.unique < 0.999]
    by_name = {words.plain(c.name): c.name for c in reversed(usable)}
    named = next((by_name[name] for name in words.REQUEST if name in by_name), None)
    if named is not None and any(c.name == named for c in fitting):
        return named
    for column in fitting:
        if words.is_one_of(column.head, words.REQUEST_WORDS) and column.parts.is_id:
            return column.name
    return None


def _named_value(numbers: Sequence[ColumnProfile]) -> str | None:
    """The first column whose name says that it holds a rating, seconds or an amount."""
    by_name = {words.plain(c.name): c.name for c in reversed(numbers)}
    for name in (*words.RATING, *words.VALUE):
        if name in by_name:
            return by_name[name]
    for heads in (words.RATING_WORDS, words.WATCHED_WORDS):
        for column in numbers:
            if words.is_one_of(column.head, heads):
                return column.name
    for column in numbers:
        if words.SPENT_WORDS & set(column.parts.words):
            return column.name
    return next((c.name for c in numbers if words.is_one_of(c.head, words.AMOUNT_WORDS)), None)


_BEHAVIOUR_HEADS = words.word_set(
    "behaviour behavior event action interaction activity type kind 行为 操作 动作 事件"
)
_SCALES = frozenset(
    {
        tuple(float(v) for v in range(low, high + 1))
        for low, high in ((1, 5), (0, 5), (1, 10), (0, 10))
    }
    | {
        tuple(v / 2 for v in range(1, 11)),
        tuple(v / 2 for v in range(11)),
        (-1.0, 1.0),
        (-1.0, 0.0, 1.0),
    }
)
"""Usual scales of ratings, all of whose values occur."""
