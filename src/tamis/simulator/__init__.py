"""A population with known tastes that answers slates, so that every model can be checked by truth.

``simulate`` writes a log as a recommender would have collected it, and beside it the truth it was
drawn from. ``build_population`` and ``response_probabilities`` answer slates of your own."""

from tamis.simulator.behaviour import (
    Coefficients,
    ItemTraits,
    Outcomes,
    Responses,
    UserTraits,
    draw_outcomes,
    response_probabilities,
)
from tamis.simulator.columns import COLUMNS, SCHEMA_VERSION
from tamis.simulator.config import SimulationConfig
from tamis.simulator.errors import SimulationConfigError, SimulationError, SimulationOutputError
from tamis.simulator.population import Population, build_population
from tamis.simulator.run import Progress, SimulationReport, simulate

__all__ = [
    "COLUMNS",
    "SCHEMA_VERSION",
    "Coefficients",
    "ItemTraits",
    "Outcomes",
    "Population",
    "Progress",
    "Responses",
    "SimulationConfig",
    "SimulationConfigError",
    "SimulationError",
    "SimulationOutputError",
    "SimulationReport",
    "UserTraits",
    "build_population",
    "draw_outcomes",
    "response_probabilities",
    "simulate",
]
