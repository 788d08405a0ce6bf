"""What the values of a column say about its role: distinct values, times, numbers, 0 and 1."""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import polars as pl

from tamis.data.column_names import NOBODY, NameParts, name_parts, plain
from tamis.data.numbers import is_number
from tamis.data.outcomes import truth_numbers
from tamis.data.times import parse_times

SAMPLE = 10_000
"""Values, evenly spaced, that are parsed as times and as numbers."""
FEW_LABELS = 50
"""Most distinct values of a column of labels."""
EARLIEST_MS = 631_152_000_000
"""1990-01-01: numbers that mean earlier times are hardly the times of a log."""
LATEST_MS = 366 * 86_400_000
"""Numbers that mean times later than this after now are hardly the times of a log."""


@dataclass(frozen=True)
class TimeEvidence:
    """How the values of a column read as times."""

    share: float
    """Share of the given values in the sample that are times, in [0, 1]."""
    plausible: float
    """Share of the given values that are times since 1990 and not in the future."""
    unit: str
    """As `Times.unit`."""
    small: bool
    """Most are numbers too small for a date."""
    example: str
    """A value that is not a time; empty if all are."""
    distinct: int
    """Distinct times in the sample."""
    below_a_day: bool
    """Whether the times are finer than dates."""
    excel: bool = False
    """The numbers are days of a spreadsheet, if they are times at all."""


@dataclass(frozen=True, eq=False)
class ColumnProfile:
    """A column of a table with the properties of its values, each computed on first use."""

    values: pl.Series = field(repr=False)
    """(n,) in the type that nearly all values fit."""

    @property
    def name(self) -> str:
        return self.values.name

    @cached_property
    def parts(self) -> NameParts:
        return name_parts(self.name)

    @property
    def head(self) -> str:
        """The last word of the name."""
        return self.parts.head

    @cached_property
    def given(self) -> int:
        """Number of values that are not missing."""
        return len(self.values) - self.values.null_count()

    @property
    def missing(self) -> float:
        """Share of missing values, in [0, 1]."""
        return 1.0 - self.given / max(len(self.values), 1)

    @cached_property
    def distinct(self) -> int:
        """Number of distinct given values; 0 for lists and structs."""
        if self.values.dtype.is_nested() or self.values.dtype == pl.Binary:
            return 0
        return self.values.n_unique() - (self.values.null_count() > 0)

    @property
    def unique(self) -> float:
        """Distinct values / given values, in [0, 1]."""
        return self.distinct / max(self.given, 1)

    @property
    def is_text(self) -> bool:
        return isinstance(self.values.dtype, pl.String | pl.Categorical | pl.Enum)

    @property
    def is_number(self) -> bool:
        return is_number(self.values.dtype)

    @cached_property
    def sample(self) -> pl.Series:
        """Up to `SAMPLE` given values, evenly spaced."""
        known = self.values.drop_nulls()
        return known.gather_every(max(1, len(known) // SAMPLE)).head(SAMPLE)

    @cached_property
    def is_whole(self) -> bool:
        """Numbers without fractions."""
        if not self.is_number:
            return False
        if self.values.dtype.is_integer():
            return True
        some = self.sample.cast(pl.Float64)
        return bool((some == some.round()).all())

    @cached_property
    def is_truth(self) -> bool:
        """Whether the values are true and false, in any usual spelling, or 0 and 1."""
        if self.values.dtype == pl.Boolean:
            return self.distinct > 0
        if self.distinct != 2 or self.values.dtype.is_nested() or self.values.dtype.is_temporal():
            return False
        number, bad = truth_numbers(self.values.drop_nulls().unique())
        return not bad.any() and set(number.tolist()) == {0.0, 1.0}

    @cached_property
    def labels(self) -> list[str]:
        """The distinct values as text, most frequent first, if there are at most `FEW_LABELS`."""
        if self.distinct > FEW_LABELS or self.distinct == 0:
            return []
        known = self.values.drop_nulls().cast(pl.String).alias("label")
        return known.value_counts(sort=True)["label"].to_list()

    @cached_property
    def top(self) -> tuple[str, float, float]:
        """The most frequent value as text, its share and that of the next one among the given."""
        if not self.distinct:
            return "", 0.0, 0.0
        counts = self.values.drop_nulls().alias("v").value_counts(sort=True, name="n").head(2)
        shares = (counts["n"] / self.given).to_list()
        return str(counts["v"][0]), shares[0], shares[1] if len(shares) > 1 else 0.0

    @cached_property
    def placeholder(self) -> str | None:
        """A value that stands for an unknown id, such as -1 or `guest`; None without one.

        It is a usual one, and several times as frequent as any other value.
        """
        value, share, following = self.top
        if value.strip().lower() not in NOBODY or share < 0.02 or share < 5 * following:
            return None
        if value == "0" and self.is_number and self.distinct > 1 and share < 0.05:
            return None
        return value

    @cached_property
    def numbers(self) -> list[float]:
        """The distinct numbers, ascending, if there are at most 1,000."""
        if not self.is_number or self.distinct > 1000:
            return []
        values = self.values.drop_nulls().unique().cast(pl.Float64).sort()
        return [v for v in values.to_list() if np.isfinite(v)]

    @cached_property
    def lowest(self) -> float:
        """The smallest number; NaN for other columns."""
        return self._extreme(self.values.min())

    @cached_property
    def highest(self) -> float:
        """The largest number; NaN for other columns."""
        return self._extreme(self.values.max())

    def _extreme(self, value: object) -> float:
        return float(str(value)) if self.is_number and value is not None else float("nan")

    @cached_property
    def words_per_value(self) -> float:
        """Mean number of words of the texts; 1 for other columns."""
        if not self.is_text:
            return 1.0
        counts = self.sample.cast(pl.String).str.count_matches(r"\S+")
        return float(counts.mean() or 1.0)  # pyright: ignore[reportArgumentType]

    @cached_property
    def length(self) -> float:
        """Mean number of characters of the texts; 0 for other columns."""
        if not self.is_text:
            return 0.0
        return float(self.sample.cast(pl.String).str.len_chars().mean() or 0.0)  # pyright: ignore[reportArgumentType]

    @cached_property
    def holds_lists(self) -> bool:
        """Whether the texts hold several ids each, such as `N1-0 N2-1`, or the values are lists."""
        if isinstance(self.values.dtype, pl.List | pl.Array):
            return True
        if not self.is_text or self.times.share > 0.5:
            return False
        parts = self.sample.cast(pl.String).str.strip_chars("[](){} ").str.split(" ")
        for separator in ("|", ";", ","):
            if float((parts.list.len() > 1).mean() or 0.0) >= 0.3:  # pyright: ignore[reportArgumentType]
                break
            parts = self.sample.cast(pl.String).str.split(separator)
        several = parts.filter(parts.list.len() > 1)
        if len(several) < 0.3 * len(parts) or not len(several):
            return False
        if several.list.len().n_unique() == 1 and several.list.first().n_unique() <= 3:
            return False  # `+49 170 1234567`: the parts of one code
        words = several.explode().str.strip_chars().drop_nulls()
        codes = float(words.str.contains(r"^\S*\d\S*$").mean() or 0.0)  # pyright: ignore[reportArgumentType]
        return codes > 0.9

    @cached_property
    def times(self) -> TimeEvidence:
        """How the values read as times."""
        none = TimeEvidence(0.0, 0.0, "", False, "", 0, False)
        dtype = self.values.dtype
        if dtype.is_nested() or dtype == pl.Boolean or dtype == pl.Binary or not self.given:
            return none
        some = self.sample
        parsed = parse_times(some)
        excel = parsed.excel
        if excel:
            parsed = parse_times(some, "excel")
        lost = parsed.bad | parsed.other_unit
        good = parsed.ms[~(lost | parsed.missing)]
        given = max(len(some) - int(parsed.missing.sum()), 1)
        now = int(clock.time() * 1000)
        likely = (good >= EARLIEST_MS) & (good <= now + LATEST_MS)
        example = str(some[int(np.flatnonzero(lost)[0])]) if lost.any() else ""
        if parsed.small:
            return TimeEvidence(0.0, 0.0, parsed.unit, True, str(some[0]), 0, False)
        return TimeEvidence(
            share=len(good) / given,
            plausible=float(likely.sum()) / given,
            unit=parsed.unit,
            small=False,
            example=example,
            distinct=len(np.unique(good)),
            below_a_day=bool((good % 86_400_000 != 0).any()),
            excel=excel,
        )

    @property
    def example(self) -> str:
        """The first given value, for messages."""
        if not self.given:
            return ""
        value = self.sample[0]
        return str(value.to_list() if isinstance(value, pl.Series) else value)[:60]


def columns_of_table(frame: pl.DataFrame) -> dict[str, ColumnProfile]:
    """The columns of a table by name, in their order."""
    return {values.name: ColumnProfile(values) for values in frame}


def named_column(
    frame: pl.DataFrame, names: Sequence[str], fits: Callable[[pl.Series], bool] | None = None
) -> str | None:
    """The column with the first of `names` (in snake case) whose values pass `fits`, or None."""
    by_name = {plain(c): c for c in reversed(frame.columns)}
    for name in names:
        if name in by_name and (fits is None or fits(frame[by_name[name]])):
            return by_name[name]
    return None


def is_time(column: pl.Series) -> bool:
    """Whether at least half of the values are times after 1973."""
    return ColumnProfile(column).times.share >= 0.5
