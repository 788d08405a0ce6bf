"""JSON messages of the service: answers, errors, health. Requests are `tamis.service.Request`."""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, Struct, UnsetType, field

from tamis.service import Reason, WhyNot


class RecommendedItem(Struct, frozen=True):
    """One item of the slate."""

    item: str
    """External item id."""
    title: str
    place: int
    """From 1."""
    score: float | None
    """The fused value of the ranker, comparable within one answer; null where it is not finite."""
    reasons: Reason | UnsetType = UNSET
    """With `explain`: channels, ranks and scores, pre-rank, predictions, fusion, re-rank."""


class RecommendAnswer(Struct, frozen=True):
    """The slate."""

    request_id: str
    """That of the request, or a new one; it is in the log line of the request, too."""
    version: str
    """The serving version that answered."""
    user: str | None
    known: bool
    """False: this version does not know the user; the items are not personalised."""
    time: int
    """The time that was answered for, in ms since 1970 UTC."""
    clock: Literal["request", "now", "data"]
    """Where `time` is from: the request, the clock, or the end of the data (a static data set)."""
    items: list[RecommendedItem]
    took_ms: float
    """Milliseconds from the decoded request to the answer, including the wait for a turn."""
    degraded: list[str] = field(default_factory=list[str])
    """What failed or was left out of this answer; empty: the whole cascade answered."""
    why_not: WhyNot | UnsetType = UNSET
    """With `why_not`: the stage that removed the item."""


class Problem(Struct, frozen=True):
    """What is wrong and how to fix it."""

    code: str
    """Stable word for programs: bad_request, too_large, unsupported_media_type, not_ready,
    not_found, method_not_allowed, internal."""
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
