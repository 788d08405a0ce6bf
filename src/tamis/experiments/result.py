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
from tamis.experiments.health import Check, before_exposure, sample_ratio, several_arms
from tamis.experiments.moments import ArmMoments
from tamis.experiments.multiple import holm
from tamis.experiments.sequential import AlwaysValid, always_valid
from tamis.schema import ConfigError, suggest

State = Literal["not healthy", "no data yet", "running", "ship", "roll back", "no difference found"]
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

    Raises ConfigError for an unknown control, other than one goal, shares of other arms, and
    `watched` without `planned`.
    """
    _check(arms, control, measures, shares, planned, watched)
    counts = {name: arm.n for name, arm in arms.items()}
    share = shares or dict.fromkeys(arms, 1.0)
    ratio = sample_ratio(list(counts.values()), [share[name] for name in arms])
    checks = [replace(ratio, text=f"{' : '.join(arms)}: {ratio.text}")]
    checks.append(several_arms(sum(counts.values()) + several, several))
    for name, arm in arms.items():
        if name != control:
            checks += _before(arms[control], arm, name, measures)
    if min(counts.values()) < FEWEST:
        fewest = min(counts, key=lambda name: counts[name])
        text = f"Users of arm {fewest!r}: {counts[fewest]}; at least {FEWEST} are needed."
        return ReadOut("no data yet", text, None, counts, checks, [])
    findings = _findings(arms, control, measures, planned, watched, confidence)
    state, text, winner = _state(counts, checks, findings, planned, watched)
    return ReadOut(state, text, winner, counts, checks, findings)


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
            units = arms[control].n + arms[name].n
            always = None
            if planned is not None:
                always = always_valid(one, units, planned, confidence=confidence)
            beyond = always.significant if watched and always else p < 1 - confidence
            up = (one.difference > 0) == measure.larger_is_better
            found.append(
                ArmFinding(measure.name, role, name, one, p, always, up if beyond else None)
            )
    return found


def _state(
    counts: Mapping[str, int],
    checks: Sequence[Check],
    findings: Sequence[ArmFinding],
    planned: int | None,
    watched: bool,
) -> tuple[State, str, str | None]:
    """The state, its sentence, and the arm to ship."""
    unsound = [check for check in checks if not check.sound]
    if unsound:
        reasons = "; ".join(f"{check.name}: {check.text}" for check in unsound)
        return "not healthy", f"No effect can be read: {reasons}.", None
    goals = [one for one in findings if one.role == "goal"]
    worse = [one for one in findings if one.role == "guardrail" and one.better is False]
    better = [one for one in goals if one.better]
    total = sum(counts.values())
    short = planned is not None and total < planned
    if short and not (watched and (better or any(one.better is False for one in goals))):
        text = (
            f"{total:,} of {planned:,} users so far. A result that is read before the planned "
            "number is no result; `watched` decides by intervals that hold at every look."
        )
        return "running", text, None
    harmed = {one.arm for one in worse}
    good = [one for one in better if one.arm not in harmed]
    if good:
        best = max(good, key=lambda one: abs(one.effect.difference))
        return "ship", f"Arm {best.arm!r}: {best.measure} {_change(best)}.", best.arm
    if better:
        lost = ", ".join(f"{one.measure} {_change(one)}" for one in worse)
        text = f"Arm {better[0].arm!r} reaches its goal, and a guardrail got worse: {lost}."
        return "roll back", text, None
    bad = [one for one in goals if one.better is False]
    if bad and len(bad) == len(goals):
        return "roll back", f"{bad[0].measure} {_change(bad[0])} in arm {bad[0].arm!r}.", None
    low, high = goals[0].effect.low, goals[0].effect.high
    text = f"{goals[0].measure} differs by {low:+.4g} to {high:+.4g}, which includes 0."
    return "no difference found", text, None


def _change(finding: ArmFinding) -> str:
    one = finding.effect
    if one.relative == one.relative:
        return f"{one.relative:+.1%} ({one.relative_low:+.1%} to {one.relative_high:+.1%})"
    return f"{one.difference:+.4g} ({one.low:+.4g} to {one.high:+.4g})"
