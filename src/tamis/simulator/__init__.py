"""Simulated users, items and logs with known probabilities, to evaluate models against the truth.

``simulate`` writes a log as a recommender would have collected it, and the probabilities from which
it was drawn. ``build_population`` and ``response_probabilities`` give the probabilities of any
other slate."""

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
from tamis.simulator.living import REWARD, Changes, LifeConfig, LivingWorld, reward
from tamis.simulator.population import Population, build_population
from tamis.simulator.run import Progress, SimulationReport, simulate

__all__ = [
    "COLUMNS",
    "REWARD",
    "SCHEMA_VERSION",
    "Changes",
    "Coefficients",
    "ItemTraits",
    "LifeConfig",
    "LivingWorld",
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
    "reward",
    "simulate",
]
