"""What a re-rank rule states: constraints that must hold, and values that order the candidates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tamis.data import Ragged
from tamis.runtime import Bool, Float32, Float64, Int32, Int64


@dataclass(frozen=True, eq=False)
class Limit:
    """At most so many items of one code in adjacent places, and in the slate."""

    of: Ragged
    """Codes per item row."""
    in_window: int | None = None
    """Most in any `window` adjacent places; None: no limit."""
    window: int = 1
    in_slate: int | None = None
    """Most in the slate; None: no limit."""
    what: str = "category"
    """The code in words, for the trace."""


@dataclass(frozen=True, eq=False)
class FixedPlaces:
    """Places that members of a class take, such as advertisements."""

    member: Bool
    """(n,) whether a candidate belongs to the class."""
    places: tuple[int, ...]
    """From 1, in descending order of importance."""
    value: Float64
    """(n,) what orders the members at these places."""
    elsewhere: bool = False
    """Whether members may also have other places."""
    what: str = "item"


@dataclass(frozen=True, eq=False)
class LeastShare:
    """A least share of the places for members of a group."""

    member: Bool
    """(n,) whether a candidate belongs to the group."""
    share: Float64
    """(Q,) of the places, 0 to 1; the number of places is rounded down."""
    spread: bool = True
    """Whether it holds in each head of the slate, not only in the whole slate."""
    what: str = "item"


@dataclass(frozen=True, eq=False)
class PinnedItems:
    """Items with a place of their own."""

    items: Int32
    """(m,) item rows, in descending order of importance."""
    places: Int64
    """(m,) from 1."""
    what: tuple[str, ...]
    """(m,) the items in words."""


@dataclass(frozen=True, eq=False)
class GroupFatigue:
    """A factor (1 − floor) · decay^k + floor of positive scores, after k items of the group."""

    group: Int64
    """(n,) number of the candidate's group; -1 = none."""
    shown: Float64
    """(n,) items of this group that the user was shown before."""
    decay: float
    floor: float


@dataclass(frozen=True, eq=False)
class Diversity:
    """A trade-off of score and similarity to the items placed before."""

    method: Literal["mmr", "dpp"]
    theta: float
    window: int | None
    """Last places whose items count; None: the whole slate."""
    vectors: Float32 | None = None
    """(n, d) unit vectors of the candidates; None: the similarity is Jaccard of `categories`."""
    categories: Ragged | None = None
    """Ascending codes per item row."""


@dataclass(frozen=True, eq=False)
class Drawing:
    """Each place is drawn by the softmax of the marginal values ÷ temperature."""

    temperature: float
    top: int
    """The best candidates among which a place is drawn."""
    seed: Int64
    """(Q,)."""


@dataclass(frozen=True, eq=False)
class Exploring:
    """Places that with some probability hold a drawn candidate, whatever its value."""

    weight: Float64
    """(n,) what a candidate is drawn by; 0 = it is not explored."""
    chance: Float64
    """(Q, places) probability with which a place of the slate explores."""
    greedy: bool
    """Whether the highest weight is taken, instead of a draw."""
    seed: Int64
    """(Q,)."""


Hard = Limit | FixedPlaces | LeastShare | PinnedItems


@dataclass(frozen=True, eq=False)
class Statement:
    """What one rule states about the ranked lists of a batch."""

    hard: tuple[Hard, ...] = ()
    """Constraints in ascending order of importance."""
    terms: Float64 | None = None
    """(n,) added to the values, which are min–max scaled within the query."""
    fatigue: GroupFatigue | None = None
    diversity: Diversity | None = None
    drawing: Drawing | None = None
    exploring: Exploring | None = None
    note: NDArray[np.generic] | None = None
    """(n,) the number that the trace shows; None: what the planner knows of the rule."""
