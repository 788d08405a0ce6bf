"""Expressions of metrics, such as `click / impression`, and the metrics that a project declares."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal, cast, get_args

from tamis.schema.config import Behaviour
from tamis.schema.errors import ConfigError
from tamis.schema.experiments import MetricConfig
from tamis.schema.suggestions import suggest

_Plain = Literal["answers", "shown", "degraded", "took_ms", "active_days"]
Kind = Literal["events", "values", "returned", "observed", "distinct"] | _Plain
"""What a term counts: see `MetricConfig.value`."""

PLAIN: tuple[str, ...] = get_args(_Plain)
"""Terms without an argument. A behaviour of the same name comes first."""
_FUNCTIONS = {
    "sum": "sum(behaviour)",
    "returned": "returned(days)",
    "observed": "observed(days)",
    "distinct": "distinct(column)",
}
_CALL = re.compile(r"(?P<function>[A-Za-z_]+)\s*\((?P<argument>[^()]*)\)")


@dataclass(frozen=True)
class MetricTerm:
    """One number per unit: events, values of events, answers …"""

    kind: Kind
    text: str
    """The term as it was written, without needless spaces."""
    behaviours: tuple[str, ...] = ()
    """Names of the behaviours that "events" and "values" count."""
    days: float = 0.0
    """Of "returned" and "observed"."""
    column: str = ""
    """Item column of "distinct"."""

    @property
    def of_answers(self) -> bool:
        """Whether it is counted from answers alone, which a log of events does not hold."""
        return self.kind in ("answers", "shown", "degraded", "took_ms", "distinct")

    @property
    def has_before(self) -> bool:
        """Whether the same can be counted before the first answer."""
        return self.kind not in ("returned", "observed")


@dataclass(frozen=True)
class DeclaredMetric:
    """A metric by its name or expression."""

    name: str
    """Its name in `[metrics]`, or the expression."""
    terms: tuple[MetricTerm, ...]
    """One, or the numerator and the denominator of a ratio."""
    larger_is_better: bool = True


def find_metric(
    reference: str, metrics: Mapping[str, MetricConfig], behaviours: Collection[Behaviour]
) -> DeclaredMetric:
    """The metric of a name in `[metrics]`, or of an expression.

    Raises ConfigError where it is neither, naming what is known.
    """
    declared = metrics.get(reference.strip())
    if declared is None:
        return DeclaredMetric(reference.strip(), metric_terms(reference, behaviours, metrics))
    terms = metric_terms(declared.value, behaviours)
    return DeclaredMetric(reference.strip(), terms, not declared.lower_is_better)


def metric_terms(
    text: str, behaviours: Collection[Behaviour], metrics: Collection[str] = ()
) -> tuple[MetricTerm, ...]:
    """The term of an expression, or the two of a ratio `A / B`.

    Args:
        behaviours: those of the project; terms may have their names or their labels.
        metrics: names of `[metrics]`, which messages list.

    Raises ConfigError for anything else, naming the known terms.
    """
    parts = text.split("/")
    if len(parts) > 2:
        raise ConfigError(f"metric {text!r} has {len(parts)} parts: give A, or A / B")
    return tuple(_term(part.strip(), text, behaviours, metrics) for part in parts)


def _term(
    part: str, text: str, behaviours: Collection[Behaviour], metrics: Collection[str]
) -> MetricTerm:
    if names := _named(part, behaviours):
        return MetricTerm("events", part, names)
    if part in PLAIN:
        return MetricTerm(cast("Kind", part), part)
    call = _CALL.fullmatch(part)
    if call is not None and call["function"] in _FUNCTIONS:
        return _call(call["function"], call["argument"].strip(), text, behaviours)
    known = [b.name for b in behaviours]
    terms = [*known, *PLAIN, *_FUNCTIONS.values()]
    named = f"; the metrics of [metrics] are {', '.join(metrics)}" if metrics else ""
    raise ConfigError(
        f"metric {text!r}: there is no behaviour {part!r}, and no such term. The terms are "
        f"{', '.join(terms)}{named}.{suggest(part, [*metrics, *terms])}"
    )


def _call(function: str, argument: str, text: str, behaviours: Collection[Behaviour]) -> MetricTerm:
    written = f"{function}({argument})"
    if function == "sum":
        names = _named(argument, behaviours)
        if not names:
            known = [b.name for b in behaviours]
            raise ConfigError(
                f"metric {text!r}: there is no behaviour {argument!r}; the project declares "
                f"{', '.join(known)}.{suggest(argument, known)}"
            )
        return MetricTerm("values", written, names)
    if function == "distinct":
        if not argument:
            raise ConfigError(f"metric {text!r}: name a column of the items, distinct(category)")
        return MetricTerm("distinct", written, column=argument)
    try:
        days = float(argument)
    except ValueError:
        days = 0.0
    if not 0 < days < 10_000:
        raise ConfigError(
            f"metric {text!r}: {written} needs a number of days above 0, such as {function}(7)"
        )
    kind: Kind = "returned" if function == "returned" else "observed"
    return MetricTerm(kind, written, days=days)


def _named(name: str, behaviours: Collection[Behaviour]) -> tuple[str, ...]:
    """The behaviours of a name or a label."""
    return tuple(b.name for b in behaviours if name in (b.name, b.label or b.name))
