"""`POST /v1/lookalike`: users like given ones, or for an item."""

from __future__ import annotations

import threading
from functools import partial
from typing import Annotated

from litestar import post
from litestar.params import JSONBody
from msgspec import Meta, Struct

from tamis.bundle import Versions
from tamis.schema import RequestError
from tamis.serve.open_service import HasJournal
from tamis.serve.routes.common import BAD, HTTP, LARGE, NOT_JSON, NOT_READY, with_journal
from tamis.service import Lift, Lookalike, LookalikeList

MOST = 10_000
"""Most users of one answer; `tamis lookalike` writes longer lists to a file."""


class LookalikeRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The given users, or the item: one of both."""

    user_ids: Annotated[list[str], Meta(max_length=MOST)] | None = None
    """External ids of users whose mean vector is compared."""
    item_id: str | None = None
    """External id of an item: the users like those who liked it, or nearest to its content."""
    n: Annotated[int, Meta(ge=1, le=MOST)] = 100
    """Number of users."""


class FoundUser(Struct, frozen=True):
    """One user who is like the given ones."""

    user_id: str
    score: float
    """Cosine of the user's vector and that of the given users or the item."""
    rank: int
    """From 1."""


class LookalikeAnswer(Struct, frozen=True):
    """The users most like the given ones, who are left out."""

    version: str
    channel: str
    """The channel whose vectors of users were compared."""
    seeds: int
    """Users whose mean vector was compared; 0: the item's own vector was."""
    unknown_user_ids: list[str]
    """Given users of whom the version knows nothing."""
    users: list[FoundUser]
    expected_lift: Lift | None
    """How much more often such users liked an item than users at random, on held-out events."""
    note: str
    """Why no lift was measured; empty where one was."""


class Lookalikes:
    """The vectors of the users of the version that serves; computed by the first request."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._version = ""
        self._open: Lookalike | None = None

    def of(self, recommender: HasJournal) -> Lookalike:
        """Those of the version that answers now."""
        with self._lock:
            if self._open is None or self._version != recommender.version:
                self._version = recommender.version
                self._open = Lookalike(Versions(recommender.project))
            return self._open


@post(
    "/v1/lookalike",
    status_code=200,
    responses={400: BAD, 413: LARGE, 415: NOT_JSON, 503: NOT_READY},
)
async def lookalike(data: JSONBody[LookalikeRequest], request: HTTP) -> LookalikeAnswer:
    """Users like given ones, or for an item, with the expected lift against random users.

    The vectors are as of the end of the version's data. The first request computes those of all
    users.
    """
    if (data.user_ids is None) == (data.item_id is None):
        given = "both are" if data.item_id is not None else "neither is"
        raise RequestError(f"user_ids, item_id: {given} given; give one of them", "user_ids")
    service, recommender = with_journal(request)
    lookalikes: Lookalikes = request.app.state["lookalikes"]
    found = await service.beside(partial(_found, lookalikes, recommender, data))
    return LookalikeAnswer(
        version=found.version,
        channel=found.channel,
        seeds=found.seeds,
        unknown_user_ids=list(found.unknown_user_ids),
        users=[FoundUser(user.user_id, user.score, user.rank) for user in found.users],
        expected_lift=found.expected_lift,
        note=found.note,
    )


def _found(
    lookalikes: Lookalikes, recommender: HasJournal, data: LookalikeRequest
) -> LookalikeList:
    source = lookalikes.of(recommender)
    if data.item_id is not None:
        return source.to_item(data.item_id, data.n)
    return source.to_users(data.user_ids or [], data.n)
