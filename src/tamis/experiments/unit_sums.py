"""The terms of metrics of each unit, summed up while events and answers stream by.

A term is counted twice: after the unit's first answer of the experiment, and before it, as a
covariate.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tamis.experiments.exposures import ArmComparison, UnitRows, Units
from tamis.experiments.moments import ArmMoments
from tamis.runtime import Bool, Float64, Int32, Int64
from tamis.schema import MetricTerm

DAY = 86_400_000
DELETED = -2
"""Behaviour of a row that says that its user was deleted: nothing from before it counts."""
CHUNK = 200_000
"""Units whose numbers are put side by side at once."""
_BITS = np.array([bin(k).count("1") for k in range(256)], np.uint8)
_OF_ANSWERS = {"answers": None, "shown": "shown", "degraded": "degraded", "took_ms": "took"}
"""Term → the column that it sums; None: it counts the rows."""


def before(term: MetricTerm) -> str:
    """The name of a term's column before the first answer."""
    return f"{term.text} before"


class UnitSums:
    """Sums of U units; memory is some 16 bytes per unit and term.

    Args:
        terms: of all metrics, each once.
        behaviours: names by their codes in the rows of events.
    """

    def __init__(
        self,
        comparison: ArmComparison,
        units: Units,
        terms: Sequence[MetricTerm],
        behaviours: Sequence[str],
    ) -> None:
        self._comparison, self._units, self._terms = comparison, units, terms
        self._codes = [
            np.array([*(name in t.behaviours for name in behaviours), False], np.bool_)
            for t in terms
        ]
        n = len(units)
        # the last place is that of behaviours that are not declared any more, code −1
        self._after = [np.zeros(n) for _ in terms]
        self._before = [np.zeros(n) for _ in terms]
        self._last = units.first.copy()
        self._gone = np.zeros(n, np.bool_)
        """Units whose user was deleted."""
        self._days = _Days(n, comparison) if any(t.kind == "active_days" for t in terms) else None
        self._pairs = {t.column: (_Pairs(), _Pairs()) for t in terms if t.kind == "distinct"}

    @property
    def names(self) -> tuple[str, ...]:
        """The columns of `moments`."""
        return (*(t.text for t in self._terms), *(before(t) for t in self._covariates))

    @property
    def _covariates(self) -> list[MetricTerm]:
        return [t for t in self._terms if t.has_before and self._comparison.before > 0]

    def add_events(self, rows: UnitRows) -> None:
        """Counts events, with columns `behaviour` and `value`."""
        deleted = np.flatnonzero(rows.of["behaviour"] == DELETED)
        start = 0
        for at in [*deleted.tolist(), len(rows)]:
            self._add_events(rows.take(slice(start, at)))
            if at < len(rows):
                self._forget(int(rows.unit[at]), int(rows.came[at]))
            start = at + 1

    def _add_events(self, rows: UnitRows) -> None:
        after, earlier = self._periods(rows)
        behaviour, value = rows.of["behaviour"], rows.of["value"]
        for k, term in enumerate(self._terms):
            if term.kind in ("events", "values"):
                counted = self._codes[k][behaviour]
                weight = value if term.kind == "values" else None
                self._sum(k, rows, counted, weight, after, earlier)
        self._active(rows, after, earlier)

    def add_answers(self, rows: UnitRows) -> None:
        """Counts answers, with columns `inside`, `shown`, `degraded` and `took`."""
        after, earlier = self._periods(rows)
        inside = after & rows.of["inside"]
        for k, term in enumerate(self._terms):
            if term.kind in _OF_ANSWERS:
                column = _OF_ANSWERS[term.kind]
                weight = None if column is None else rows.of[column].astype(np.float64)
                self._sum(k, rows, np.ones(len(rows), np.bool_), weight, inside, earlier)
        self._active(rows, after, earlier)

    def add_values(self, column: str, rows: UnitRows) -> None:
        """Counts different values of an item column, with columns `inside` and `code`."""
        after, earlier = self._periods(rows)
        for pairs, period in zip(
            self._pairs[column], (after & rows.of["inside"], earlier), strict=True
        ):
            pairs.add(rows.unit[period], rows.of["code"][period])

    def moments(self, group: Int32, groups: int, moment: int) -> list[ArmMoments]:
        """The moments of each of `groups` groups of units.

        Args:
            group: (U,) the group of each unit; −1: none.
            moment: now, in ms; units whose first answer is not before it are left out.
        """
        group = np.where(self._gone, np.int32(-1), group)
        found = [ArmMoments.empty(self.names) for _ in range(groups)]
        known = int(np.searchsorted(self._units.first, moment))
        distinct = {name: [p.counts(len(group)) for p in ps] for name, ps in self._pairs.items()}
        for start in range(0, known, CHUNK):
            part = slice(start, min(start + CHUNK, known))
            values = self._matrix(part, moment, distinct)
            for number in np.unique(group[part]).tolist():
                if number >= 0:
                    own = ArmMoments.of(self.names, values[group[part] == number])
                    found[number] = found[number] + own
        return found

    def _matrix(self, part: slice, moment: int, distinct: dict[str, list[Float64]]) -> Float64:
        """(n, K) the columns of some units."""
        after = [self._term(k, part, moment, 0, distinct) for k in range(len(self._terms))]
        kept = [k for k, term in enumerate(self._terms) if term in self._covariates]
        earlier = [self._term(k, part, moment, 1, distinct) for k in kept]
        return np.stack([*after, *earlier], axis=1)

    def _term(
        self, k: int, part: slice, moment: int, period: int, distinct: dict[str, list[Float64]]
    ) -> Float64:
        """(n,) a term of some units, after (period 0) or before (1) the first answer."""
        term, first = self._terms[k], self._units.first[part]
        if term.kind == "active_days":
            assert self._days is not None
            return self._days.counts(period, part)
        if term.kind == "distinct":
            return distinct[term.column][period][part]
        if term.kind == "returned":
            return (self._last[part] - first >= term.days * DAY).astype(np.float64)
        if term.kind == "observed":
            return (moment - first >= term.days * DAY).astype(np.float64)
        return (self._before if period else self._after)[k][part]

    def _periods(self, rows: UnitRows) -> tuple[Bool, Bool]:
        """(n,) whether each row is after the first answer, and whether in the time before it."""
        first = self._units.first[rows.unit]
        after = (rows.time >= first) & (rows.time < self._comparison.until)
        return after, (rows.time < first) & (rows.time >= first - self._comparison.before)

    def _sum(
        self,
        k: int,
        rows: UnitRows,
        counted: Bool,
        weight: Float64 | None,
        after: Bool,
        earlier: Bool,
    ) -> None:
        for sums, period in ((self._after[k], after), (self._before[k], earlier)):
            chosen = counted & period
            np.add.at(sums, rows.unit[chosen], 1.0 if weight is None else weight[chosen])

    def _active(self, rows: UnitRows, after: Bool, earlier: Bool) -> None:
        np.maximum.at(self._last, rows.unit[after], rows.time[after])
        if self._days is not None:
            for period, chosen in enumerate((after, earlier)):
                unit = rows.unit[chosen]
                since = rows.time[chosen] - self._units.first[unit]
                self._days.add(period, unit, since if period == 0 else -1 - since)

    def _forget(self, unit: int, came: int) -> None:
        """Takes back what is known of a user who is deleted. Those who are deleted after their
        first answer are in no arm any more: what they did is not known."""
        if came >= self._units.first[unit]:
            self._gone[unit] = True
        for sums in self._before:
            sums[unit] = 0.0
        if self._days is not None:
            self._days.forget(unit)


class _Days:
    """The days of units, counted from the first answer in both directions, as bits."""

    def __init__(self, units: int, comparison: ArmComparison) -> None:
        spans = (comparison.until - comparison.since, comparison.before)
        self._bits = [np.zeros((units, span // DAY // 8 + 1), np.uint8) for span in spans]

    def add(self, period: int, unit: Int32, since: Int64) -> None:
        """since: (n,) ms from the first answer, 0 or more, into the period."""
        day = since // DAY
        bit = np.left_shift(np.uint8(1), (day % 8).astype(np.uint8))
        np.bitwise_or.at(self._bits[period], (unit, day // 8), bit)

    def counts(self, period: int, part: slice) -> Float64:
        """(n,) days of some units."""
        return _BITS[self._bits[period][part]].sum(axis=1, dtype=np.float64)

    def forget(self, unit: int) -> None:
        """Takes the days of a unit from before its first answer back."""
        self._bits[1][unit] = 0


class _Pairs:
    """Different pairs of a unit and a value."""

    def __init__(self) -> None:
        self._known = np.zeros(0, np.int64)
        self._new: list[NDArray[np.int64]] = []
        self._size = 0

    def add(self, unit: Int32, code: Int32) -> None:
        """Takes pairs (n,)."""
        self._new.append(np.unique(unit.astype(np.int64) << 31 | code))
        self._size += len(self._new[-1])
        if self._size > 1_000_000 + len(self._known):
            self._join()

    def counts(self, units: int) -> Float64:
        """(units,) pairs of each unit."""
        self._join()
        return np.bincount(self._known >> 31, minlength=units).astype(np.float64)

    def _join(self) -> None:
        self._known = np.unique(np.concatenate([self._known, *self._new]))
        self._new, self._size = [], 0
