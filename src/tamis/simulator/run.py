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
from tamis.simulator.returns import Returns, Visits, usual_gaps, with_returns, with_wanted
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
    returns: int
    """Requests of users who came back for an item."""
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
    returns = Returns(config, usual_gaps(config, population.items.traits.category))
    tally = _Tally()
    with TableWriter(Path(out), population) as writer:
        for day in range(config.days):
            catalogue = weigh_catalogue(config, population, day)
            requests = with_returns(day_requests(config, population.users, day), returns.due(day))
            for batch in _batches(config, requests, day, tally.requests):
                events, truth = _simulate_batch(config, population, catalogue, batch)
                returns.plan(_purchases(events), day, _rng(config, Stream.RETURNS, batch))
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
        returns=tally.returns,
        seconds=perf_counter() - began,
    )


class _Tally:
    """Running counts of requests and events."""

    def __init__(self) -> None:
        self.requests = 0
        self.returns = 0
        self.late = 0
        self._events = np.zeros(len(BEHAVIOURS), dtype=np.int64)

    def count(self, batch: _Batch, events: pl.DataFrame) -> None:
        self.requests += len(batch.requests)
        self.returns += int((batch.requests.wanted >= 0).sum())
        self.late += int((events["arrival"] - events["time"] >= HOUR_MS).sum())
        self._events += np.bincount(events["behaviour"].to_numpy(), minlength=len(BEHAVIOURS))

    def by_behaviour(self) -> dict[str, int]:
        return dict(zip(BEHAVIOURS, self._events.tolist(), strict=True))


def _batches(
    config: SimulationConfig, requests: Requests, day: int, first_id: int
) -> Iterator[_Batch]:
    """The requests of a day in batches; a day without requests gives one empty batch."""
    for number, start in enumerate(range(0, max(len(requests), 1), _BATCH_REQUESTS)):
        stop = start + _BATCH_REQUESTS
        ends_day = stop >= len(requests)
        horizon = config.day_start(day + 1) if ends_day else int(requests.time[stop])
        yield _Batch(requests.part(start, stop), first_id + start, horizon, day, number)


def _simulate_batch(
    config: SimulationConfig, population: Population, catalogue: DayCatalogue, batch: _Batch
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The events of a batch, with arrivals, and its true probabilities."""
    items = population.items.traits
    drawn = _rng(config, Stream.SLATES, batch)
    slates = fill_slates(config, population, catalogue, batch.requests, drawn)
    slates = with_wanted(slates, batch.requests)
    shown = Shown.of(batch.requests, batch.first_id, slates)
    responses = response_probabilities(
        population.users.traits.take(shown.user),
        items.take(shown.item),
        shown.position,
        shown.time,
        DEFAULT_COEFFICIENTS.eager(config.eagerness),
        shown.wanted,
    )
    answers = _rng(config, Stream.ANSWERS, batch)
    outcomes = draw_outcomes(responses, answers)
    price = population.items.table["price"].to_numpy()[shown.item]
    events = event_rows(shown, outcomes, price, answers)
    arrival = arrivals(
        events["time"].to_numpy(), config.late_share, _rng(config, Stream.ARRIVALS, batch)
    )
    return events.with_columns(arrival=pl.Series(arrival)), truth_rows(shown, responses)


def _rng(config: SimulationConfig, part: Stream, batch: _Batch) -> np.random.Generator:
    """The generator of one part of a batch."""
    return stream(config.seed, part, batch.day, batch.number)


def _purchases(events: pl.DataFrame) -> Visits:
    """Users, items and times of the purchases among events."""
    bought = events.filter(pl.col("behaviour") == BEHAVIOURS.index("purchase"))
    return Visits(*(bought[name].to_numpy() for name in ("user", "item", "time")))


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
            "returns": tally.returns,
            "events": sum(events.values()),
            **events,
        },
        "formulas": FORMULAS,
        "coefficients": asdict(DEFAULT_COEFFICIENTS.eager(config.eagerness)),
        "columns": COLUMNS,
    }
