"""What an A/B test could find, before it starts: from the project's log, or from known figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import ceil, sqrt
from pathlib import Path
from typing import Any

import numpy as np

from tamis.data import Dataset
from tamis.experiments import ArmMoments, Metric, detectable, estimate, sample_size
from tamis.runtime import Float64, Int64
from tamis.schema import ConfigError, DataError, MetricTerm, ProjectConfig, find_metric
from tamis.service.project_folder import ProjectFolder

DAY = 86_400_000
DURATIONS = (1, 2, 3, 7, 14, 21, 28, 42, 56)
"""Days that a test may run; full weeks hold each weekday equally often."""
FEWEST = 20
"""Users of a window below which its figures say nothing."""
MOST_USERS = 1e10
"""Users a day that can be planned with."""
MOST_PLANNED = 10**15
"""Users of a test that can be planned."""
LEAST_EFFECT = 1e-6
"""Relative difference that can be planned for."""
LEAST_PART = 1e-6
"""Share of the users that an arm has at least."""
LEAST_ALPHA = 1e-12
LEAST_VALUE, MOST_VALUE = 1e-9, 1e12
MOST_VARIANCE = 1e30
"""With these the number of users is always finite."""


class PlanOptionError(ConfigError):
    """An option of a plan is wrong.

    field: its name.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True)
class Plan:
    """A test of one duration, all users split as `share` says."""

    days: int
    users: int
    """Users with an event in the last so many days of the log; or `users_per_day` times the days,
    of a known retention only those who joined long enough before the end to be observed."""
    value: float
    """The metric over them, or the known one."""
    detectable: float
    """Smallest relative difference that the test finds with the wanted power."""
    with_before: float | None
    """The same with CUPED: each user's metric in the days before is taken off. None where the log
    is too short, and for a known metric."""

    @property
    def smallest(self) -> float:
        """The better of both."""
        return (
            self.detectable if self.with_before is None else min(self.detectable, self.with_before)
        )


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
    planned: int | None
    """Users of all arms that find `effect` in a test of so many days: `planned` of the experiment.
    Where no duration finds it, reckoned from the longest one. Of a known retention: those who are
    observed. None: not asked."""

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
    value: float | None = None,
    variance: float | None = None,
    users_per_day: float | None = None,
) -> ExperimentPlan:
    """What tests of several durations would find, had they run at the end of the project's log.

    With a known `value` of the metric no log is read.

    Args:
        metric: the name of a metric in `[metrics]`, or an expression: `"click"`, events per user;
            `"click / show"`, a ratio of sums; `"sum(watch)"`, the sum of the events' values per
            user; `"active_days"`; `"returned(7) / observed(7)"`. With `value` also metrics of
            answers, such as `"took_ms / answers"`.
        effect: the relative difference to be found, such as 0.02.
        share: of the users in the treatment.
        power: chance to find a true difference.
        alpha: chance to find one where there is none.
        value: the metric, where it is known.
        variance: its variance between users. It may be omitted for a metric that is 0 or 1 for each
            user, such as the retention, whose variance is value × (1 − value). For a ratio A / B of
            sums it is the variance of (A − value × B) ÷ (mean of B).
        users_per_day: users that join the test each day, for the durations. Of
            `returned(7) / observed(7)` only those count who joined 7 days or more before the end.

    A user's unit is all that he did during the test. Raises PlanOptionError, a ConfigError, for a
    metric of an unknown behaviour and for numbers out of range, DataError for a log of less than a
    day.
    """
    _check(effect, share, power, alpha)
    folder = ProjectFolder(Path(project))
    terms = _terms(metric, folder.config, known=value is not None)
    if value is None:
        for name, given in (("variance", variance), ("users_per_day", users_per_day)):
            if given is not None:
                raise PlanOptionError(name, f"{name} = {given} without `value`: give both")
        data, _ = folder.read(folder.config)
        plans = [
            plan
            for days in DURATIONS
            if (plan := _plan(data, terms, days, share, power, alpha)) is not None
        ]
        if not plans:
            raise DataError(
                f"no window of {DURATIONS[0]} or more days of the log has {FEWEST} users and a "
                f"metric {metric!r} above 0: choose another metric, give its `value`, or wait for "
                "more events"
            )
        days, planned = _enough(plans, effect, share)
        if effect is not None and planned is not None:
            _check_planned(planned, effect)
        return ExperimentPlan(metric, share, power, alpha, plans, days, effect, planned)
    deviation = sqrt(_variance(terms, value, variance))
    plans = _plans(value, deviation, _observed_days(terms), users_per_day, share, power, alpha)
    if effect is None:
        if not plans:
            raise PlanOptionError(
                "effect", "give `effect`, `users_per_day`, or both with a `value`"
            )
        return ExperimentPlan(metric, share, power, alpha, plans, None, None, None)
    planned = sample_size(effect * value, deviation, share=share, alpha=alpha, wanted=power)
    _check_planned(planned, effect)
    days, _ = _enough(plans, effect, share)
    return ExperimentPlan(metric, share, power, alpha, plans, days, effect, planned)


def _check(effect: float | None, share: float, power: float, alpha: float) -> None:
    """Raises PlanOptionError for numbers out of range."""
    if effect is not None and not LEAST_EFFECT <= effect < 10:
        raise PlanOptionError(
            "effect",
            f"effect = {effect}: give a relative difference from {LEAST_EFFECT:g} to 10, such as "
            "0.02 for 2 %",
        )
    if not LEAST_PART <= share <= 1 - LEAST_PART:
        raise PlanOptionError(
            "share",
            f"share = {share}: give the treatment's share of users, such as 0.5, and leave each "
            f"arm {LEAST_PART:g} at least",
        )
    if not LEAST_ALPHA <= alpha < 1:
        raise PlanOptionError(
            "alpha", f"alpha = {alpha}: give a number from {LEAST_ALPHA:g} to 1, such as 0.05"
        )
    if not alpha < power < 1:
        raise PlanOptionError(
            "power", f"power = {power}: give a number between {alpha} and 1, such as 0.8"
        )


def _check_planned(planned: int, effect: float) -> None:
    """Raises PlanOptionError for more users than a test can have."""
    if planned > MOST_PLANNED:
        raise PlanOptionError(
            "effect",
            f"effect = {effect}: more than {MOST_PLANNED:.0e} users would be needed to find it; "
            "plan for a larger effect, or with a metric that spreads less between users",
        )


def _enough(
    plans: Sequence[Plan], effect: float | None, share: float
) -> tuple[int | None, int | None]:
    """The shortest of the durations that finds `effect`, and the users that are needed: of these,
    or reckoned from the longest duration where none finds it."""
    if effect is None or not plans:
        return None, None
    found = next((one for one in plans if one.smallest <= effect), None)
    one = plans[-1] if found is None else found
    needed = ceil(one.users * (one.smallest / effect) ** 2)  # it falls by the root of the users
    return None if found is None else found.days, max(needed, ceil(2 / min(share, 1 - share)))


def _variance(terms: Sequence[MetricTerm], value: float, variance: float | None) -> float:
    """The variance between users of a known metric."""
    if not LEAST_VALUE <= value <= MOST_VALUE:
        raise PlanOptionError(
            "value",
            f"value = {value}: give the metric as it is, from {LEAST_VALUE:g} to {MOST_VALUE:g}",
        )
    if variance is not None:
        if not 0 < variance <= MOST_VARIANCE:
            raise PlanOptionError(
                "variance",
                f"variance = {variance}: give a number above 0 and up to {MOST_VARIANCE:g}",
            )
        return variance
    # a count or a sum with this mean spreads more: value × (1 − value) would plan too few users
    yes_or_no = all(term.kind in ("returned", "observed") for term in terms)
    # of a ratio the denominator must be 1 for each user that counts, who was observed as long
    yes_or_no &= len(terms) == 1 or (terms[1].kind == "observed" and terms[0].days == terms[1].days)
    if not (yes_or_no and value < 1):
        raise PlanOptionError(
            "variance",
            "give `variance`, between users: only of a metric that is 0 or 1 for each user, such "
            "as returned(7) / observed(7), it follows from a `value` below 1",
        )
    return value * (1 - value)


def _observed_days(terms: Sequence[MetricTerm]) -> float:
    """Days from a user's first answer until a metric can say something of him."""
    return max((term.days for term in terms if term.kind in ("returned", "observed")), default=0.0)


def _plans(
    value: float,
    deviation: float,
    observed_days: float,
    users_per_day: float | None,
    share: float,
    power: float,
    alpha: float,
) -> list[Plan]:
    """Tests of a known metric; none where the users of a day are not known. Users who join in the
    last `observed_days` of a test are not counted: of them the metric says nothing yet."""
    if users_per_day is None:
        return []
    if not 0 < users_per_day <= MOST_USERS:
        raise PlanOptionError(
            "users_per_day",
            f"users_per_day = {users_per_day}: give a number above 0 and up to {MOST_USERS:g}",
        )
    found: list[Plan] = []
    for days in DURATIONS:
        users = round(users_per_day * max(days - observed_days, 0))
        if users >= max(FEWEST, 2 / min(share, 1 - share)):
            least = detectable(users, deviation, share=share, alpha=alpha, wanted=power)
            found.append(Plan(days, users, value, least / value, None))
    if not found:
        observed = f", in which users are observed for {observed_days:g}" if observed_days else ""
        raise PlanOptionError(
            "users_per_day",
            f"users_per_day = {users_per_day:g}: too few for a test of {DURATIONS[-1]} days"
            f"{observed}",
        )
    return found


def _terms(metric: str, config: ProjectConfig, *, known: bool) -> tuple[MetricTerm, ...]:
    """The numerator, and the denominator of a ratio; `known`: no log is read for them."""
    try:
        terms = find_metric(metric, config.metrics, list(config.behaviours.values())).terms
    except ConfigError as error:
        raise PlanOptionError("metric", str(error)) from error
    of_answers = [term.text for term in terms if term.of_answers]
    if of_answers and not known:
        raise PlanOptionError(
            "metric",
            f"metric {metric!r}: {of_answers[0]} is counted from the answers of a running service, "
            "which the log of events does not hold: plan with a metric of behaviours, or give "
            "`value` and `variance`",
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
