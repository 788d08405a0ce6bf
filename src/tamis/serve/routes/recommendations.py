"""`/v1/recommendations/…`: earlier answers, explained."""

from __future__ import annotations

from functools import partial
from math import isfinite

from litestar import get
from litestar.params import FromPath

from tamis.journal import Recommendation
from tamis.serve.errors import NotFoundError
from tamis.serve.messages import LoggedAnswer, LoggedItem, unset
from tamis.serve.open_service import HasJournal, OpenService
from tamis.serve.routes.common import BAD, COMPUTES, HTTP, NOT_FOUND, NOT_READY, with_journal
from tamis.service import WhyNot


@get(
    "/v1/recommendations/{recommendation_id:str}",
    opt=COMPUTES,
    responses={400: BAD, 404: NOT_FOUND, 503: NOT_READY},
)
async def recommendation(recommendation_id: FromPath[str], request: HTTP) -> LoggedAnswer:
    """An earlier answer, by its `recommendation_id`, with the reasons of its items."""
    service, journal = with_journal(request)
    answer = await _answer(service, journal, recommendation_id)
    found = await service.run(partial(journal.explained, answer))
    return LoggedAnswer(
        recommendation_id=recommendation_id,
        version=answer.version,
        user_id=answer.user_id,
        time=answer.time,
        items=[
            LoggedItem(
                p.item_id,
                p.title,
                p.place,
                p.score if isfinite(p.score) else None,
                p.reasons,
                unset(p.propensity),
            )
            for p in found.items
        ],
        degraded=answer.degraded,
        broken_rules=answer.broken_rules,
        notes=list(found.notes),
    )


@get(
    "/v1/recommendations/{recommendation_id:str}/why-not/{item_id:str}",
    opt=COMPUTES,
    responses={400: BAD, 404: NOT_FOUND, 503: NOT_READY},
)
async def why_not(
    recommendation_id: FromPath[str], item_id: FromPath[str], request: HTTP
) -> WhyNot:
    """The stage that removed an item from an earlier answer, as it was when answered."""
    service, journal = with_journal(request)
    answer = await _answer(service, journal, recommendation_id)
    return await service.run(partial(journal.why_not, answer, item_id))


async def _answer(
    service: OpenService, journal: HasJournal, recommendation_id: str
) -> Recommendation:
    found = await service.beside(partial(journal.answered, recommendation_id))
    if found is None:
        raise NotFoundError(
            f"the journal holds no answer of recommendation_id {recommendation_id!r}: check the id"
        )
    return found
