"""Units of time, and the named random streams of a run."""

from enum import IntEnum

import numpy as np

SECOND_MS = 1_000
HOUR_MS = 3_600 * SECOND_MS
DAY_MS = 24 * HOUR_MS


class Stream(IntEnum):
    """One random stream per concern, so that changing one (say, how late events arrive) leaves
    every other draw of the same seed as it was."""

    ITEMS = 1
    USERS = 2
    TRAFFIC = 3
    SLATES = 4
    ANSWERS = 5
    ARRIVALS = 6
    WORLD = 7


def stream(seed: int, concern: Stream, *key: int) -> np.random.Generator:
    """The generator of one concern, narrowed by ``key`` (day, chunk): independent of call order."""
    return np.random.default_rng([seed, int(concern), *key])
