"""The result of an experiment, from the journal of the service: health first, then effects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from tamis.experiments import (
    AlwaysValid,
    ArmComparison,
    ArmMoments,
    ArmReading,
    Check,
    Effect,
    ExperimentRun,
    Experiments,
    Exposures,
    ItemValues,
    Measure,
    Metric,
    Preference,
    ReadOut,
    Role,
    Running,
    UnitEvents,
    Units,
    always_valid,
    before,
    effect,
    holm,
    interleaved_schema,
    preference,
    read_arms,
    read_credits,
    read_out,
    read_preference,
)
from tamis.journal import JOURNAL, Answers, Journal, answer_blocks, entry_blocks, open_journal
from tamis.runtime import Int32
from tamis.schema import (
    ConfigError,
    DeclaredMetric,
    MetricConfig,
    MetricTerm,
    ProjectConfig,
    StoreError,
    find_metric,
)
from tamis.service.clock import system_clock
from tamis.service.experiment_tables import LiveTables, item_values, user_segments
from tamis.service.project_folder import ProjectFolder

Phase = Literal["test", "rollout"]
DAY = 86_400_000
PACE_DAYS = 7.0
"""Latest days by which the number of new units a day is measured: each weekday once."""
FEWEST = 30
"""Units per arm below which a day or a segment is not compared."""


@dataclass(frozen=True)
class RawCount:
    """What a metric of an arm is made of."""

    measure: str
    arm: str
    units: int
    numerator: str
    """The term above."""
    above: float
    """Its sum over the units."""
    denominator: str
    """The term below; "users" or "sessions" for a mean."""
    below: float
    value: float
    """above ÷ below"""


@dataclass(frozen=True)
class DayEffect:
    """One measure of one arm against the control, with all that came up to a moment."""

    time: int
    """ms since 1970 UTC."""
    day: float
    """Days since the start."""
    units: int
    """Of both arms."""
    measure: str
    arm: str
    effect: Effect
    watched: AlwaysValid | None


@dataclass(frozen=True)
class SegmentEffect:
    """One measure of one arm against the control, in one segment."""

    segment: str
    units: int
    measure: str
    arm: str
    effect: Effect
    adjusted_p: float
    """Holm's, over the segments."""
    better: bool | None
    """True: better beyond chance, False: worse, None: neither."""


@dataclass(frozen=True)
class ExperimentReport:
    """The result of `tamis experiment report`."""

    project: str
    experiment: str
    layer: str
    unit: Literal["user", "session"]
    phase: Phase
    """test: the arms side by side. rollout: after everybody got one arm, against the reverse
    bucket."""
    stage: str
    control: str
    arms: Mapping[str, float]
    """Arm → its declared share of the units."""
    since: int
    """ms since 1970 UTC."""
    until: int
    """The end, or now."""
    planned: int | None
    watched: bool
    confidence: float
    several: int
    """Units that were seen in several arms; they are in none."""
    overridden: int
    """Answers of testers who chose the arm; they do not count."""
    result: ReadOut
    preference: Preference | None
    """Of an interleaved experiment: whose items users chose."""
    raw: Sequence[RawCount]
    over_time: Sequence[DayEffect]
    segment: str | None
    """Column of the users."""
    segments: Sequence[SegmentEffect]
    steps: Sequence[Mapping[str, Any]]
    """The audit trail: step, time, by, and what it set."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def report_experiment(
    project: Path | str,
    name: str,
    store: str = "",
    *,
    segment: str | None = None,
    phase: Phase | None = None,
    now: int | None = None,
) -> ExperimentReport:
    """Reads an experiment out of the journal: health first, then effects.

    A unit's numbers are those since its first answer of the experiment; the same from before it
    reduce the variance (CUPED). Events are those of the journal, of its exported stretches, and of
    the project's own log. All are read in blocks: memory depends on the number of units.

    Args:
        name: an experiment that was started.
        store: address of the journal; "" for that of `tamis.toml`.
        segment: a column of the users by whose values effects are read as well.
        phase: "test": the arms side by side, up to the rollout. "rollout": the arm that everybody
            got against the reverse bucket. If omitted: rollout where there is a reverse bucket.
        now: ms since 1970 UTC. If omitted: the clock; with `clock = "data"` the last answer.

    Raises ConfigError for an experiment that was not started, unknown metrics and columns;
    StoreError where the journal cannot be read, DataError where the tables cannot.
    """
    folder = ProjectFolder(Path(project))
    config, root = folder.config, folder.root
    address = store or config.journal.store
    if not address and not (root / JOURNAL).exists():
        raise StoreError(
            f"{root} has no journal yet: start the service, and an experiment, or give the address "
            "of its journal"
        )
    journal = open_journal(root, config.name, address)
    try:
        one = Experiments.of(journal.experiments.read()).find(name)
        return _Report(config, root, journal, one, segment, phase, now).made()
    finally:
        journal.close()


class _Report:
    """One report in the making."""

    def __init__(
        self,
        config: ProjectConfig,
        root: Path,
        journal: Journal,
        one: Running,
        segment: str | None,
        phase: Phase | None,
        now: int | None,
    ) -> None:
        self._config, self._root, self._journal, self._one = config, root, journal, one
        self._segment = segment
        self._phase: Phase = _phase(one, phase)
        self._metrics = _metrics(config, one)
        self._arms, self._shares = _arms(one, self._phase)
        since, until = _period(config, journal.answers, one, self._phase, now)
        days = 0.0 if one.design.unit == "session" else one.design.before_days
        self._comparison = ArmComparison(
            one.name, one.design.unit, self._arms, since, until, round(days * DAY)
        )

    def made(self) -> ExperimentReport:
        return self._interleaved() if self._one.design.interleaving else self._compared()

    def _interleaved(self) -> ExperimentReport:
        """The report of slates that two arms fill: whose items users choose."""
        design, goal = self._one.design, self._metrics[0][1]
        names = [name for term in goal.terms[:1] for name in term.behaviours]
        if not names:
            raise ConfigError(
                f"goal = {design.goal!r}: an interleaved experiment credits events, so its goal is "
                "a metric of a behaviour, such as click"
            )
        other = next(name for name in design.arms if name != design.control)
        arms = (design.control, other)
        pair = replace(self._comparison, arms=arms)
        answers = answer_blocks(self._journal.answers, interleaved_schema(pair))
        fields = ("kind", "item_id", "behaviour", "time", "arrival", "recommendation_id")
        entries = entry_blocks(self._root, self._journal, fields=fields, since=pair.since)
        credits = read_credits(pair, answers, entries, names)
        found = preference(credits, design.confidence)
        days = max(pair.until - pair.since, 0) / DAY
        run = ExperimentRun(
            days, design.min_days, self._one.stage == "closed", found.units / max(days, 1e-9)
        )
        result = read_preference(found, arms, planned=design.planned, run=run)
        counts = zip(arms, (found.control, found.treatment), strict=True)
        total = found.control + found.treatment
        text = goal.terms[0].text
        raw = [
            RawCount(
                goal.name, arm, found.units, text, n, f"{text} in all", total, n / (total or 1)
            )
            for arm, n in counts
        ]
        return self._report(result, raw=raw, preference=found, planned=design.planned)

    def _compared(self) -> ExperimentReport:
        """The report of arms side by side."""
        terms = {t.text: t for _, m in self._metrics for t in m.terms}
        tables = LiveTables(
            self._config, self._root, lambda: entry_blocks(self._root, self._journal)
        )
        with self._exposures(list(terms.values()), tables) as exposures:
            reading = self._read(list(terms.values()), exposures, tables)
        measures = [self._measure(role, metric, reading) for role, metric in self._metrics]
        design, units = self._one.design, exposures.units
        planned = design.planned if self._phase == "test" or design.watched else None
        result = read_out(
            reading.arms,
            design.control,
            measures,
            shares=self._shares,
            several=units.several,
            planned=planned,
            watched=design.watched,
            confidence=design.confidence,
            run=self._run(units),
            also=self._kept(units),
        )
        return self._report(
            result,
            planned=planned,
            raw=list(self._raw(reading.arms)),
            units=units,
            over_time=list(self._over_time(reading, measures, planned)),
            segments=self._segments(reading, measures),
        )

    def _report(
        self,
        result: ReadOut,
        *,
        planned: int | None,
        raw: Sequence[RawCount],
        units: Units | None = None,
        preference: Preference | None = None,
        over_time: Sequence[DayEffect] = (),
        segments: Sequence[SegmentEffect] = (),
    ) -> ExperimentReport:
        design, comparison = self._one.design, self._comparison
        return ExperimentReport(
            project=self._config.name,
            experiment=self._one.name,
            layer=design.layer,
            unit=design.unit,
            phase=self._phase,
            stage=self._one.stage,
            control=design.control,
            arms=self._shares,
            since=comparison.since,
            until=comparison.until,
            planned=planned,
            watched=design.watched,
            confidence=design.confidence,
            several=0 if units is None else units.several,
            overridden=0 if units is None else units.overridden,
            result=result,
            preference=preference,
            raw=raw,
            over_time=over_time,
            segment=self._segment,
            segments=segments,
            steps=[_step(step) for step in self._one.steps],
        )

    def _exposures(self, terms: Sequence[MetricTerm], tables: LiveTables) -> Exposures:
        """The answers, to be read."""
        columns = [term.column for term in terms if term.kind == "distinct"]
        values: dict[str, ItemValues] = {}
        if columns:
            items = tables.items()
            values = {column: item_values(items, column, self._config) for column in columns}
        shown = any(term.kind == "shown" for term in terms)
        slate = "items" if columns else "count" if shown else "none"
        blocks = answer_blocks(self._journal.answers, self._comparison.schema(slate))
        counted = ("active_days", "returned")
        keep = any(t.of_answers or t.kind in counted for t in terms)
        return Exposures(self._comparison, blocks, keep=keep, values=values)

    def _read(
        self, terms: Sequence[MetricTerm], exposures: Exposures, tables: LiveTables
    ) -> ArmReading:
        """Reads the entries, and the project's own log."""
        column, since = self._segment, self._comparison.since - self._comparison.before
        logged = self._config.events.path is not None
        if column is None:
            fields = UnitEvents.fields(self._comparison, logged)
            entries = entry_blocks(self._root, self._journal, fields=fields, since=since)
        else:  # columns of users may have been put long before
            entries = tables.watching_users(entry_blocks(self._root, self._journal))

        def segments(units: Units) -> tuple[Sequence[str], Int32]:
            assert column is not None
            return user_segments(tables.users(), column, units.users)

        return read_arms(
            self._comparison,
            exposures,
            terms,
            entries,
            [b.name for b in self._config.behaviours.values()],
            table=tables.data if logged else None,
            segment=None if column is None else segments,
        )

    def _measure(self, role: Role, metric: DeclaredMetric, reading: ArmReading) -> Measure:
        """A metric with the columns from before, where every arm has some."""
        top, bottom = metric.terms[0], metric.terms[1] if len(metric.terms) == 2 else None
        plain = Metric(top.text, None if bottom is None else bottom.text)
        known = self._comparison.before > 0 and all(t.has_before for t in metric.terms)
        known = known and all(
            arm.n > 0 and arm.mean[arm.column(before(term))] > 0
            for arm in reading.arms.values()
            for term in metric.terms
        )
        if known:
            plain = Metric(
                plain.numerator,
                plain.denominator,
                before(top),
                None if bottom is None else before(bottom),
            )
        return Measure(metric.name, plain, role, metric.larger_is_better)

    def _run(self, units: Units) -> ExperimentRun:
        since, until = self._comparison.since, self._comparison.until
        days = max(until - since, 0) / DAY
        window = min(days, PACE_DAYS)
        lately = int((units.first >= until - window * DAY).sum())
        design = self._one.design
        cut = self._phase == "test" and self._one.rollout is not None
        # with a planned size the test is read as at the moment of the rollout; without one, its end
        # is that on which it was read
        rolled_out = cut and design.planned is not None
        ended = (cut or self._one.stage == "closed") and not rolled_out
        per_day = lately / window if window > 0 else 0.0
        return ExperimentRun(days, design.min_days, ended, per_day, rolled_out)

    def _kept(self, units: Units) -> list[Check]:
        """Whether answers of the experiment have left the journal: then first ones are unknown."""
        keep, since = self._config.journal.answers_days, self._comparison.since
        first = self._journal.answers.read(0, 1)
        old = self._comparison.until - since > keep * DAY
        if units.oldest is None or not old or units.oldest <= since or first[0].number == 1:
            return []
        text = (
            f"answers older than {keep:g} days have left the journal ([journal] answers_days), and "
            "with them the first answers of the experiment"
        )
        return [Check("answers kept", False, text)]

    def _raw(self, arms: Mapping[str, ArmMoments]) -> Iterator[RawCount]:
        for _, metric in self._metrics:
            for name, arm in arms.items():
                above = float(arm.mean[arm.column(metric.terms[0].text)]) * arm.n
                below, denominator = float(arm.n), f"{self._one.design.unit}s"
                if len(metric.terms) == 2:
                    denominator = metric.terms[1].text
                    below = float(arm.mean[arm.column(denominator)]) * arm.n
                yield RawCount(
                    measure=metric.name,
                    arm=name,
                    units=arm.n,
                    numerator=metric.terms[0].text,
                    above=above,
                    denominator=denominator,
                    below=below,
                    value=above / below if below else float("nan"),
                )

    def _over_time(
        self, reading: ArmReading, measures: Sequence[Measure], planned: int | None
    ) -> Iterator[DayEffect]:
        design = self._one.design
        for snapshot in reading.snapshots:
            control = snapshot.arms[design.control]
            for measure in measures:
                for name, arm in snapshot.arms.items():
                    if name == design.control or min(arm.n, control.n) < FEWEST:
                        continue
                    one = effect(control, arm, measure.metric, confidence=design.confidence)
                    units = control.n + arm.n
                    watched = None
                    if planned is not None:
                        watched = always_valid(one, units, planned, confidence=design.confidence)
                    day = (snapshot.time - self._comparison.since) / DAY
                    yield DayEffect(snapshot.time, day, units, measure.name, name, one, watched)

    def _segments(self, reading: ArmReading, measures: Sequence[Measure]) -> list[SegmentEffect]:
        design = self._one.design
        found: list[SegmentEffect] = []
        for measure in measures:
            for name in self._arms:
                if name == design.control:
                    continue
                tests = [
                    (s.name, s.arms[design.control], s.arms[name])
                    for s in reading.segments
                    if min(s.arms[design.control].n, s.arms[name].n) >= FEWEST
                ]
                effects = [
                    effect(control, arm, measure.metric, confidence=design.confidence)
                    for _, control, arm in tests
                ]
                adjusted = holm([1.0 if e.p != e.p else e.p for e in effects]).tolist()
                for (segment, control, arm), one, p in zip(tests, effects, adjusted, strict=True):
                    up = (one.difference > 0) == measure.larger_is_better
                    better = up if p < 1 - design.confidence else None
                    units = control.n + arm.n
                    found.append(SegmentEffect(segment, units, measure.name, name, one, p, better))
        return found


def _metrics(config: ProjectConfig, one: Running) -> list[tuple[Role, DeclaredMetric]]:
    """The metrics of an experiment with what they decide."""
    design, behaviours = one.design, list(config.behaviours.values())
    kept = {n: MetricConfig.model_validate(m) for n, m in one.steps[0].metrics.items()}
    declared = {**config.metrics, **kept}  # as they were at the start
    roles: dict[Role, Sequence[str]] = {
        "goal": (design.goal,),
        "secondary": design.secondary,
        "guardrail": design.guardrails,
    }
    return [
        (role, find_metric(reference, declared, behaviours))
        for role, references in roles.items()
        for reference in references
    ]


def _phase(one: Running, wanted: Phase | None) -> Phase:
    full = one.rollout
    compared = full is not None and full.reverse > 0 and full.arm != one.design.control
    if wanted == "rollout" and not compared:
        raise ConfigError(
            f"phase = 'rollout': experiment {one.name!r} has no reverse bucket to compare with; "
            "leave it out for the test of the arms"
        )
    if wanted is not None:
        return wanted
    return "rollout" if compared else "test"


def _arms(one: Running, phase: Phase) -> tuple[tuple[str, ...], dict[str, float]]:
    """The arms that are compared, and their declared shares."""
    full, control = one.rollout, one.design.control
    if phase == "rollout" and full is not None:
        return (control, full.arm), {control: full.reverse, full.arm: 1 - full.reverse}
    whole = sum(one.design.weights.values())
    shares = {name: weight / whole for name, weight in one.design.weights.items()}
    return tuple(shares), shares


def _period(
    config: ProjectConfig, answers: Answers, one: Running, phase: Phase, now: int | None
) -> tuple[int, int]:
    """The time from which answers count, and the end."""
    full = one.rollout
    since = full.time if phase == "rollout" and full is not None else one.started
    ends = [one.closed, full.time if phase == "test" and full is not None else None]
    until = min((end for end in ends if end is not None), default=None)
    if until is None:
        until = system_clock() if now is None else now
        if config.clock == "data" and now is None and (last := answers.read(answers.head - 1, 1)):
            until = last[0].answer.time
        until += 1
    if config.clock == "data" and since > until and (first := answers.read(0, 1)):
        since = first[0].answer.time  # steps have the time of the clock, answers that of the data
    return since, max(until, since + 1)


def _step(step: Any) -> dict[str, Any]:
    """A step of the audit trail, without what it leaves open."""
    fields = ("step", "time", "by", "traffic", "arm", "reverse", "note")
    return {name: value for name in fields if (value := getattr(step, name))}
