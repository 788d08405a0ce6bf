"""The result of an experiment in words: is it sound, what was found, and what to do.

Health comes first. Where the assignment is broken, no effect is interpreted: a difference between
arms that are not comparable is not an effect. Among sound results the goal decides whether to ship,
guardrails whether something else got worse; several tests are corrected together (Holm).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tamis.experiments.effects import Effect, Metric, effect
from tamis.experiments.health import (
    Check,
    before_exposure,
    sample_ratio,
    sample_ratio_watched,
    several_arms,
)
from tamis.experiments.moments import ArmMoments
from tamis.experiments.multiple import holm
from tamis.experiments.preference import Preference
from tamis.experiments.sequential import AlwaysValid, always_valid
from tamis.schema import INTERLEAVED, ConfigError, suggest

State = Literal[
    "not healthy",
    "no data yet",
    "running",
    "ship",
    "roll back",
    "preferred",
    "no difference found",
]
"""preferred: of an interleaved experiment, which an A/B test is to confirm."""
Role = Literal["goal", "secondary", "guardrail"]
FEWEST = 30
"""Users per arm below which there is no result."""


@dataclass(frozen=True)
class Measure:
    """A metric of an experiment and what it decides."""

    name: str
    metric: Metric
    role: Role = "secondary"
    larger_is_better: bool = True


@dataclass(frozen=True)
class ExperimentRun:
    """How far an experiment that the service runs has come."""

    days: float
    """Since its start, up to its end."""
    min_days: float = 0.0
    """Days that it runs at least."""
    ended: bool = False
    per_day: float = 0.0
    """New users a day, lately."""
    rolled_out: bool = False
    """Whether it was cut short by a rollout to everybody: what was valid then is read."""

    def days_left(self, users: int, planned: int | None) -> float | None:
        """Days until a result may be read; None: unknown, or no number of users was planned."""
        if self.ended or self.rolled_out or planned is None:
            return None
        missing = max(planned - users, 0)
        if missing and not self.per_day > 0:
            return None
        by_users = missing / self.per_day if missing else 0.0
        return max(self.min_days - self.days, by_users, 0.0)


@dataclass(frozen=True)
class ArmFinding:
    """One measure of one arm against the control."""

    measure: str
    role: Role
    arm: str
    effect: Effect
    adjusted_p: float
    """Holm's, over all findings of the same role."""
    watched: AlwaysValid | None
    """The interval that holds at every look; None where no number of users was planned."""
    better: bool | None
    """True: better than the control beyond chance, False: worse, None: neither."""
    without_before: Effect | None = None
    """The same effect without CUPED; None where the measure has no columns from before."""


@dataclass(frozen=True)
class ReadOut:
    """The result of an experiment."""

    state: State
    text: str
    """The state in a sentence, with its reason."""
    winner: str | None
    """The arm to ship; None where the design does not allow to name one."""
    users: Mapping[str, int]
    checks: Sequence[Check]
    findings: Sequence[ArmFinding]
    days_left: float | None = None
    """About how many days are left until a result may be read; None: unknown, or not running."""


def read_out(
    arms: Mapping[str, ArmMoments],
    control: str,
    measures: Sequence[Measure],
    *,
    shares: Mapping[str, float] | None = None,
    several: int = 0,
    planned: int | None = None,
    watched: bool = False,
    confidence: float = 0.95,
    run: ExperimentRun | None = None,
    also: Sequence[Check] = (),
) -> ReadOut:
    """Reads an experiment out.

    Args:
        arms: the sufficient statistics of each arm's users.
        control: the arm that others are compared with.
        measures: exactly one goal, and others.
        shares: declared share of each arm; if omitted, all equal.
        several: users that were seen in several arms, who are in none of `arms`.
        planned: users of all arms fixed before the start; fewer: the test is still running.
        watched: decide by always-valid intervals, because results were looked at before the planned
            number of users was reached.
        confidence: of all intervals.
        run: of an experiment that runs or ran in the service. While it runs, its minimum of days
            and the planned number of users must be reached; without such a number it has a result
            once it has ended. If omitted: a finished experiment.
        also: further checks of its health.

    Raises ConfigError for an unknown control, other than one goal, shares of other arms, and
    `watched` without `planned`.
    """
    _check(arms, control, measures, shares, planned, watched)
    counts = {name: arm.n for name, arm in arms.items()}
    share = dict(shares or dict.fromkeys(arms, 1.0))
    test = sample_ratio_watched if watched else sample_ratio
    ratio = test(list(counts.values()), [share[name] for name in arms])
    checks = [replace(ratio, text=f"{' : '.join(arms)}: {ratio.text}")]
    checks.append(several_arms(sum(counts.values()) + several, several))
    for name, arm in arms.items():
        if name != control:
            checks += _before(arms[control], arm, name, measures)
    total = sum(counts.values())
    checks += [*_run_checks(run, total, planned, watched), *also]
    left = None if run is None else run.days_left(total, planned)
    if min(counts.values()) < FEWEST:
        fewest = min(counts, key=lambda name: counts[name])
        text = f"Users of arm {fewest!r}: {counts[fewest]}; at least {FEWEST} are needed."
        return ReadOut("no data yet", text, None, counts, checks, [], left)
    findings = _findings(arms, control, measures, share, planned, watched, confidence)
    state, text, winner = _state(counts, checks, findings, planned, watched, run)
    return ReadOut(state, text, winner, counts, checks, findings, left)


def read_preference(
    found: Preference, arms: tuple[str, str], *, planned: int | None, run: ExperimentRun
) -> ReadOut:
    """Reads an interleaved experiment out: `arms` are its control and the other one.

    Users with a credited event count; it has a result when an A/B test would have one.
    """
    users = {INTERLEAVED: found.units}
    checks = _run_checks(run, found.units, planned, watched=False)
    left = run.days_left(found.units, planned)

    def out(state: State, text: str, winner: str | None = None) -> ReadOut:
        return ReadOut(state, text, winner, users, checks, [], left)

    unsound = [check for check in checks if not check.sound]
    if unsound:
        reasons = "; ".join(f"{check.name}: {check.text}" for check in unsound)
        return out("not healthy", f"No preference can be read: {reasons}.")
    if found.p != found.p:
        return out("no data yet", f"{found.text[0].upper()}{found.text[1:]}.")
    waits = _waits(found.units, planned, False, run, False, False)
    if waits:
        return out("running", waits)
    share = f"{found.treatment:,.0f} events on items of {arms[1]!r}, {found.control:,.0f} on those "
    share += f"of {arms[0]!r}: {found.share:.1%} ({found.low:.1%} to {found.high:.1%})"
    if found.low <= 0.5 <= found.high:
        return out("no difference found", f"{share}, which includes half.")
    best = arms[found.share > 0.5]
    return out("preferred", f"Arm {best!r}. {share}. Confirm it by an A/B test.", best)


def _run_checks(
    run: ExperimentRun | None, users: int, planned: int | None, watched: bool
) -> list[Check]:
    """Whether it ran for as long, and with as many users, as the design asks for."""
    if run is None:
        return []
    lasted = f"{run.days:.1f} of at least {run.min_days:g} days"
    checks = [Check("run time", not run.ended or run.days >= run.min_days, lasted)]
    if run.ended and planned is not None and not watched:
        text = f"{users:,} of {planned:,} planned users at its end"
        checks.append(Check("planned users", users >= planned, text))
    return checks


def _check(
    arms: Mapping[str, ArmMoments],
    control: str,
    measures: Sequence[Measure],
    shares: Mapping[str, float] | None,
    planned: int | None,
    watched: bool,
) -> None:
    if control not in arms or len(arms) < 2:
        raise ConfigError(
            f"control = {control!r}: the arms are {', '.join(arms) or 'none'}; give two or more, "
            f"and the control among them.{suggest(control, list(arms))}"
        )
    goals = [m.name for m in measures if m.role == "goal"]
    if len(goals) != 1:
        raise ConfigError(
            f"{len(goals)} goals ({', '.join(goals) or 'none'}): an experiment has exactly one, "
            "fixed before the start; declare others as secondary or guardrail"
        )
    if shares is not None and set(shares) != set(arms):
        raise ConfigError(
            f"shares of {', '.join(shares)}, arms {', '.join(arms)}: give one per arm"
        )
    if watched and planned is None:
        raise ConfigError("watched = true needs `planned`: the users that were planned for")


def _before(
    control: ArmMoments, arm: ArmMoments, name: str, measures: Sequence[Measure]
) -> list[Check]:
    """Differences before exposure, for every measure that has columns of that time."""
    found: list[Check] = []
    for measure in measures:
        metric = measure.metric
        if metric.before is not None and min(control.n, arm.n) >= FEWEST:
            earlier = Metric(metric.before, metric.before_denominator)
            check = before_exposure(control, arm, earlier)
            text = f"{measure.name}, {name}: {check.text}"
            found.append(Check(check.name, check.sound, text, check.p))
    return found


def _findings(
    arms: Mapping[str, ArmMoments],
    control: str,
    measures: Sequence[Measure],
    share: Mapping[str, float],
    planned: int | None,
    watched: bool,
    confidence: float,
) -> list[ArmFinding]:
    pooled = sum(list(arms.values())[1:], next(iter(arms.values())))
    others = [name for name in arms if name != control]
    found: list[ArmFinding] = []
    for role in ("goal", "secondary", "guardrail"):
        tests = [(m, name) for m in measures if m.role == role for name in others]
        effects = [
            effect(arms[control], arms[name], m.metric, confidence=confidence, pooled=pooled)
            for m, name in tests
        ]
        adjusted = holm([1.0 if one.p != one.p else one.p for one in effects])
        for (measure, name), one, p in zip(tests, effects, adjusted.tolist(), strict=True):
            always = None
            if planned is not None:
                pair = (share[control] + share[name]) / sum(share.values())
                each = 1 - (1 - confidence) / len(tests)  # Bonferroni: all of the role at once
                always = always_valid(
                    one,
                    arms[control].n + arms[name].n,
                    max(round(planned * pair), 1),
                    confidence=each,
                )
            beyond = always.significant if watched and always else p < 1 - confidence
            up = (one.difference > 0) == measure.larger_is_better
            without = None
            if measure.metric.before is not None:
                plain = Metric(measure.metric.numerator, measure.metric.denominator)
                without = effect(
                    arms[control], arms[name], plain, confidence=confidence, pooled=pooled
                )
            better = up if beyond else None
            found.append(ArmFinding(measure.name, role, name, one, p, always, better, without))
    return found


def _state(
    counts: Mapping[str, int],
    checks: Sequence[Check],
    findings: Sequence[ArmFinding],
    planned: int | None,
    watched: bool,
    run: ExperimentRun | None,
) -> tuple[State, str, str | None]:
    """The state, its sentence, and the arm to ship."""
    unsound = [check for check in checks if not check.sound]
    if unsound:
        reasons = "; ".join(f"{check.name}: {check.text}" for check in unsound)
        return "not healthy", f"No effect can be read: {reasons}.", None
    goals = [one for one in findings if one.role == "goal"]
    worse = [one for one in findings if one.role == "guardrail" and one.better is False]
    lost = {one.arm for one in [*goals, *worse] if one.better is False}
    better = [one for one in goals if one.better]
    good = [one for one in better if one.arm not in lost]
    waits = _waits(sum(counts.values()), planned, watched, run, bool(good), bool(lost))
    if waits:
        return "running", waits, None
    if good:
        best = max(good, key=lambda one: abs(one.effect.difference))
        return "ship", f"Arm {best.arm!r}: {best.measure} {_change(best)}.", best.arm
    harm = ", ".join(f"{one.measure} {_change(one)} in arm {one.arm!r}" for one in worse)
    if better:
        text = f"Arm {better[0].arm!r} reaches its goal, and a guardrail got worse: {harm}."
        return "roll back", text, None
    bad = [one for one in goals if one.better is False]
    drops = ", ".join(f"{one.measure} {_change(one)} in arm {one.arm!r}" for one in bad)
    reasons = "; ".join([*([drops] if bad else []), *([f"guardrail: {harm}"] if worse else [])])
    if lost >= {one.arm for one in goals}:
        return "roll back", f"{reasons}.", None
    same = next(one for one in goals if one.arm not in lost)
    low, high = same.effect.low, same.effect.high
    why = "includes 0"
    if not low <= 0 <= high:
        why = f"is not beyond chance once corrected for several tests (p = {same.adjusted_p:.2g})"
        if watched:
            why = "is not beyond chance at every look"
    text = f"{same.measure} of arm {same.arm!r} differs by {low:+.4g} to {high:+.4g}, which {why}"
    return "no difference found", f"{text}{'; ' + reasons if reasons else ''}.", None


def _waits(
    users: int, planned: int | None, watched: bool, run: ExperimentRun | None, won: bool, lost: bool
) -> str:
    """Why the design does not allow a result yet; "": it does."""
    if watched and lost:  # harm is reported as soon as it is beyond chance
        return ""
    reasons: list[str] = []
    if run is not None and not run.ended:
        if run.days < run.min_days:
            reasons.append(f"{run.days:.1f} of at least {run.min_days:g} days")
        if planned is None:
            reasons.append(
                "no number of users was planned, so that it has a result once it is closed, on a "
                "day that was chosen before"
            )
    if planned is not None and users < planned and not (watched and won):
        reasons.append(f"{users:,} of {planned:,} users so far")
    if not reasons:
        return ""
    left = None if run is None else run.days_left(users, planned)
    days = "" if left is None else f"About {max(left, 0.1):.{0 if left >= 3 else 1}f} days left: "
    cut = run is not None and run.rolled_out
    when = " when an arm was given to everybody" if cut else ""
    text = f"{days}{'; '.join(reasons)}{when}. "
    text = text[0].upper() + text[1:]
    if watched:
        return text + "Intervals that hold at every look decide."
    return (
        text + "A result that is read before the end is no result; `watched` decides by "
        "intervals that hold at every look."
    )


def _change(finding: ArmFinding) -> str:
    one = finding.effect
    if one.relative == one.relative:
        return f"{one.relative:+.1%} ({one.relative_low:+.1%} to {one.relative_high:+.1%})"
    return f"{one.difference:+.4g} ({one.low:+.4g} to {one.high:+.4g})"
