"""Proposes behaviours: from labels, from ratings, from columns of outcomes, or from amounts."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import polars as pl

from tamis.data import ColumnProfile, EventLog, table_stem, truth_numbers, usual_meaning
from tamis.data import column_names as words

_PREFIXES = ("is_", "has_", "if_", "was_", "did_", "是否")
_PURCHASES = words.word_set(
    "order orders purchase purchases transaction transactions sales basket baskets checkins "
    "checkin invoices receipts"
)
"""Words of the names of logs whose rows are successes: flags of unknown names describe them."""
_IMPLICIT = 0.2
"""Least share of zeros that are taken for events without a rating, where ratings begin at 1."""
_FEW_POSITIVE = 0.05
"""Ratings of 4 and 5 stars are the bound unless they are a smaller share than this."""


_GRADE = re.compile(r"[A-F][+-]?")
_FEW_OUTCOMES = 20
"""Most distinct texts of a column that may say what became of the row."""


@dataclass
class Declared:
    """The declaration under construction, with its comments and notes (see `table_guess.Guess`)."""

    data: dict[str, Any]
    comments: dict[str, str]
    notes: list[str]
    outcomes: set[str] = field(default_factory=set[str])
    """Columns of the log that became behaviours of their own."""


def describe_behaviours(declared: Declared, log: EventLog) -> None:
    """Adds `behaviours`: of labels, ratings, columns of outcomes, seconds watched or amounts."""
    value = log.found.get("value")
    kind = value_kind(log.columns[value]) if value else None
    if "behaviour" in log.found:
        _from_labels(declared, log.columns[log.found["behaviour"]])
    elif value and kind == "rating":
        _from_ratings(declared, log.columns[value])
    outcomes = outcome_columns(log)
    if outcomes:
        _from_outcomes(declared, log, outcomes)
    elif "behaviours" in declared.data:
        pass
    elif value and kind == "watched" and _varies(log.columns[value]):
        _from_seconds(declared, log.columns[value])
    elif value and _has_returns(log.columns[value]):
        _from_amounts(declared, log.columns[value])
    else:
        declared.data["behaviours"] = {"interaction": {"positive": True}}
        declared.comments["behaviours.interaction"] = "Every event counts as a success."
        declared.notes.append(
            "no column of behaviours, ratings or outcomes: every event is a positive `interaction`"
        )


def _has_returns(column: ColumnProfile) -> bool:
    """Whether an amount below 0 occurs, or a quantity of 0."""
    if words.is_one_of(column.head, words.PRICE_WORDS):
        return column.lowest < 0
    return column.lowest <= 0


def value_kind(column: ColumnProfile) -> Literal["rating", "watched", "amount"]:
    """What the numbers in the value column are, by its name, or else by their range."""
    head = column.head
    if words.is_one_of(head, words.WATCHED_WORDS) or "play_time" in words.plain(column.name):
        return "watched"
    if words.is_one_of(head, words.AMOUNT_WORDS):
        return "amount"
    if words.is_one_of(head, words.RATING_WORDS):
        return "rating"
    if words.SPENT_WORDS & set(column.parts.words):
        return "watched"
    if head == "value" and column.highest > 100:
        return "amount"
    return "rating"


def outcome_columns(log: EventLog) -> list[str]:
    """The unused columns of true and false, or 0 and 1, that say what became of a row.

    Columns with a telling name (`is_click`, `label`) come first and alone; without any, and without
    a rating or behaviours, those of other names. Attributes of users or items, and columns whose
    name says something else (`is_weekend`), are none.
    """
    rest = _rest(log, log.found.values())
    flags = [c for c in rest if c.is_truth and c.distinct == 2 and _may_be_outcome(log, c)]
    flags = _without_opposites(flags)
    telling = [c.name for c in flags if _tells(c)]
    if telling:
        # The other rows of an outcome that is unwanted (`skipped`) are no successes by that alone.
        return [] if all(_unwanted(log.columns[name]) for name in telling) else telling
    value = log.found.get("value")
    rated = value is not None and value_kind(log.columns[value]) in ("rating", "watched")
    if "behaviour" in log.found or rated or _PURCHASES & set(table_stem(log.file).split("_")):
        return []
    return [c.name for c in flags]


def unused_columns(log: EventLog, used: Collection[str]) -> tuple[list[str], list[str]]:
    """The columns of the log that are not in `used`: (like outcomes, the others)."""
    rest = _rest(log, used)
    read = [log.columns[c] for c in used if c in log.columns and log.columns[c].is_truth]
    like = [c.name for c in rest if looks_like_outcome(log, c) and not _is_opposite(c, read)]
    return like, [c.name for c in rest if c.name not in like]


def looks_like_outcome(log: EventLog, column: ColumnProfile) -> bool:
    """Whether a column may say what became of the row: 0/1, true/false, ratings or behaviours."""
    if not _may_be_outcome(log, column):
        return False
    if column.is_truth:
        return column.distinct == 2
    if column.is_number:
        rated = words.is_one_of(column.head, words.RATING_WORDS)
        return column.distinct > 1 and (rated or _counts(column))
    if not 1 < len(column.labels) <= _FEW_OUTCOMES:
        return False
    named = words.is_one_of(column.head, words.OUTCOME_LABEL_WORDS | words.RATING_WORDS)
    return named or sum(usual_meaning(label) is not None for label in column.labels) > 1


def outcome_advice(log: EventLog, name: str) -> str:
    """How to use a column that looks like an outcome, by the type of its values."""
    column = log.columns[name]
    if column.is_truth and _unwanted(column):
        return (
            f'to learn from it, add [behaviours.NAME] with column = "{name}" and weight = 0; where '
            "it is true, the event of the row itself stays positive"
        )
    if column.is_truth or _counts(column):
        return f'to make it a behaviour, add [behaviours.NAME] with column = "{name}"'
    option = "value" if column.is_number else "behaviour"
    return f'to read it, tamis init DIR --force --{option} "{name}"'


def _rest(log: EventLog, used: Iterable[str]) -> list[ColumnProfile]:
    taken = set(used)
    return [c for name, c in log.columns.items() if name not in taken]


def _counts(column: ColumnProfile) -> bool:
    """Whether whole numbers from 0 on count what came of a row: `clicks` of 0, 1 and 2."""
    usual = words.USUAL.get(_bare(column.name))
    if usual is None or usual.impression or not column.is_whole or column.parts.is_id:
        return False
    return column.lowest == 0


def _unwanted(column: ColumnProfile) -> bool:
    """Whether a column of true and false says that the item was unwanted or given back."""
    usual = _usual_outcome(column)
    return usual is not None and usual.name in words.UNWANTED


def _usual_outcome(column: ColumnProfile) -> words.Usual | None:
    return words.USUAL.get(_bare(column.name)) or words.USUAL.get(column.head)


def _bare(name: str) -> str:
    """The name without `is_` and the like."""
    plain = words.plain(name)
    for prefix in _PREFIXES:
        plain = plain.removeprefix(prefix)
    return plain


def _tells(column: ColumnProfile) -> bool:
    bare = _bare(column.name)
    return bare in words.OUTCOME_WORDS or words.is_one_of(column.head, words.OUTCOME_WORDS)


def _may_be_outcome(log: EventLog, column: ColumnProfile) -> bool:
    parts = {*words.plain(column.name).split("_"), _bare(column.name), column.head}
    if any(words.is_one_of(part, words.CONTEXT_WORDS) for part in parts):
        return False
    return log.is_attribute(column.name) is None


def _without_opposites(flags: list[ColumnProfile]) -> list[ColumnProfile]:
    """The columns without those that are 1 where an earlier or a better-named one is 0."""
    kept: list[ColumnProfile] = []
    for column in sorted(flags, key=lambda c: not _tells(c)):
        if not _is_opposite(column, kept):
            kept.append(column)
    return [c for c in flags if c in kept]


def _is_opposite(column: ColumnProfile, others: Iterable[ColumnProfile]) -> bool:
    """Whether a column of 0 and 1 is 1 where one of the others is 0."""
    if not column.is_truth:
        return False
    number = _truth(column)
    return any(np.array_equal(number + _truth(other), np.ones_like(number)) for other in others)


def _truth(column: ColumnProfile) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return truth_numbers(column.values)[0]


def _varies(column: ColumnProfile) -> bool:
    return column.distinct > 1


def _from_labels(declared: Declared, column: ColumnProfile) -> None:
    """Adds a behaviour per label, most frequent first, with the usual meaning of its name."""
    counts = column.values.cast(pl.String).drop_nulls().value_counts(sort=True)
    behaviours: dict[str, dict[str, Any]] = {}
    shown = False
    grades = len(counts) > 2 and all(map(_GRADE.fullmatch, counts[column.name]))
    for label, count in counts.iter_rows():
        usual = _meaning_of_grade(label) if grades else usual_meaning(label)
        name = _key(label, usual.name if usual and usual.name not in behaviours else "")
        if usual and name == "behaviour":  # an emoji
            name = usual.name
        name = _free(name, behaviours)
        entry: dict[str, Any] = {} if name == label else {"label": label}
        if usual is None:
            entry["weight"] = 0.0
            meaning = "unknown name: set positive = true and a weight if it is a success"
        else:
            entry["weight"], meaning = usual.weight, usual.meaning
            entry |= {"positive": True} if usual.positive else {}
            entry |= {"impression": True} if usual.impression else {}
        shown |= bool(entry.get("impression"))
        behaviours[name] = entry
        declared.comments[f"behaviours.{name}"] = f"{count:,} events: {meaning}."
    if not any(entry.get("positive") for entry in behaviours.values()):
        first = next((n for n, e in behaviours.items() if not e.get("impression")), None)
        if first is not None:
            behaviours[first] |= {"positive": True, "weight": 1.0}
            declared.notes.append(
                "no behaviour has a usual name of a success: the most frequent, "
                f"`{first}`, is taken; correct `positive` in [behaviours]"
            )
    declared.data["behaviours"] = behaviours
    good = [name for name, entry in behaviours.items() if entry.get("positive")]
    declared.notes.append(
        f"behaviours {', '.join(behaviours)} by `{column.name}`; positive: {', '.join(good)}"
        + ("" if shown else "; no impressions, so the ranker trains on replayed recall")
    )


def _meaning_of_grade(label: str) -> words.Usual:
    """A and B of the grades A to F are a success."""
    good = label[0] in "AB"
    return words.Usual(2.0 if good else 0.0, positive=good, meaning="a grade")


def positive_bound(values: pl.Series) -> float | None:
    """The rating from which on an event is positive: above the lowest; None if all are equal.

    4 of 5 stars; on other scales the smallest value that at most 60 % of the events reach.

    values: (n,) given ratings.
    """
    numbers = values.cast(pl.Float64).drop_nulls().drop_nans()
    distinct = numbers.unique().sort()
    if len(distinct) < 2:
        return None
    low, high = float(distinct[0]), float(distinct[-1])
    if low >= 0 and 4 <= high <= 5 and float((numbers >= 4).mean() or 0.0) >= _FEW_POSITIVE:  # pyright: ignore[reportArgumentType]
        return 4.0 if low < 4 else float(distinct[1])
    usual = float(numbers.quantile(0.4, interpolation="higher") or 0.0)
    return max(usual, float(distinct[1]))


def _from_ratings(declared: Declared, column: ColumnProfile) -> None:
    """Adds a positive `like`, a `rate`, and for zeros on a scale from 1 on an event without rating.

    Where all ratings are equal, every event is positive.
    """
    numbers = column.values.cast(pl.Float64, strict=False).drop_nulls()
    above = numbers.filter(numbers > 0)
    implicit = (
        column.is_whole and len(above) > 0 and float(numbers.min() or 0.0) == 0.0  # pyright: ignore[reportArgumentType]
        and float(above.max() or 0.0) >= 3 and len(above) <= (1 - _IMPLICIT) * len(numbers)  # pyright: ignore[reportArgumentType]
    )  # fmt: skip
    bound = positive_bound(above if implicit else numbers)
    if bound is None:
        declared.data["behaviours"] = {"interaction": {"positive": True}}
        declared.notes.append(
            f"all ratings in `{column.name}` are {numbers[0]:g}: every event is a positive "
            "`interaction`"
        )
        return
    low, high = (float(v or 0.0) for v in (numbers.min(), numbers.max()))  # pyright: ignore[reportArgumentType]
    share = float((numbers >= bound).sum()) / max(len(numbers), 1)
    behaviours: dict[str, dict[str, Any]] = {"like": {"min_value": bound, "positive": True}}
    declared.comments["behaviours.like"] = f"A rating of at least {bound:g} is a success."
    declared.comments["behaviours.rate"] = "A lower rating only shows that the user knows the item."
    note = (
        f"ratings in `{column.name}` from {low:g} to {high:g}: {bound:g} and above are the "
        f"positive `like` ({share:.0%} of the events)"
    )
    if implicit:
        least = float(above.min() or 1.0)  # pyright: ignore[reportArgumentType]
        behaviours |= {
            "rate": {"min_value": least, "weight": 0.0},
            "unrated": {"max_value": 0.0, "weight": 0.0},
        }
        declared.comments["behaviours.unrated"] = (
            "A rating of 0 on a scale from 1 on: the user gave none. Set positive = true and a "
            "weight if such an event shows interest."
        )
        note += f"; {1 - len(above) / len(numbers):.0%} are 0, taken for events without a rating"
    else:
        behaviours["rate"] = {"weight": 0.0}
    declared.data["behaviours"] = behaviours
    declared.notes.append(note)


def _from_seconds(declared: Declared, column: ColumnProfile) -> None:
    """Adds a positive `watch` from a bound on, and a `skip` below."""
    numbers = column.values.cast(pl.Float64, strict=False).drop_nulls()
    distinct = numbers.unique().sort()
    usual = float(numbers.quantile(0.4, interpolation="higher") or 0.0)
    bound = max(usual, float(distinct[1]))
    share = float((numbers >= bound).sum()) / max(len(numbers), 1)
    declared.data["behaviours"] = {
        "watch": {"min_value": bound, "positive": True},
        "skip": {"weight": 0.0},
    }
    declared.comments["behaviours.watch"] = f"A `{column.name}` of at least {bound:g} is a success."
    declared.comments["behaviours.skip"] = "Less only shows that the user knows the item."
    declared.notes.append(
        f"`{column.name}` from {float(distinct[0]):g} to {float(distinct[-1]):g}: {bound:g} and "
        f"above are the positive `watch` ({share:.0%} of the events)"
    )


def _from_amounts(declared: Declared, column: ColumnProfile) -> None:
    """Adds a positive `purchase` of amounts above 0, and a `return` of the others."""
    numbers = column.values.cast(pl.Float64, strict=False).drop_nulls()
    above = numbers.filter(numbers > 0)
    if not len(above):
        declared.data["behaviours"] = {"interaction": {"positive": True}}
        declared.notes.append(f"no `{column.name}` is above 0: every event is positive")
        return
    share = float((numbers > 0).sum()) / max(len(numbers), 1)
    declared.data["behaviours"] = {
        "purchase": {"min_value": float(above.min() or 0.0), "positive": True},  # pyright: ignore[reportArgumentType]
        "return": {"max_value": 0.0, "weight": 0.0},
    }
    declared.comments["behaviours.purchase"] = f"`{column.name}` above 0."
    declared.comments["behaviours.return"] = f"`{column.name}` of 0 or below: taken back."
    declared.notes.append(
        f"`{column.name}` above 0 is a positive `purchase` ({share:.0%} of the events), 0 and "
        "below a `return`"
    )


def _from_outcomes(declared: Declared, log: EventLog, columns: list[str]) -> None:
    """Adds a behaviour per column of an outcome, beside what the row itself is."""
    behaviours: dict[str, dict[str, Any]] = declared.data.setdefault("behaviours", {})
    lone = not behaviours
    added: list[str] = []
    rates: list[str] = []
    for column in columns:
        bare = _bare(column)
        usual = _usual_outcome(log.columns[column])
        if usual is None:
            usual = words.Usual(2.0, True, meaning="taken for the success")
        name = _free(_key(bare, usual.name), {**behaviours, "impression": {}, "rate": {}})
        entry: dict[str, Any] = {"column": column, "weight": usual.weight}
        entry |= {"positive": True} if usual.positive or usual.impression else {}
        behaviours[name] = entry
        rate = float(np.nan_to_num(_truth(log.columns[column])).mean())
        rates.append(f"`{column}` {rate:.2%}")
        declared.comments[f"behaviours.{name}"] = (
            f"`{column}` is true in {rate:.2%} of the rows: {usual.meaning}."
        )
        added.append(name)
    if not any(entry.get("positive") for entry in behaviours.values()):
        wanted = [n for n, c in zip(added, columns, strict=True) if not _unwanted(log.columns[c])]
        behaviours[wanted[0]] |= {"positive": True, "weight": 1.0}
    declared.outcomes |= set(columns)
    if lone:
        self_ = _row_behaviour(log, columns)
        base: dict[str, Any] = {"impression": True} if self_ == "impression" else {}
        declared.data["behaviours"] = {self_: {**base, "weight": 0.0}, **behaviours}
        declared.comments[f"behaviours.{self_}"] = (
            "Every row: the item was shown."
            if base
            else "Every row: the user knows the item, whatever came of it."
        )
    what = "an impression" if lone and "impression" in declared.data["behaviours"] else "an event"
    declared.notes.append(
        f"each row is {what}, and a further event where an outcome is true: {', '.join(rates)}"
    )


def _row_behaviour(log: EventLog, columns: list[str]) -> str:
    """ "impression", or "rate" for a single column that is like a judgement of what is known."""
    if len(columns) > 1:
        return "impression"
    usual = words.USUAL.get(_bare(columns[0]))
    if usual is not None:
        return "rate" if usual.name == "like" else "impression"
    return (
        "rate"
        if float(np.nan_to_num(_truth(log.columns[columns[0]])).mean()) > 0.5
        else "impression"
    )


def _key(label: str, usual: str) -> str:
    """The label as a key of TOML and a name in expressions: of ASCII letters where possible."""
    plain = re.sub(r"[^\w-]+", "_", label.strip()).strip("_")
    if plain.isascii() and plain:
        return plain
    return usual or plain or "behaviour"


def _free(name: str, taken: dict[str, Any]) -> str:
    """The name, with a number if it is taken."""
    free, number = name, 2
    while free in taken:
        free, number = f"{name}_{number}", number + 1
    return free
