"""All simulated items and users, as a pure function of the settings."""

from dataclasses import dataclass

from tamis.simulator.audience import Audience, build_audience
from tamis.simulator.catalogue import Catalogue, build_catalogue
from tamis.simulator.config import SimulationConfig
from tamis.simulator.world import build_world


@dataclass(frozen=True)
class Population:
    """Items and users with their hidden traits; rows are those of the written tables."""

    items: Catalogue
    users: Audience


def build_population(config: SimulationConfig) -> Population:
    """Draws the population; equal settings give equal populations, with or without a log."""
    world = build_world(config)
    return Population(build_catalogue(config, world), build_audience(config, world))
