"""Measures how often users come back to the same items on a later day."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from tamis.data import Dataset

_DAY_MS = 86_400_000
OFTEN = 0.1
"""Share of repeated events from which on users are taken to come back to items."""


@dataclass(frozen=True)
class Repeats:
    """Repeat consumption among positive events."""

    pairs: float
    """Share of the pairs of user and item with positive events on two or more days, in [0, 1]."""
    events: float
    """Share of the positive events after a user's first day whose item the user had on an earlier
    day, in [0, 1]."""

    @property
    def often(self) -> bool:
        """Whether seen items should be recommended again."""
        return self.events >= OFTEN


def measure_repeats(data: Dataset) -> Repeats:
    """Repeat consumption of the positive events; a pair counts once a day (UTC)."""
    good = data.positive
    days = pl.DataFrame(
        {
            "user": data.events.user[good],
            "item": data.events.item[good],
            "day": data.events.time[good] // _DAY_MS,
        }
    ).unique()
    if not days.height:
        return Repeats(0.0, 0.0)
    pairs = days.group_by("user", "item").agg(pl.len().alias("days"), pl.col("day").min())
    later = days.join(days.group_by("user").agg(pl.col("day").min().alias("first")), on="user")
    later_count = int((later["day"] > later["first"]).sum())
    repeated = int(pairs["days"].sum()) - pairs.height
    return Repeats(
        pairs=float((pairs["days"] > 1).sum()) / pairs.height,
        events=repeated / later_count if later_count else 0.0,
    )
