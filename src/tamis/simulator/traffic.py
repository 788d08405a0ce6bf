"""Requests: which user at which time."""

from dataclasses import dataclass

import numpy as np

from tamis.runtime import Ints
from tamis.simulator.audience import Audience
from tamis.simulator.clock import DAY_MS, HOUR_MS, Stream, stream
from tamis.simulator.config import SimulationConfig

_WEEKEND_FACTOR = 1.15
# Relative number of requests per UTC hour: least at night, most in the evening.
_HOURS = np.array(
    [2, 1, 1, 1, 1, 2, 3, 4, 5, 5, 5, 5, 6, 6, 5, 5, 5, 6, 7, 8, 9, 9, 6, 4], dtype=np.float64
)


@dataclass(frozen=True)
class Requests:
    """Requests in order of time."""

    user: Ints  # (r,), user row
    time: Ints  # (r,), ms
    wanted: Ints  # (r,), row of the item that the user has come back for; -1 = none

    def __len__(self) -> int:
        return len(self.time)

    def part(self, start: int, stop: int) -> "Requests":
        """The requests from ``start`` up to ``stop``."""
        return Requests(self.user[start:stop], self.time[start:stop], self.wanted[start:stop])


def day_requests(config: SimulationConfig, users: Audience, day: int) -> Requests:
    """All requests of one day; none of a user before the signup."""
    rng = stream(config.seed, Stream.TRAFFIC, day)
    start = config.day_start(day)
    weekday = (start // DAY_MS + 3) % 7  # 1970-01-01 was a Thursday; Monday is 0
    factor = _WEEKEND_FACTOR if weekday >= 5 else 1.0
    count = rng.poisson(users.requests_per_day * factor)
    user = np.repeat(np.arange(config.users, dtype=np.int32), count)
    hour = np.searchsorted(np.cumsum(_HOURS / _HOURS.sum())[:-1], rng.random(len(user)))
    time = start + hour * HOUR_MS + rng.integers(HOUR_MS, size=len(user))
    known = time >= users.signup[user]
    user, time = user[known], time[known]
    order = np.argsort(time, kind="stable")
    return Requests(user[order], time[order], np.full(len(user), -1, dtype=np.int64))
