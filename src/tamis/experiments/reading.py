"""Reads the log of a service into the moments of an experiment's arms: day by day, by segment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from tamis.data import Dataset
from tamis.experiments.exposures import ArmComparison, Exposures, InTime, Units
from tamis.experiments.moments import ArmMoments
from tamis.experiments.unit_events import UnitEvents
from tamis.experiments.unit_sums import DAY, UnitSums
from tamis.runtime import Int32
from tamis.schema import MetricTerm

MOST_SNAPSHOTS = 30
"""Moments at which arms are compared over time."""
_END = 2**62


@dataclass(frozen=True)
class ArmSnapshot:
    """The arms as they were at a moment."""

    time: int
    """ms since 1970 UTC."""
    arms: Mapping[str, ArmMoments]
    """Of the units whose first answer was before it."""


@dataclass(frozen=True)
class ArmSegment:
    """Units that have one value of an attribute."""

    name: str
    arms: Mapping[str, ArmMoments]


@dataclass(frozen=True)
class ArmReading:
    """What the log holds of a comparison."""

    arms: Mapping[str, ArmMoments]
    snapshots: Sequence[ArmSnapshot] = ()
    """In order; the last one is that of now."""
    segments: Sequence[ArmSegment] = field(default_factory=tuple[ArmSegment, ...])


def read_arms(
    comparison: ArmComparison,
    exposures: Exposures,
    terms: Sequence[MetricTerm],
    entries: Iterable[pl.DataFrame],
    behaviours: Sequence[str],
    *,
    table: Dataset | None = None,
    segment: Callable[[Units], tuple[Sequence[str], Int32]] | None = None,
) -> ArmReading:
    """Streams entries once, and the answers that `exposures` keeps.

    Args:
        terms: of all metrics, each once.
        entries: all entries of the journal (`tamis.journal.entry_blocks`).
        behaviours: names of the behaviours by their codes in `table`.
        table: the project's own log of events.
        segment: called at the end; the names of segments, and the one of each unit (−1: none).

    Raises DataError for a value of an event that is no finite number.
    """
    units = exposures.units
    sums = UnitSums(comparison, units, terms, behaviours)
    events = UnitEvents(comparison, exposures, table)
    logged = InTime(events.of_table())
    streamed = InTime(events.of_journal(entries, behaviours))
    answers = InTime(exposures.answers())
    values = {t.column: InTime(exposures.values(t.column)) for t in terms if t.kind == "distinct"}
    snapshots: list[ArmSnapshot] = []
    for moment in _moments(comparison, units):
        upto = moment if moment < comparison.until else _END  # late events count, too
        for stream in (logged, streamed):
            for rows in stream.before(upto):
                sums.add_events(rows)
        for rows in answers.before(upto):
            sums.add_answers(rows)
        for column, stream in values.items():
            for rows in stream.before(upto):
                sums.add_values(column, rows)
        found = sums.moments(units.arm, len(comparison.arms), moment)
        snapshots.append(ArmSnapshot(moment, dict(zip(comparison.arms, found, strict=True))))
    segments = [] if segment is None else _segments(comparison, units, sums, segment)
    return ArmReading(snapshots[-1].arms, snapshots, segments)


def _moments(comparison: ArmComparison, units: Units) -> list[int]:
    """Ends of days since the start, from the first answer on, at most `MOST_SNAPSHOTS`, and the
    end."""
    since, until = comparison.since, comparison.until
    first = int(units.first.min(initial=until))
    first -= (first - since) % DAY
    days = max((until - first) // DAY, 0)
    every = -(-days // MOST_SNAPSHOTS) or 1
    ends = [first + day * DAY for day in range(every, days + 1, every)]
    return [*(end for end in ends if end < until), until]


def _segments(
    comparison: ArmComparison,
    units: Units,
    sums: UnitSums,
    segment: Callable[[Units], tuple[Sequence[str], Int32]],
) -> list[ArmSegment]:
    names, code = segment(units)
    arms = len(comparison.arms)
    group = np.where(code >= 0, code * arms + units.arm, -1).astype(np.int32)
    found = sums.moments(group, arms * len(names), comparison.until)
    return [
        ArmSegment(name, dict(zip(comparison.arms, found[k * arms : (k + 1) * arms], strict=True)))
        for k, name in enumerate(names)
    ]
