"""Proposes behaviours: from labels, from ratings, from columns of outcomes, or from amounts."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Any, Literal

import numpy as np
import polars as pl

from tamis.data import ColumnProfile, EventLog, table_stem, truth_numbers, usual_meaning
from tamis.data import behaviour_names as usual_names
from tamis.data import column_names as words
from tamis.onboarding._declared import Declared
from tamis.onboarding._values import from_amounts, from_ratings, from_seconds

_PREFIXES = ("is_", "has_", "if_", "was_", "did_", "是否")
_PURCHASES = words.word_set(
    "order orders purchase purchases transaction transactions sales basket baskets checkins "
    "checkin invoices receipts"
)
"""Words of the names of logs whose rows are successes: flags of unknown names describe them."""


_GRADE = re.compile(r"[A-F][+-]?")
_FEW_OUTCOMES = 20
"""Most distinct texts of a column that may say what became of the row."""


def describe_behaviours(declared: Declared, log: EventLog) -> None:
    """Adds `behaviours`: of labels, ratings, columns of outcomes, seconds watched or amounts."""
    value = log.found.get("value")
    kind = value_kind(log.columns[value]) if value else None
    if "behaviour" in log.found:
        _from_labels(declared, log.columns[log.found["behaviour"]])
    elif value and kind == "rating":
        from_ratings(declared, log.columns[value])
    outcomes = outcome_columns(log)
    if outcomes:
        _from_outcomes(declared, log, outcomes)
    elif "behaviours" in declared.data:
        pass
    elif value and kind == "watched" and _varies(log.columns[value]):
        from_seconds(declared, log.columns[value])
    elif value and _has_returns(log.columns[value]):
        from_amounts(declared, log.columns[value])
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
    named = words.is_one_of(column.head, usual_names.OUTCOME_LABEL_WORDS | words.RATING_WORDS)
    return (
        named
        or sum(usual_meaning(label, by_words=False) is not None for label in column.labels) > 1
    )


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
    usual = usual_names.USUAL.get(_bare(column.name))
    if usual is None or usual.impression or not column.is_whole or column.parts.is_id:
        return False
    return column.lowest == 0


def _unwanted(column: ColumnProfile) -> bool:
    """Whether a column of true and false says that the item was unwanted or given back."""
    usual = _usual_outcome(column)
    return usual is not None and usual.name in usual_names.UNWANTED


def _usual_outcome(column: ColumnProfile) -> usual_names.Usual | None:
    return usual_names.USUAL.get(_bare(column.name)) or usual_names.USUAL.get(column.head)


def _bare(name: str) -> str:
    """The name without `is_` and the like."""
    plain = words.plain(name)
    for prefix in _PREFIXES:
        plain = plain.removeprefix(prefix)
    return plain


def _tells(column: ColumnProfile) -> bool:
    bare = _bare(column.name)
    return bare in usual_names.OUTCOME_WORDS or words.is_one_of(
        column.head, usual_names.OUTCOME_WORDS
    )


def _may_be_outcome(log: EventLog, column: ColumnProfile) -> bool:
    parts = {*words.plain(column.name).split("_"), _bare(column.name), column.head}
    if any(words.is_one_of(part, usual_names.CONTEXT_WORDS) for part in parts):
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


def _meaning_of_grade(label: str) -> usual_names.Usual:
    """A and B of the grades A to F are a success."""
    good = label[0] in "AB"
    return usual_names.Usual(2.0 if good else 0.0, positive=good, meaning="a grade")


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
            usual = usual_names.Usual(2.0, True, meaning="taken for the success")
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
        declared.data["behaviours"] = _of_every_row(declared, log, columns) | behaviours
    what = "an impression" if lone and "impression" in declared.data["behaviours"] else "an event"
    declared.notes.append(
        f"each row is {what}, and a further event where an outcome is true: {', '.join(rates)}"
    )


def _of_every_row(
    declared: Declared, log: EventLog, columns: list[str]
) -> dict[str, dict[str, Any]]:
    """The behaviour of the rows themselves, beside the outcomes in `columns`."""
    always = next((c for c in log.columns.values() if _always(c)), None)
    if always is not None:
        bare = _bare(always.name)
        name, usual = _key(bare, usual_names.USUAL[bare].name), usual_names.USUAL[bare]
        declared.outcomes.add(always.name)
        declared.comments[f"behaviours.{name}"] = f"Every row: `{always.name}` is true in all."
        declared.notes.append(f"`{always.name}` is true in all rows: each row is a `{name}`")
        return {name: {"weight": usual.weight} | ({"positive": True} if usual.positive else {})}
    name = _row_behaviour(log, columns)
    shown = name == "impression"
    declared.comments[f"behaviours.{name}"] = (
        "Every row: the item was shown."
        if shown
        else "Every row: the user knows the item, whatever came of it."
    )
    return {name: ({"impression": True} if shown else {}) | {"weight": 0.0}}


def _always(column: ColumnProfile) -> bool:
    """Whether a column with the name of a behaviour is true in all rows: the log of `click`."""
    usual = usual_names.USUAL.get(_bare(column.name))
    if usual is None or usual.impression or usual.name in usual_names.UNWANTED:
        return False
    return column.distinct == 1 and column.given == len(column.values) and column.top[0] in _TRUE


_TRUE = ("1", "1.0", "true", "True", "yes", "Y", "是")


def _row_behaviour(log: EventLog, columns: list[str]) -> str:
    """ "impression", or "rate" for a single column that is like a judgement of what is known."""
    if len(columns) > 1:
        return "impression"
    usual = usual_names.USUAL.get(_bare(columns[0]))
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
