"""What goes over the wire: requests, answers, errors, health."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType, field

from tamis.service import Reason, WhyNot

Id = Annotated[str, Meta(min_length=1, max_length=1024)] | int
"""An external id; numbers are taken as their text."""


class RecommendRequest(Struct, forbid_unknown_fields=True, frozen=True):
    """Who asks, and for what. Every field may be left out."""

    user: Id | None = None
    """External user id. An unknown user, or none, is answered by the channels for new users."""
    n: Annotated[int, Meta(ge=1, le=1000)] | None = None
    """Places wanted; the project's slate size where left out."""
    exclude: Annotated[tuple[Id, ...], Meta(max_length=10_000)] = ()
    """Item ids that must not be in the answer."""
    time: Annotated[int, Meta(ge=0)] | None = None
    """The request's moment in ms since 1970 UTC; only earlier events are used.
    The end of the version's data where left out."""
    interests: Annotated[tuple[str, ...], Meta(max_length=1000)] = ()
    """Declared interests of a new user: categories, brands, keywords of the items."""
    latitude: Annotated[float, Meta(ge=-90, le=90)] | None = None
    """Degrees north of the request's place; goes with `longitude`."""
    longitude: Annotated[float, Meta(ge=-180, le=180)] | None = None
    """Degrees east."""
    city: Annotated[str, Meta(max_length=1024)] | None = None
    """The request's city, in the words of the items' (or users') column."""
    explain: bool = False
    """Adds each item's reasons."""
    why_not: Id | None = None
    """An item id: adds where the cascade lost it."""


class RecommendedItem(Struct, frozen=True):
    """One place of the slate."""

    item: str
    """External item id."""
    title: str
    place: int
    """1 = first."""
    score: float | None
    """The fused value of the ranker, comparable within one answer; null where it is not finite."""
    reasons: Reason | UnsetType = UNSET
    """With `explain`: channels, ranks and scores, pre-rank, predictions, fusion, re-rank."""


class RecommendAnswer(Struct, frozen=True):
    """The slate."""

    version: str
    """The serving version that answered."""
    user: str | None
    known: bool
    """False: this version does not know the user; the items are what suits everybody."""
    items: list[RecommendedItem]
    took_ms: float
    """From the decoded request to the answer, waiting for a turn included."""
    degraded: list[str] = field(default_factory=list[str])
    """What was left out of this answer, and why; empty = the whole cascade answered."""
    why_not: WhyNot | UnsetType = UNSET
    """With `why_not`: the stage that lost the item."""


class Problem(Struct, frozen=True):
    """What went wrong and how to mend it."""

    code: str
    """Stable word for programs: bad_request, not_ready, not_found, method_not_allowed, internal."""
    message: str
    field: str | None = None
    """The request's field at fault."""


class ErrorAnswer(Struct, frozen=True):
    error: Problem


class Live(Struct, frozen=True):
    status: str = "live"


class Ready(Struct, frozen=True):
    version: str
    """The serving version that answers."""
    status: str = "ready"
