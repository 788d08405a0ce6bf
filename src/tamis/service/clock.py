"""The clock of a service: "now", in milliseconds since 1970 UTC."""

from __future__ import annotations

from collections.abc import Callable
from time import time_ns

Clock = Callable[[], int]
"""Returns the current time in ms since 1970 UTC. Tests and simulations give their own."""


def system_clock() -> int:
    """The time of this machine, in ms since 1970 UTC."""
    return time_ns() // 1_000_000
