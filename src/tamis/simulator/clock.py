"""Units of time, and the random generators of a run."""

from enum import IntEnum

import numpy as np

SECOND_MS = 1_000
HOUR_MS = 3_600 * SECOND_MS
DAY_MS = 24 * HOUR_MS


class Stream(IntEnum):
    """Independent random streams, one per part of the simulation.

    A changed setting of one part, such as how late events arrive, leaves the draws of the others
    unchanged.
    """

    ITEMS = 1
    USERS = 2
    TRAFFIC = 3
    SLATES = 4
    ANSWERS = 5
    ARRIVALS = 6
    WORLD = 7
    REPEATS = 8
    RETURNS = 9


def stream(seed: int, part: Stream, *key: int) -> np.random.Generator:
    """The generator of a part and ``key`` (day, batch), whatever the order of calls."""
    return np.random.default_rng([seed, int(part), *key])
