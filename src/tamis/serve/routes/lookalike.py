"""`POST /v1/lookalike`: users like given ones, or for an item."""

from __future__ import annotations

import threading
from functools import partial

from litestar import post
from litestar.params import JSONBody

from tamis.bundle import Versions
from tamis.schema import ConfigError, RequestError, VersionError
from tamis.serve.body import body_of
from tamis.serve.errors import NotReadyError
from tamis.serve.messages import FoundUser, LookalikeAnswer
from tamis.serve.open_service import HasJournal
from tamis.serve.routes.common import (
    BAD,
    HTTP,
    LARGE,
    NOT_JSON,
    NOT_READY,
    SEARCHES,
    with_journal,
)
from tamis.service import LookalikeList, LookalikeRequest, LookalikeSearch


class Lookalikes:
    """The vectors of the users of the version that serves; computed by the first request."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._version = ""
        self._open: LookalikeSearch | None = None

    def of(self, recommender: HasJournal) -> LookalikeSearch:
        """Those of the version that answers now."""
        with self._lock:
            if self._open is None or self._version != recommender.version:
                self._version = recommender.version
                self._open = LookalikeSearch(Versions(recommender.project), version=self._version)
            return self._open


LookalikeBody = body_of(LookalikeRequest, '{"item_id": "i1", "n": 100}')


@post(
    "/v1/lookalike",
    status_code=200,
    request_class=LookalikeBody,
    opt={"scope": "read", **SEARCHES},
    responses={400: BAD, 413: LARGE, 415: NOT_JSON, 503: NOT_READY},
)
async def lookalike(data: JSONBody[LookalikeRequest], request: HTTP) -> LookalikeAnswer:
    """Users like given ones, or for an item, with the expected lift against random users.

    The vectors are as of the end of the version's data. The first request computes those of all
    users.
    """
    service, recommender = with_journal(request)
    lookalikes: Lookalikes = request.app.state["lookalikes"]
    deleted = await service.run(recommender.deleted_users)
    found = await service.search(partial(_found, lookalikes, recommender, data, deleted))
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
    lookalikes: Lookalikes,
    recommender: HasJournal,
    data: LookalikeRequest,
    deleted: frozenset[str],
) -> LookalikeList:
    source = lookalikes.of(recommender)
    try:
        if data.item_id is not None:
            return source.to_item(data.item_id, data.n, deleted=deleted)
        return source.to_users(data.user_ids or [], data.n, deleted=deleted)
    except ConfigError as error:  # no channel of the version has vectors
        raise RequestError(str(error)) from error
    except VersionError as error:  # another version is being published, or removed
        raise NotReadyError(str(error)) from error
