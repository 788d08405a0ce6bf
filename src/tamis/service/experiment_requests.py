"""Requests that plan an experiment or take a step of one, as a caller sends them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, cast

from msgspec import Meta

from tamis.schema import RequestError
from tamis.service._field_checks import check_unicode
from tamis.service.experiment_plan import (
    LEAST_ALPHA,
    LEAST_EFFECT,
    LEAST_PART,
    LEAST_VALUE,
    MOST_USERS,
    MOST_VALUE,
    MOST_VARIANCE,
)
from tamis.service.request import CheckedFields

_Words = Annotated[str, Meta(max_length=1000)]
_Traffic = Annotated[float, Meta(gt=0, le=1)]


class PlanRequest(CheckedFields, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What a test is to find, before it starts."""

    metric: Annotated[str, Meta(min_length=1, max_length=1000)]
    """The name of a metric, or an expression: click, click / show, sum(watch)."""
    effect: Annotated[float, Meta(ge=LEAST_EFFECT, lt=10)] | None = None
    """Relative difference to be found, such as 0.02."""
    share: Annotated[float, Meta(ge=LEAST_PART, le=1 - LEAST_PART)] = 0.5
    """The treatment's share of the users."""
    power: Annotated[float, Meta(gt=0, lt=1)] = 0.8
    """Chance to find a true difference."""
    alpha: Annotated[float, Meta(ge=LEAST_ALPHA, lt=1)] = 0.05
    """Chance to find a difference where there is none."""
    value: Annotated[float, Meta(ge=LEAST_VALUE, le=MOST_VALUE)] | None = None
    """The metric, where it is known. If omitted: that of the project's log."""
    variance: Annotated[float, Meta(gt=0, le=MOST_VARIANCE)] | None = None
    """Variance of a known metric between users. It may be omitted only for a metric that is 0 or 1
    for each user, the retention: value × (1 − value)."""
    users_per_day: Annotated[float, Meta(gt=0, le=MOST_USERS)] | None = None
    """Users that join the test each day, for the durations of a known metric. Of a retention those
    count who joined long enough before the end to be observed."""

    def check(self) -> None:
        """Raises RequestError for text that is not Unicode."""
        super().check()
        check_unicode(self.metric, "metric")


class StepRequest(CheckedFields, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What every step has: who takes it, and why. To close an experiment needs no more."""

    by: Annotated[str, Meta(max_length=200)] = ""
    """Who takes the step. If empty: the name of the API key; needed where there are no keys."""
    note: _Words = ""
    """Why, in words; kept in the audit trail."""

    def check(self) -> None:
        """Raises RequestError for text that is not Unicode."""
        super().check()
        for name in ("by", "note"):
            check_unicode(getattr(self, name), name)


class StartRequest(StepRequest, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Starts an experiment."""

    traffic: _Traffic
    """Share of the layer's units that take part."""
    design: dict[str, Any] | None = None
    """Its declaration, by the keys of [experiments.NAME]. If omitted: that of `tamis.toml`."""

    def check(self) -> None:
        """Raises RequestError for text that is not Unicode."""
        super().check()
        _check_texts(self.design)


class RampRequest(StepRequest, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Changes the traffic of an experiment."""

    traffic: _Traffic
    """Share of the layer's units that take part from now on."""


class FullRequest(StepRequest, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Gives an arm to everybody."""

    arm: Annotated[str, Meta(min_length=1, max_length=200)]
    """The arm."""
    reverse: Annotated[float, Meta(ge=0, le=0.5)] = 0.0
    """Share of units that keep the control arm."""

    def check(self) -> None:
        """Raises RequestError for text that is not Unicode."""
        super().check()
        check_unicode(self.arm, "arm")
        if not self.arm.strip():
            raise RequestError("arm is blank: name an arm of the experiment", "arm")


def _check_texts(value: Any) -> None:
    """Raises RequestError for texts anywhere in a design that are not Unicode."""
    if isinstance(value, str):
        check_unicode(value, "design")
    elif isinstance(value, dict):
        for key, inner in cast("dict[Any, Any]", value).items():
            _check_texts(key)
            _check_texts(inner)
    elif isinstance(value, list | tuple):
        for inner in cast("Sequence[Any]", value):
            _check_texts(inner)
