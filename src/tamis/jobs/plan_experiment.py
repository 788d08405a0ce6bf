"""`tamis experiment plan`: what an A/B test of the project could find, from its own log."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tamis.data import Dataset
from tamis.experiments import ArmMoments, Metric, detectable, estimate
from tamis.runtime import Float64, Int64
from tamis.schema import ConfigError, DataError, suggest
from tamis.service import ProjectFolder

DAY = 86_400_000
DURATIONS = (1, 2, 3, 7, 14, 21, 28, 42, 56)
"""Days that a test may run; full weeks hold each weekday equally often."""
FEWEST = 20
"""Users of a window below which its figures say nothing."""
_TERM = re.compile(r"\s*(?:sum\(\s*(?P<sum>[^()/]+?)\s*\)|(?P<count>[^()/]+?))\s*$")


@dataclass(frozen=True)
class Plan:
    """A test of one duration, all users split as `share` says."""

    days: int
    users: int
    """Users with an event in the last so many days of the log."""
    value: float
    """The metric over them."""
    detectable: float
    """Smallest relative difference that the test finds with the wanted power."""
    with_before: float | None
    """The same with CUPED: each user's metric in the days before is taken off. None where the log
    is too short."""


@dataclass(frozen=True)
class ExperimentPlan:
    """The result of `tamis experiment plan`."""

    metric: str
    share: float
    power: float
    alpha: float
    plans: list[Plan]
    days: int | None
    """Shortest of the durations that finds `effect` with CUPED; None: none does, or not asked."""
    effect: float | None

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def plan_experiment(
    project: Path | str,
    metric: str,
    *,
    effect: float | None = None,
    share: float = 0.5,
    power: float = 0.8,
    alpha: float = 0.05,
) -> ExperimentPlan:
    """What tests of several durations would find, had they run at the end of the project's log.

    Args:
        metric: `"click"`, events per user; `"click / show"`, a ratio of sums; `"sum(watch)"`, the
            sum of the events' values per user; or a ratio of these.
        effect: the relative difference to be found, such as 0.02.
        share: of the users in the treatment.
        power: chance to find a true difference.
        alpha: chance to find one where there is none.

    A user's unit is all that he did during the test. Raises ConfigError for a metric of an unknown
    behaviour and for numbers out of range, DataError for a log of less than a day.
    """
    if effect is not None and not 0 < effect < 10:
        raise ConfigError(f"effect = {effect}: give a relative difference, such as 0.02 for 2 %")
    if not 0 < share < 1:
        raise ConfigError(f"share = {share}: give the treatment's share of users, such as 0.5")
    if not alpha < power < 1:
        raise ConfigError(f"power = {power}: give a number between {alpha} and 1, such as 0.8")
    data = ProjectFolder(Path(project)).data
    terms = _terms(metric, data)
    plans = [
        plan
        for days in DURATIONS
        if (plan := _plan(data, terms, days, share, power, alpha)) is not None
    ]
    if not plans:
        raise DataError(
            f"no window of {DURATIONS[0]} or more days of the log has {FEWEST} users and a metric "
            f"{metric!r} above 0: choose another metric, or wait for more events"
        )
    found = None
    if effect is not None:
        fits = [p.days for p in plans if min(p.detectable, p.with_before or np.inf) <= effect]
        found = fits[0] if fits else None
    return ExperimentPlan(metric, share, power, alpha, plans, found, effect)


@dataclass(frozen=True)
class _Term:
    """A count of events, or a sum of their values."""

    behaviours: tuple[int, ...]
    values: bool


def _terms(metric: str, data: Dataset) -> list[_Term]:
    """The numerator, and the denominator of a ratio."""
    parts = metric.split("/")
    if len(parts) > 2:
        raise ConfigError(f"metric {metric!r} has {len(parts)} parts: give A, or A / B")
    return [_term(part, metric, data) for part in parts]


def _term(text: str, metric: str, data: Dataset) -> _Term:
    match = _TERM.match(text)
    if match is None:
        raise ConfigError(
            f"metric {metric!r}: {text.strip()!r} is neither a behaviour nor sum(behaviour)"
        )
    name = match["sum"] or match["count"]
    codes = tuple(
        code for code, b in enumerate(data.behaviours) if name in (b.name, b.label or b.name)
    )
    if not codes:
        known = [b.name for b in data.behaviours]
        raise ConfigError(
            f"metric {metric!r}: there is no behaviour {name!r}; the project declares "
            f"{', '.join(known)}.{suggest(name, known)}"
        )
    return _Term(codes, match["sum"] is not None)


def _plan(
    data: Dataset, terms: list[_Term], days: int, share: float, power: float, alpha: float
) -> Plan | None:
    """The test of one duration; None where the log is too short or too empty."""
    end = int(data.events.time.max()) + 1
    start = end - days * DAY
    first = int(data.events.time.min())
    if first > start:
        return None
    users = _active(data, start, end)
    if len(users) < max(FEWEST, 2 / min(share, 1 - share)):
        return None
    during = [_per_user(data, term, users, start, end) for term in terms]
    before_start = start - days * DAY
    before = [_per_user(data, term, users, before_start, start) for term in terms]
    names = tuple(f"{when}{k}" for when in ("during", "before") for k in range(len(terms)))
    moments = ArmMoments.of(names, np.stack(during + before, axis=1))
    ratio = len(terms) == 2
    plain = Metric("during0", "during1" if ratio else None)
    adjusted = Metric("during0", plain.denominator, "before0", "before1" if ratio else None)
    one = estimate(moments, plain, moments)
    if not one.value > 0:
        return None

    def smallest(variance: float) -> float:
        deviation = float(np.sqrt(variance * moments.n))
        found = detectable(moments.n, deviation, share=share, alpha=alpha, wanted=power)
        return found / one.value

    known = first <= before_start and bool((before[-1] > 0).any())
    with_before = smallest(estimate(moments, adjusted, moments).variance) if known else None
    return Plan(days, moments.n, one.value, smallest(one.variance), with_before)


def _active(data: Dataset, start: int, end: int) -> Int64:
    """The users with an event in [start, end), ascending."""
    events = data.events
    within = (events.time >= start) & (events.time < end) & (events.user >= 0)
    return np.unique(events.user[within]).astype(np.int64)


def _per_user(data: Dataset, term: _Term, users: Int64, start: int, end: int) -> Float64:
    """(U,) the count or sum of each user's events in [start, end)."""
    events = data.events
    counted = np.isin(events.behaviour, term.behaviours)
    counted &= (events.time >= start) & (events.time < end) & (events.user >= 0)
    weight = np.nan_to_num(events.value[counted], nan=0.0).astype(np.float64)
    sums = np.bincount(
        events.user[counted],
        weights=weight if term.values else None,
        minlength=len(data.users),
    )
    return sums[users].astype(np.float64)
