"""Declarations of experiments: metrics, layers, arms and what decides."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from tamis.schema.component import option_problems
from tamis.schema.errors import ConfigError

Share = Annotated[float, Field(ge=0, le=1)]

_INTERLEAVED = {"fusion", "order", "rerank"}
"""What interleaved arms may change of `[cascade]`."""


NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
"""Names of experiments, arms and layers: they are in addresses, logs and metrics."""
INTERLEAVED = "interleaved"
"""Stands for the arm of an answer whose slate both arms fill."""
PLAN = "plan"
"""Stands in the place of an experiment's name in the address that plans experiments."""


class _ExperimentSection(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class MetricConfig(_ExperimentSection):
    """A metric of experiments, over what each user did since his first answer of the experiment."""

    value: str
    """A term, or a ratio of two: `click / impression`. Terms: a behaviour (its events),
    `sum(watch)` (the values of its events), `answers`, `shown` (items of answers), `degraded`
    (answers that something failed in), `took_ms` (milliseconds of answers), `active_days`,
    `returned(7)` and `observed(7)` (users who were active 7 days or more after their first answer,
    and those whose first answer is that long ago: their ratio is the retention),
    `distinct(category)` (different values of an item column in answers)."""
    lower_is_better: bool = False
    """Whether less is better, as for latency."""


class LayerConfig(_ExperimentSection):
    """A layer: a part of the product whose experiments exclude one another."""

    holdout: Share = 0.0
    """Share of the users whom no experiment of the layer reaches. Of `[layers.all]`: whom no
    experiment of any layer reaches."""


class ArmConfig(_ExperimentSection):
    """One arm of an experiment: what differs for its users."""

    weight: Annotated[float, Field(gt=0)] = 1.0
    """Its share of the experiment's users, relative to the weights of the other arms."""
    version: str = ""
    """Name of a version of the project that answers its users. Empty: the version that serves."""
    cascade: dict[str, Any] = {}
    """Changes of `[cascade]` for its users, by the keys of `tamis.toml`. `false` in the place of a
    channel, a filter or a rule leaves it out. What is learnt in training cannot be changed: train a
    version with it, and name that."""

    @field_validator("cascade")
    @classmethod
    def _can_be_written(cls, cascade: dict[str, Any]) -> dict[str, Any]:
        _check_values(cascade)
        return cascade


class ExperimentConfig(_ExperimentSection):
    """An experiment: arms that are compared on users drawn at random."""

    layer: str = "rank"
    """Experiments of one layer exclude one another; layers are independent: recall, prerank, rank,
    rerank, interface, or a name of your own. `all` is the name of the holdout of all layers."""
    unit: Literal["user", "session"] = "user"
    """What is drawn: users, or sessions. Requests without it take part in no experiment."""
    control: str
    """The arm that the others are compared with."""
    arms: dict[str, ArmConfig]
    """Two or more: [experiments.NAME.arms.ARM]."""
    goal: str
    """The metric that decides: the name of a metric, or an expression as in `[metrics]`."""
    secondary: tuple[str, ...] = ()
    """Further metrics that are reported."""
    guardrails: tuple[str, ...] = ()
    """Metrics that must not get worse."""
    planned: Annotated[int, Field(ge=2)] | None = None
    """Units of all arms that were planned before the start; `tamis experiment plan` counts them. No
    winner is named before they are reached, unless the results are `watched`."""
    watched: bool = False
    """Whether results are looked at before the end: they are then decided by intervals that hold at
    every look. Needs `planned`."""
    min_days: Annotated[float, Field(ge=0)] = 7.0
    """Days that it runs at least; a week holds each weekday once."""
    before_days: Annotated[float, Field(ge=0)] = 14.0
    """Days before a unit's first answer whose events reduce the variance (CUPED). 0: none."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """Of the intervals."""
    interleaving: bool = False
    """Whether every user gets slates that the two arms fill by turns (team draft), and clicks are
    credited to the arm that placed the item: a cheap first comparison of two rankings."""

    @model_validator(mode="after")
    def _is_sound(self) -> ExperimentConfig:
        for name in (self.layer, *self.arms):
            check_name(name)
        if INTERLEAVED in self.arms:
            raise ValueError(f"an arm may not be named {INTERLEAVED!r}: answers use the word")
        if len(self.arms) < 2:
            raise ValueError(f"{len(self.arms)} arms: an experiment compares two or more")
        if self.control not in self.arms:
            raise ValueError(
                f"control = {self.control!r} is none of the arms ({', '.join(self.arms)})"
            )
        if self.watched and self.planned is None:
            raise ValueError(
                "watched = true needs `planned`, the units that were planned before the start: "
                "`tamis experiment plan` counts them"
            )
        if self.layer == "all":
            raise ValueError("layer = 'all': give recall, rank, … or a name of your own")
        versions = [arm.version for arm in self.arms.values() if arm.version]
        if versions and len(versions) < len(self.arms):
            raise ValueError(
                "some arms name a version, others none: an arm without one would follow each "
                "version that is published. Name the version of every arm, also of the control"
            )
        same = [(arm.version, repr(arm.cascade)) for arm in self.arms.values()]
        if len(set(same)) < len(same) and len(self.arms) > 2:
            raise ValueError("two of the arms are the same: remove one of them")
        if self.interleaving and len(self.arms) != 2:
            raise ValueError(f"interleaving compares two arms, not {len(self.arms)}")
        for name, arm in self.arms.items():
            others = sorted(set(arm.cascade) - _INTERLEAVED)
            if self.interleaving and (arm.version or others):
                what = "version" if arm.version else others[0]
                raise ValueError(
                    f"arm {name!r} changes {what}: interleaved arms order the same candidates, so "
                    f"they change {', '.join(sorted(_INTERLEAVED))} alone; compare other changes "
                    "without interleaving"
                )
        return self

    @classmethod
    def stored(cls, design: Mapping[str, Any]) -> ExperimentConfig:
        """A design as a step holds it; keys of a later release are left out. Raises ConfigError
        where it cannot be read."""
        known = _known(design, cls)
        if isinstance(known.get("arms"), Mapping):
            arms = cast("Mapping[str, Any]", known["arms"])
            known["arms"] = {name: _known(arm, ArmConfig) for name, arm in arms.items()}
        try:
            return cls.model_validate(known)
        except ValidationError as error:
            raise ConfigError("; ".join(option_problems(error, cls.model_fields))) from error

    @property
    def weights(self) -> Mapping[str, float]:
        """Arm → its weight."""
        return {name: arm.weight for name, arm in self.arms.items()}


def check_name(name: str) -> None:
    """Raises ValueError unless a name is 1 to 64 letters, digits, dots, - or _."""
    if not re.fullmatch(NAME, name):
        raise ValueError(
            f"the name {name!r:.80}: give 1 to 64 letters, digits, dots, - or _, a letter or digit "
            "first"
        )


def check_experiment_name(name: str) -> None:
    """Raises ValueError for a name that an experiment may not have."""
    check_name(name)
    if name == PLAN:
        raise ValueError(
            f"an experiment may not be named {name!r}: /v1/experiments/{name} plans experiments"
        )


def _known(value: Any, kind: type[BaseModel]) -> Any:
    """A table without the keys that a class of this release does not have."""
    if not isinstance(value, Mapping):
        return value
    table = cast("Mapping[str, Any]", value)
    return {key: inner for key, inner in table.items() if key in kind.model_fields}


def _check_values(value: Any) -> None:
    """Raises ValueError for numbers that are not finite, and texts that are not Unicode, which no
    journal can hold."""
    if isinstance(value, Mapping):
        for key, inner in cast("Mapping[Any, Any]", value).items():
            _check_values(key)
            _check_values(inner)
    elif isinstance(value, list | tuple):
        for inner in cast("Sequence[Any]", value):
            _check_values(inner)
    elif isinstance(value, float) and not isfinite(value):
        raise ValueError(f"{value} is no finite number")
    elif isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"{value!r:.80} is not Unicode text") from error
