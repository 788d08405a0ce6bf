"""What the simulator may refuse.

SimulationError
├── SimulationConfigError (also ValueError)   a setting outside its range
└── SimulationOutputError (also OSError)      a folder that cannot hold the tables
"""

from tamis.schema import TamisError


class SimulationError(TamisError):
    """Anything the simulator refuses to do; the message names the value and the cure."""


class SimulationConfigError(SimulationError, ValueError):
    """A setting outside its documented range."""


class SimulationOutputError(SimulationError, OSError):
    """The output path cannot hold the tables."""
