"""Proposes behaviours from numbers: ratings, seconds watched and amounts."""

from __future__ import annotations

from typing import Any

import polars as pl

from tamis.data import ColumnProfile
from tamis.onboarding._declared import Declared

_IMPLICIT = 0.2
"""Least share of zeros that are taken for events without a rating, where ratings begin at 1."""
_FEW_POSITIVE = 0.05
"""Ratings of 4 and 5 stars are the bound unless they are a smaller share than this."""


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


def _holds_unrated(numbers: pl.Series, above: pl.Series) -> bool:
    """Whether the lowest rating of a scale from 1 on means that the user gave none.

    Zeros do where they are frequent; -1 does where no 0 occurs.
    """
    if not len(above) or float(above.max() or 0.0) < 3:  # pyright: ignore[reportArgumentType]
        return False
    below = numbers.filter(numbers <= 0).unique().to_list()
    if below == [0.0]:
        return len(above) <= (1 - _IMPLICIT) * len(numbers)
    return below == [-1.0]


def from_ratings(declared: Declared, column: ColumnProfile) -> None:
    """Adds a positive `like`, a `rate`, and for zeros on a scale from 1 on an event without rating.

    Where all ratings are equal, every event is positive.
    """
    numbers = column.values.cast(pl.Float64, strict=False).drop_nulls()
    above = numbers.filter(numbers > 0)
    implicit = column.is_whole and _holds_unrated(numbers, above)
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
            "unrated": {"max_value": low, "weight": 0.0},
        }
        declared.comments["behaviours.unrated"] = (
            f"A rating of {low:g} on a scale from 1 on: the user gave none. Set positive = true "
            "and a weight if such an event shows interest."
        )
        note += (
            f"; {1 - len(above) / len(numbers):.0%} are {low:g}, taken for events without a rating"
        )
    else:
        behaviours["rate"] = {"weight": 0.0}
    declared.data["behaviours"] = behaviours
    declared.notes.append(note)


def from_seconds(declared: Declared, column: ColumnProfile) -> None:
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


def from_amounts(declared: Declared, column: ColumnProfile) -> None:
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
