"""The experiments of a project: declared, started, ramped, rolled out and closed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
from pydantic import ValidationError

from tamis.bundle import Versions
from tamis.experiments import EVERYWHERE, Experiments, Running
from tamis.journal import (
    JOURNAL,
    ExperimentLog,
    ExperimentStep,
    encoded,
    open_journal,
    step_of,
)
from tamis.schema import (
    ConfigError,
    ExperimentConfig,
    LayerConfig,
    ProjectConfig,
    RequestError,
    StoreError,
    TamisError,
    VersionError,
    check_experiment_name,
    find_metric,
    load_config,
    option_problems,
    suggest,
)
from tamis.service.clock import Clock, system_clock
from tamis.service.experiment_report import report_experiment
from tamis.service.live_experiments import wanted_versions
from tamis.service.recommender import Recommender

log = logging.getLogger("tamis.service")

ATTEMPTS = 20
"""Times that a step is decided anew, as another process has taken one meanwhile."""
CheckArms = Callable[[str, ExperimentConfig, Sequence[Running]], None]
"""Raises ConfigError where the serving version cannot have an arm of an experiment, alone or with
those that run."""


@dataclass(frozen=True)
class ExperimentLine:
    """An experiment in a list."""

    name: str
    stage: str
    """draft, running, full or closed."""
    layer: str
    traffic: float
    """Share of the layer's units that take part."""
    arms: tuple[str, ...]
    goal: str
    started: int | None = None
    """Milliseconds since 1970 UTC; None: not yet."""
    steps: tuple[ExperimentStep, ...] = ()
    """Who did what, when and why, the oldest first."""
    planned: int | None = None
    """Units of all arms that were fixed before the start; None: no number."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        steps = [msgspec.to_builtins(step) for step in self.steps]
        return {**asdict(self), "arms": list(self.arms), "steps": steps}


class UnknownExperimentError(ConfigError):
    """Neither `tamis.toml` nor a step knows an experiment of that name."""


def early_rollout(project: Path | str, line: ExperimentLine, store: str = "") -> str:
    """Why a rollout comes before the end of a test: it has not reached its planned size, or that
    could not be read, and why. "": it has, or no size was planned.

    line: the experiment before the rollout. With a planned size, the journal is read.
    """
    if line.stage != "running" or line.planned is None:
        return ""
    try:
        report = report_experiment(project, line.name, store, phase="test")
    except TamisError as error:
        return f"whether the test of {line.name} has its planned size could not be read: {error}"
    users = sum(report.result.users.values())
    if users >= line.planned:
        return ""
    return (
        f"the test of {line.name} has {users:,} of {line.planned:,} planned {report.unit}s: its "
        "result is not known yet, and what is rolled out may be no winner"
    )


class ProjectExperiments:
    """The experiments in a project's `tamis.toml` and in its journal.

    Args:
        project: the project's folder.
        steps: the steps of its experiments (`Journal.experiments`).
        check_arms: called before a start.
        clock: gives the times of steps.
    """

    def __init__(
        self,
        project: Path | str,
        steps: ExperimentLog,
        check_arms: CheckArms | None = None,
        clock: Clock = system_clock,
    ) -> None:
        self._project = Path(project)
        self._steps = steps
        self._check_arms = check_arms
        self._clock = clock

    def lines(self) -> list[ExperimentLine]:
        """All of them: those that were started, the oldest first, then drafts."""
        state, declared = Experiments.of(self._steps.read()), self._declared().experiments
        drafts = {
            name: design for name, design in declared.items() if name not in state.experiments
        }
        return [
            *map(_line, state.experiments.values()),
            *(
                ExperimentLine(
                    name, "draft", d.layer, 0.0, tuple(d.arms), d.goal, planned=d.planned
                )
                for name, d in drafts.items()
            ),
        ]

    def line(self, name: str) -> ExperimentLine:
        """One of them. Raises ConfigError where there is none of that name. Those that were started
        are known whatever is wrong with `tamis.toml`."""
        started = Experiments.of(self._steps.read()).experiments
        if name in started:
            return _line(started[name])
        lines = {line.name: line for line in self.lines()}
        if name not in lines:
            raise UnknownExperimentError(
                f"there is no experiment {name[:80]!a}; declared or started: "
                f"{', '.join(lines) or 'none'}.{suggest(name, lines)}"
            )
        return lines[name]

    def start(
        self,
        name: str,
        traffic: float,
        by: str,
        note: str = "",
        design: Mapping[str, object] | None = None,
    ) -> ExperimentLine:
        """Starts an experiment with a share of its layer's units.

        Args:
            traffic: above 0 and up to 1.
            by: who starts it, for the audit trail.
            note: why, in words.
            design: its declaration, by the keys of [experiments.NAME]; None: that of `tamis.toml`.

        Raises ConfigError where it cannot be started, with what can be done.
        """
        config = self._declared()
        declared = self.design(name, design)
        running = Experiments.of(self._steps.read()).running
        self._check_versions(name, declared)
        if self._check_arms is not None:
            self._check_arms(name, declared, running)
        layers = config.layers
        step = ExperimentStep(
            experiment=name,
            step="start",
            time=self._clock(),
            by=_who(by),
            traffic=traffic,
            note=note,
            design=declared.model_dump(mode="json"),
            metrics={
                name: config.metrics[name].model_dump(mode="json")
                for name in (declared.goal, *declared.secondary, *declared.guardrails)
                if name in config.metrics
            },
            holdout=layers.get(declared.layer, LayerConfig()).holdout,
            outside=layers.get(EVERYWHERE, LayerConfig()).holdout,
        )
        return self._take(step)

    def ramp(self, name: str, traffic: float, by: str, note: str = "") -> ExperimentLine:
        """Changes the share of the layer's units that take part. When it grows, nobody changes arm;
        when it shrinks, those who joined last leave."""
        step = ExperimentStep(
            experiment=name,
            step="ramp",
            time=self._clock(),
            by=_who(by),
            traffic=traffic,
            note=note,
        )
        return self._take(step)

    def full(
        self, name: str, arm: str, by: str, reverse: float = 0.0, note: str = ""
    ) -> ExperimentLine:
        """Gives an arm to everybody but a reverse bucket: a share of units that keep the control
        arm, by which the effect is watched later."""
        step = ExperimentStep(
            experiment=name,
            step="full",
            time=self._clock(),
            by=_who(by),
            arm=arm,
            reverse=reverse,
            note=note,
        )
        return self._take(step)

    def close(self, name: str, by: str, note: str = "") -> ExperimentLine:
        """Ends an experiment: its units get what the project declares."""
        return self._take(
            ExperimentStep(
                experiment=name, step="close", time=self._clock(), by=_who(by), note=note
            )
        )

    def _take(self, step: ExperimentStep) -> ExperimentLine:
        """Decides on the newest steps whether one more is possible, and writes it."""
        step = step_of(encoded(step), "a step of an experiment")  # as others will read it
        for _ in range(ATTEMPTS):
            steps = self._steps.read()
            state = Experiments.of(steps).after(step)
            _check_one_version(state)
            _check_one_interleaving(state)
            if self._steps.append(step, after=len(steps)):
                return _line(state.experiments[step.experiment])
        raise ConfigError(
            f"experiment {step.experiment!r}: other steps were taken {ATTEMPTS} times meanwhile; "
            "try again"
        )

    def _declared(self) -> ProjectConfig:
        return load_config(self._project)

    def design(self, name: str, given: Mapping[str, object] | None = None) -> ExperimentConfig:
        """The declaration of an experiment: the given one, or that of `tamis.toml`. Raises
        ConfigError where it is wrong, or there is none."""
        config = self._declared()
        if given is not None:
            try:
                check_experiment_name(name)
                design = ExperimentConfig.model_validate(dict(given))
            except ValidationError as error:
                problems = option_problems(error, ExperimentConfig.model_fields)
                raise RequestError("; ".join(problems), "design") from error
            except ValueError as error:
                raise RequestError(str(error), "design") from error
            behaviours = list(config.behaviours.values())
            for reference in (design.goal, *design.secondary, *design.guardrails):
                find_metric(reference, config.metrics, behaviours)
            return design
        if name not in config.experiments:
            raise ConfigError(
                f"tamis.toml declares no [experiments.{name}]; it declares "
                f"{', '.join(config.experiments) or 'none'}.{suggest(name, config.experiments)}"
            )
        return config.experiments[name]

    def _check_versions(self, name: str, design: ExperimentConfig) -> None:
        versions = Versions(self._project)
        for arm, declared in design.arms.items():
            if declared.version:
                place = f"experiments.{name}.arms.{arm}"
                try:
                    version = versions.open(declared.version)
                    if declared.cascade:
                        Recommender(version, self._clock).check_arms(name, design)
                except VersionError as error:
                    raise ConfigError(f"tamis.toml: [{place}] version: {error}") from error


def _check_one_version(state: Experiments) -> None:
    """Raises ConfigError where arms of two layers name versions: one version answers a request."""
    layers = {
        one.design.layer: one.name
        for one in state.running
        if any(arm.version for arm in one.design.arms.values())
    }
    if len(layers) > 1:
        listed = ", ".join(f"{name!r} (layer {layer})" for layer, name in layers.items())
        raise ConfigError(
            f"experiments {listed} compare versions in different layers, but one version answers a "
            "request: declare them in one layer, so that they exclude one another"
        )


def _check_one_interleaving(state: Experiments) -> None:
    """Raises ConfigError where two interleaving experiments would share a slate."""
    layers = {one.design.layer: one.name for one in state.running if one.design.interleaving}
    if len(layers) > 1:
        raise ConfigError(
            f"experiments {', '.join(map(repr, layers.values()))} both interleave, and a slate has "
            "two teams at most: declare them in one layer, so that they exclude one another"
        )


def _line(one: Running) -> ExperimentLine:
    design = one.design
    return ExperimentLine(
        name=one.name,
        stage=one.stage,
        layer=design.layer,
        traffic=one.traffic,
        arms=tuple(design.arms),
        goal=design.goal,
        started=one.started,
        steps=one.steps,
        planned=design.planned,
    )


def _who(by: str) -> str:
    if not by.strip():
        raise ConfigError("by is empty: say who takes the step, for the audit trail")
    return by.strip()


def versions_of_experiments(project: Path, config: ProjectConfig) -> set[str] | None:
    """Names of the versions that running experiments name; None where the journal is out of reach,
    so that they are not known."""
    address = config.journal.store
    if not address and not (project / JOURNAL).exists():
        return set()
    try:
        journal = open_journal(project, config.name, address)
        try:
            return wanted_versions(Experiments.of(journal.experiments.read()))
        finally:
            journal.close()
    except (StoreError, ConfigError) as error:
        log.warning("no old version is removed, as experiments may need it: %s", error)
        return None
