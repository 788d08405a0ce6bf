"""Errors of the simulator.

SimulationError
├── SimulationConfigError (also ValueError)   a setting outside its range
└── SimulationOutputError (also OSError)      a folder that cannot hold the tables
"""

from tamis.schema import TamisError


class SimulationError(TamisError):
    """Base of the errors of the simulator; messages give the value and how to fix it."""


class SimulationConfigError(SimulationError, ValueError):
    """A setting outside its documented range."""


class SimulationOutputError(SimulationError, OSError):
    """The output path cannot hold the tables."""
