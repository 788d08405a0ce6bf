"""The life of experiments: what their steps made of them, and who is in which arm.

    draft → start (small traffic) → ramp … → full (with a reverse bucket) → close

A draft is a declaration without steps. The steps of all experiments, in order, decide everything,
so that processes that have read the same steps agree on every unit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from tamis.experiments.assignment import BUCKETS, Allocation, arm_of, draw
from tamis.journal import ExperimentStep
from tamis.schema import ConfigError, ExperimentConfig, suggest

Stage = Literal["running", "full", "closed"]
EVERYWHERE = "all"
"""Name of the holdout of all layers in `[layers]`."""


@dataclass(frozen=True)
class Running:
    """An experiment that was started."""

    name: str
    design: ExperimentConfig
    """As it was declared at the start."""
    stage: Stage
    steps: tuple[ExperimentStep, ...]
    """Its audit trail, the oldest first."""
    share: float = 0.0
    """Share of the layer's units after a full rollout: all but the holdout."""

    @property
    def traffic(self) -> float:
        """Share of the layer's units that take part."""
        if self.stage != "running":
            return 0.0 if self.stage == "closed" else self.share
        return next(s.traffic for s in reversed(self.steps) if s.step in ("start", "ramp"))

    @property
    def rollout(self) -> ExperimentStep | None:
        """The step by which an arm was given to everybody; None before."""
        return next((step for step in reversed(self.steps) if step.step == "full"), None)

    @property
    def started(self) -> int:
        """Time (ms) of its start."""
        return self.steps[0].time

    @property
    def closed(self) -> int | None:
        """Time (ms) of its end; None while it runs."""
        return self.steps[-1].time if self.stage == "closed" else None

    def arm(self, unit: str) -> str:
        """The arm of a unit that takes part."""
        full = self.rollout
        if full is None:
            return arm_of(unit, self.name, self.design.weights)
        kept = draw("reverse", self.name, unit) < full.reverse
        return self.design.control if kept else full.arm


@dataclass(frozen=True)
class Experiments:
    """All experiments that were ever started, and the buckets of their layers."""

    experiments: Mapping[str, Running] = field(default_factory=dict[str, Running])
    layers: Mapping[str, Allocation] = field(default_factory=dict[str, Allocation])
    outside: float = 0.0
    """Share of units that no experiment reaches: the holdout of all layers."""

    @classmethod
    def of(cls, steps: Iterable[ExperimentStep]) -> Experiments:
        """What the steps, the oldest first, made of them."""
        found = cls()
        for step in steps:
            found = found.after(step)
        return found

    @property
    def running(self) -> list[Running]:
        """Those that reach units: started, and not closed."""
        return [one for one in self.experiments.values() if one.stage != "closed"]

    def find(self, name: str) -> Running:
        """An experiment. Raises ConfigError where none of that name was started."""
        if name not in self.experiments:
            raise ConfigError(
                f"experiment {name!r} was not started; those that were: "
                f"{', '.join(self.experiments) or 'none'}.{suggest(name, self.experiments)}"
            )
        return self.experiments[name]

    def assigned(self, units: Mapping[str, str | None]) -> dict[str, str]:
        """Experiment → arm, of those that a request takes part in.

        units: "user" and "session" → the request's; None: it has none.
        """
        found: dict[str, str] = {}
        known = units["user"] if units.get("user") is not None else units.get("session")
        if known is None or draw("holdout", EVERYWHERE, known) < self.outside:
            return found
        for allocation in self.layers.values():
            for kind, unit in units.items():
                if unit is None:
                    continue
                name = allocation.experiment(unit)
                if name is not None and self.experiments[name].design.unit == kind:
                    found[name] = self.experiments[name].arm(unit)
        return found

    def after(self, step: ExperimentStep) -> Experiments:
        """With one more step. Raises ConfigError where it is not possible, with what is."""
        if step.step == "start":
            return self._started(step)
        one = self.find(step.experiment)
        if one.stage == "closed":
            raise ConfigError(
                f"experiment {one.name!r} was closed: declare a new one under another name"
            )
        if step.step == "ramp":
            return self._ramped(one, step)
        if step.step == "full":
            return self._rolled_out(one, step)
        return self._with(replace(one, stage="closed", steps=(*one.steps, step)), 0.0)

    def _started(self, step: ExperimentStep) -> Experiments:
        name, former = step.experiment, self.experiments.get(step.experiment)
        if former is not None:
            raise ConfigError(
                f"experiment {name!r} was started before: its units and results would mix. "
                + (
                    "Declare a new one under another name"
                    if former.stage == "closed"
                    else "Change its traffic by `tamis experiment ramp`"
                )
            )
        design = ExperimentConfig.stored(step.design)
        _check_share("traffic", step.traffic)
        self._check_layer(design)
        if self.running and step.outside != self.outside:
            raise ConfigError(
                f"the holdout of all layers is {self.outside:.2%} for what runs, and "
                f"[layers.{EVERYWHERE}] now says {step.outside:.2%}: users would leave running "
                "experiments. Set it back, or close them first"
            )
        layer = self.layers.get(design.layer) or Allocation(design.layer)
        layer = replace(layer, holdout=round(step.holdout * BUCKETS))
        _check_holdout(layer)
        grown = replace(self, layers={**self.layers, design.layer: layer}, outside=step.outside)
        return grown._with(Running(name, design, "running", (step,)), step.traffic)

    def _ramped(self, one: Running, step: ExperimentStep) -> Experiments:
        _check_share("traffic", step.traffic)
        if one.stage == "full":
            raise ConfigError(
                f"experiment {one.name!r} is rolled out fully: close it, and start another one"
            )
        return self._with(replace(one, steps=(*one.steps, step)), step.traffic)

    def _rolled_out(self, one: Running, step: ExperimentStep) -> Experiments:
        if step.arm not in one.design.arms:
            raise ConfigError(
                f"arm = {step.arm!r}: experiment {one.name!r} has the arms "
                f"{', '.join(one.design.arms)}.{suggest(step.arm, one.design.arms)}"
            )
        if one.design.interleaving:
            raise ConfigError(
                f"experiment {one.name!r} interleaves, which compares orders and gives no arm to "
                "anybody: close it, and confirm the winner by an A/B test"
            )
        if not 0 <= step.reverse <= 0.5:
            raise ConfigError(
                f"reverse = {step.reverse}: give the share of units that keep the control arm, "
                "0 to 0.5"
            )
        layer = self.layers[one.design.layer]
        others = [name for name in layer.held or {} if name != one.name]
        if others:
            raise ConfigError(
                f"experiment {one.name!r} cannot be given to everybody: {', '.join(others)} run in "
                f"the layer {layer.layer!r}; close them first"
            )
        whole = 1 - layer.holdout / BUCKETS
        rolled = replace(one, stage="full", steps=(*one.steps, step), share=whole)
        return self._with(rolled, whole)

    def _check_layer(self, design: ExperimentConfig) -> None:
        """Raises ConfigError where other experiments of the layer draw other units: their buckets
        would not exclude one another."""
        for other in self.running:
            if other.design.layer == design.layer and other.design.unit != design.unit:
                raise ConfigError(
                    f"experiment {other.name!r} of layer {design.layer!r} draws by "
                    f"{other.design.unit}: a layer has one unit, so that its experiments exclude "
                    "one another; use another layer, or the same unit"
                )

    def _with(self, one: Running, traffic: float) -> Experiments:
        layer = self.layers[one.design.layer]
        if one.stage != "closed" or one.name in (layer.held or {}):
            layer = layer.resized(one.name, traffic)
        return replace(
            self,
            experiments={**self.experiments, one.name: one},
            layers={**self.layers, one.design.layer: layer},
        )


def _check_share(name: str, share: float) -> None:
    if not 1 / BUCKETS <= share <= 1:
        raise ConfigError(
            f"{name} = {share}: give a share of the units from {1 / BUCKETS} (one of "
            f"{BUCKETS:,} buckets) to 1"
        )


def _check_holdout(layer: Allocation) -> None:
    """Raises ConfigError where a running experiment of the layer holds buckets of its holdout."""
    held: Sequence[tuple[str, range]] = [
        (name, block) for name, blocks in (layer.held or {}).items() for block in blocks
    ]
    for name, block in held:
        if block.start < layer.holdout:
            raise ConfigError(
                f"the holdout of layer {layer.layer!r} cannot grow to "
                f"{layer.holdout / BUCKETS:.2%}: experiment {name!r} holds some of these units; "
                "close it first, or leave the holdout as it is"
            )
