"""Settings of a simulation."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from tamis.simulator.clock import DAY_MS
from tamis.simulator.errors import SimulationConfigError
from tamis.simulator.names import CITIES

_WHOLE: Mapping[str, tuple[int, int]] = {
    "items": (1, 100_000_000),
    "users": (1, 100_000_000),
    "days": (1, 3_650),
    "slate_size": (1, 200),
    "candidates": (1, 2_000),
    "seed": (0, 2**63 - 1),
    "n_categories": (1, 1_000),
    "topics_per_category": (1, 100),
    "n_cities": (1, len(CITIES)),
    "items_per_author": (1, 1_000_000),
    "latent_dim": (2, 512),
    "content_dim": (1, 512),
    "start_time": (0, 253_402_300_799_000),
}
_REAL: Mapping[str, tuple[float, float]] = {
    "requests_per_user_day": (1e-6, 1_000.0),
    "activity_sigma": (0.0, 3.0),
    "new_item_share": (0.0, 1.0),
    "new_user_share": (0.0, 1.0),
    "late_share": (0.0, 1.0),
    "hot_share": (0.0, 1.0),
    "random_share": (0.0, 1.0),
    "taste_noise": (0.0, 100.0),
    "eagerness": (-10.0, 10.0),
    "content_noise": (0.0, 100.0),
    "repeat_rate": (0.0, 1.0),
    "repeat_gap_days": (0.25, 365.0),
}


@dataclass(frozen=True, kw_only=True)
class SimulationConfig:
    """Settings of a simulation. Equal settings give byte-for-byte equal tables.

    Raises:
        SimulationConfigError: a field is outside its range; the message gives both.
    """

    items: int = 200_000
    """Items in the catalogue, those published during the simulated days included."""
    users: int = 50_000
    """Users, those who sign up during the simulated days included."""
    days: int = 30
    """Simulated days; the first begins at ``start_time``."""
    requests_per_user_day: float = 0.3
    """Mean requests of a user per day after signup; ``activity_sigma`` sets how users differ."""
    activity_sigma: float = 1.0
    """Spread of users' activity: standard deviation of its natural logarithm."""
    slate_size: int = 10
    """Items shown per request; fewer only where fewer are available."""
    candidates: int = 100
    """Candidates of the logging policy per request, at least ``slate_size``."""
    seed: int = 7
    """Random seed."""
    n_categories: int = 24
    """Item categories, each a cluster centre in the space of tastes."""
    topics_per_category: int = 6
    """Sub-clusters of a category; an item's topic is a word of its title."""
    n_cities: int = 20
    """Cities in which items and users live."""
    items_per_author: int = 20
    """Mean items per author; authors' sizes are heavy-tailed."""
    latent_dim: int = 16
    """Width of the hidden latent vectors of users and items."""
    content_dim: int = 16
    """Width of the public content vectors: the latent ones rotated, with noise."""
    content_noise: float = 0.5
    """Length of the noise added to a content vector, whose clean length is 1."""
    start_time: int = 1_736_121_600_000
    """Start of the first day, milliseconds since 1970 UTC (default Monday 2025-01-06)."""
    new_item_share: float = 0.25
    """Share of items published during the simulated days, uniformly; the rest are older."""
    new_user_share: float = 0.2
    """Share of users who sign up during the simulated days, uniformly."""
    late_share: float = 0.03
    """Share of events that arrive hours or days after their time; the rest take seconds."""
    hot_share: float = 0.25
    """Share of slate positions filled by decayed popularity."""
    random_share: float = 0.1
    """Share of slate positions filled uniformly at random; taste fills the rest."""
    taste_noise: float = 0.25
    """Standard deviation of the logging policy's error in affinity, which is in [-1, 1]."""
    eagerness: float = 0.0
    """Added to the log-odds of click, like, collect, share, cart and purchase. At 0, as in a feed
    with a shop, one impression in a few thousand leads to a purchase; 2 gives many purchases in a
    short log."""
    repeat_rate: float = 0.0
    """Probability that a user who has bought a consumable comes back for it; half of the categories
    are consumables. A return is a request of its own, whose slate has the item at position 1. At 0,
    nobody comes back, and the tables are those of a run without repeats."""
    repeat_gap_days: float = 7.0
    """Median of the usual gaps, in days, after which users come back for a consumable. Gaps are
    log-normal: of categories around this, of items around the category's, of visits around the
    item's."""

    def __post_init__(self) -> None:
        for name, (low, high) in _WHOLE.items():
            _require_whole(name, getattr(self, name), low, high)
        for name, (least, most) in _REAL.items():
            _require_real(name, getattr(self, name), least, most)
        if self.candidates < self.slate_size:
            raise SimulationConfigError(
                f"candidates = {self.candidates} is less than slate_size = {self.slate_size}: "
                f"a slate is chosen from the candidates; set candidates to {self.slate_size} "
                "or more"
            )
        if self.hot_share + self.random_share > 1:
            raise SimulationConfigError(
                f"hot_share + random_share = {self.hot_share} + {self.random_share} is more than "
                "1: lower one of them, taste fills what they leave"
            )

    @property
    def end_time(self) -> int:
        """End of the last simulated day, ms; events such as purchases may still follow it."""
        return self.start_time + self.days * DAY_MS

    def day_start(self, day: int) -> int:
        """Start of day ``day`` (0 is the first), ms."""
        return self.start_time + day * DAY_MS

    def as_dict(self) -> dict[str, Any]:
        """The settings by name, in the order of the fields."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "SimulationConfig":
        """The settings of a dictionary, such as ``config`` in ``simulation.json``.

        Raises SimulationConfigError for unknown names and values out of range.
        """
        known = [f.name for f in fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise SimulationConfigError(
                f"unknown settings {', '.join(unknown)}: remove them; known are {', '.join(known)}"
            )
        return cls(**values)


def _require_whole(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise SimulationConfigError(
            f"{name} = {value!r} is not an integer: set it to one from {low} to {high}"
        )
    if not low <= value <= high:
        raise SimulationConfigError(f"{name} = {value} is out of range: set it to {low} … {high}")


def _require_real(name: str, value: object, least: float, most: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise SimulationConfigError(
            f"{name} = {value!r} is not a finite number: set it to one from {least} to {most}"
        )
    if not least <= value <= most:
        raise SimulationConfigError(f"{name} = {value} is out of range: set it to {least} … {most}")
