"""`tamis experiment plan`: what an A/B test of the project could find, from its own log."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tamis.data import Dataset
from tamis.experiments import ArmMoments, Metric, detectable, estimate
from tamis.runtime import Float64, Int64
from tamis.schema import ConfigError, DataError, MetricTerm, find_metric
from tamis.service import ProjectFolder

DAY = 86_400_000
DURATIONS = (1, 2, 3, 7, 14, 21, 28, 42, 56)
"""Days that a test may run; full weeks hold each weekday equally often."""
FEWEST = 20
"""Users of a window below which its figures say nothing."""


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
        metric: the name of a metric in `[metrics]`, or an expression: `"click"`, events per user;
            `"click / show"`, a ratio of sums; `"sum(watch)"`, the sum of the events' values per
            user; `"active_days"`; `"returned(7) / observed(7)"`.
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
    folder = ProjectFolder(Path(project))
    data = folder.data
    terms = _terms(metric, folder)
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


def _terms(metric: str, folder: ProjectFolder) -> tuple[MetricTerm, ...]:
    """The numerator, and the denominator of a ratio."""
    terms = find_metric(metric, folder.config.metrics, folder.data.behaviours).terms
    of_answers = [term.text for term in terms if term.of_answers]
    if of_answers:
        raise ConfigError(
            f"metric {metric!r}: {of_answers[0]} is counted from the answers of a running service, "
            "which the log of events does not hold: plan with a metric of behaviours"
        )
    return terms


def _plan(
    data: Dataset,
    terms: tuple[MetricTerm, ...],
    days: int,
    share: float,
    power: float,
    alpha: float,
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
    known &= all(term.has_before for term in terms)
    with_before = smallest(estimate(moments, adjusted, moments).variance) if known else None
    return Plan(days, moments.n, one.value, smallest(one.variance), with_before)


def _active(data: Dataset, start: int, end: int) -> Int64:
    """The users with an event in [start, end), ascending."""
    events = data.events
    within = (events.time >= start) & (events.time < end) & (events.user >= 0)
    return np.unique(events.user[within]).astype(np.int64)


def _per_user(data: Dataset, term: MetricTerm, users: Int64, start: int, end: int) -> Float64:
    """(U,) a term of each user over his events in [start, end)."""
    events, n = data.events, len(data.users)
    within = (events.time >= start) & (events.time < end) & (events.user >= 0)
    if term.kind in ("events", "values"):
        codes = [data.code(name) for name in term.behaviours]
        within &= np.isin(events.behaviour, codes)
        values = np.nan_to_num(events.value[within], nan=0.0).astype(np.float64)
        weights = values if term.kind == "values" else None
        return np.bincount(events.user[within], weights, n)[users].astype(np.float64)
    user, time = events.user[within].astype(np.int64), events.time[within]
    if term.kind == "active_days":
        pairs = np.unique(np.stack([user, (time - start) // DAY], axis=1), axis=0)
        return np.bincount(pairs[:, 0], minlength=n)[users].astype(np.float64)
    first, last = np.full(n, end, np.int64), np.full(n, start, np.int64)
    np.minimum.at(first, user, time)
    np.maximum.at(last, user, time)
    until = last if term.kind == "returned" else np.full(n, end, np.int64)
    return (until - first >= term.days * DAY)[users].astype(np.float64)
