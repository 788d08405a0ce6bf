"""Runs a simulation day by day: requests, slates, responses and events."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import polars as pl

from tamis.simulator.behaviour import (
    DEFAULT_COEFFICIENTS,
    FORMULAS,
    draw_outcomes,
    response_probabilities,
)
from tamis.simulator.clock import HOUR_MS, Stream, stream
from tamis.simulator.columns import COLUMNS, SCHEMA_VERSION
from tamis.simulator.config import SimulationConfig
from tamis.simulator.event_stream import BEHAVIOURS, Shown, arrivals, event_rows, truth_rows
from tamis.simulator.policy import DayCatalogue, fill_slates, weigh_catalogue
from tamis.simulator.population import Population, build_population
from tamis.simulator.traffic import Requests, day_requests
from tamis.simulator.writer import TableWriter

Progress = Callable[[int, int], None]
"""Called after each simulated day with the number of finished days and of all days."""

# Requests per batch. Draws depend on it: another number gives another log for the same seed.
_BATCH_REQUESTS = 4_096


@dataclass(frozen=True)
class SimulationReport:
    """Sizes and duration of a finished run."""

    out: Path
    """The folder of the tables."""
    users: int
    items: int
    requests: int
    events: dict[str, int]
    """Rows per behaviour."""
    late_events: int
    """Events that arrived an hour or more after they happened."""
    seconds: float
    """Wall time of the run."""

    @property
    def rates(self) -> dict[str, float]:
        """Click per impression; like, collect, share and cart per click; purchase per cart.
        0 where nothing could happen."""
        base = {"click": "impression", "purchase": "cart"}
        return {
            name: self.events[name] / max(self.events[base.get(name, "click")], 1)
            for name in ("click", "like", "collect", "share", "cart", "purchase")
        }


@dataclass(frozen=True)
class _Batch:
    """Consecutive requests of a day."""

    requests: Requests
    first_id: int
    horizon: int  # ms; no later batch begins before it
    day: int
    number: int  # within the day


def simulate(
    config: SimulationConfig, out: Path, progress: Progress | None = None
) -> SimulationReport:
    """Simulates ``config.days`` days and writes the tables named in ``COLUMNS`` to ``out``.

    Also writes ``truth_items.npy`` and ``truth_users.npy`` (float32, rows as in the tables) and
    ``simulation.json``. Files of the same names are replaced when the run has succeeded. Memory
    holds the population, one batch of requests and events that are later than the next batch.

    Raises:
        SimulationOutputError: ``out`` is a file.
    """
    began = perf_counter()
    population = build_population(config)
    tally = _Tally()
    with TableWriter(Path(out), population) as writer:
        for day in range(config.days):
            catalogue = weigh_catalogue(config, population, day)
            for batch in _batches(config, population, day, tally.requests):
                events, truth = _simulate_batch(config, population, catalogue, batch)
                tally.count(batch, events)
                writer.add(events, truth, batch.horizon)
            if progress is not None:
                progress(day + 1, config.days)
        writer.finish(_description(config, tally))
    return SimulationReport(
        out=Path(out),
        users=config.users,
        items=config.items,
        requests=tally.requests,
        events=tally.by_behaviour(),
        late_events=tally.late,
        seconds=perf_counter() - began,
    )


class _Tally:
    """Running counts of requests and events."""

    def __init__(self) -> None:
        self.requests = 0
        self.late = 0
        self._events = np.zeros(len(BEHAVIOURS), dtype=np.int64)

    def count(self, batch: _Batch, events: pl.DataFrame) -> None:
        self.requests += len(batch.requests)
        self.late += int((events["arrival"] - events["time"] >= HOUR_MS).sum())
        self._events += np.bincount(events["behaviour"].to_numpy(), minlength=len(BEHAVIOURS))

    def by_behaviour(self) -> dict[str, int]:
        return dict(zip(BEHAVIOURS, self._events.tolist(), strict=True))


def _batches(
    config: SimulationConfig, population: Population, day: int, first_id: int
) -> Iterator[_Batch]:
    """The requests of a day in batches; a day without requests gives one empty batch."""
    requests = day_requests(config, population.users, day)
    for number, start in enumerate(range(0, max(len(requests), 1), _BATCH_REQUESTS)):
        stop = start + _BATCH_REQUESTS
        ends_day = stop >= len(requests)
        horizon = config.day_start(day + 1) if ends_day else int(requests.time[stop])
        yield _Batch(requests.part(start, stop), first_id + start, horizon, day, number)


def _simulate_batch(
    config: SimulationConfig, population: Population, catalogue: DayCatalogue, batch: _Batch
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The events of a batch, with arrivals, and its true probabilities."""

    def rng(part: Stream) -> np.random.Generator:
        return stream(config.seed, part, batch.day, batch.number)

    items = population.items.traits
    slates = fill_slates(config, population, catalogue, batch.requests, rng(Stream.SLATES))
    shown = Shown.of(batch.requests, batch.first_id, slates)
    responses = response_probabilities(
        population.users.traits.take(shown.user),
        items.take(shown.item),
        shown.position,
        shown.time,
        DEFAULT_COEFFICIENTS.eager(config.eagerness),
    )
    answers = rng(Stream.ANSWERS)
    outcomes = draw_outcomes(responses, answers)
    price = population.items.table["price"].to_numpy()[shown.item]
    events = event_rows(shown, outcomes, price, answers)
    arrival = arrivals(events["time"].to_numpy(), config.late_share, rng(Stream.ARRIVALS))
    return events.with_columns(arrival=pl.Series(arrival)), truth_rows(shown, responses)


def _description(config: SimulationConfig, tally: _Tally) -> dict[str, Any]:
    """The content of ``simulation.json``."""
    events = tally.by_behaviour()
    return {
        "schema_version": SCHEMA_VERSION,
        "seed": config.seed,
        "config": config.as_dict(),
        "counts": {
            "users": config.users,
            "items": config.items,
            "requests": tally.requests,
            "late_events": tally.late,
            "events": sum(events.values()),
            **events,
        },
        "formulas": FORMULAS,
        "coefficients": asdict(DEFAULT_COEFFICIENTS.eager(config.eagerness)),
        "columns": COLUMNS,
    }
