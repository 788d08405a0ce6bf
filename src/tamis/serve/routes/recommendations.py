"""`/v1/recommendations/…`: earlier answers."""

from __future__ import annotations

from functools import partial

from litestar import get
from litestar.params import FromPath

from tamis.serve.errors import NotFoundError
from tamis.serve.messages import LoggedAnswer, LoggedItem
from tamis.serve.routes.common import HTTP, NOT_FOUND, NOT_READY, with_journal


@get("/v1/recommendations/{recommendation_id:str}", responses={404: NOT_FOUND, 503: NOT_READY})
async def recommendation(recommendation_id: FromPath[str], request: HTTP) -> LoggedAnswer:
    """An earlier answer, by its `recommendation_id`."""
    service, journal = with_journal(request)
    found = await service.beside(partial(journal.answered, recommendation_id))
    if found is None:
        raise NotFoundError(
            f"the journal holds no answer of recommendation_id {recommendation_id!r}: check the id"
        )
    return LoggedAnswer(
        recommendation_id=recommendation_id,
        version=found.version,
        user_id=found.user_id,
        time=found.time,
        items=[LoggedItem(one.item_id, one.place, one.score) for one in found.slate],
        degraded=found.degraded,
    )
