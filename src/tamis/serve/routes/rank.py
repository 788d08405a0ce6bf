"""`POST /v1/rank`: given items in the order of the ranker."""

from __future__ import annotations

from functools import partial
from math import isfinite
from time import perf_counter

from litestar import post
from litestar.params import JSONBody

from tamis.serve.body import body_of
from tamis.serve.messages import RankAnswer, RankedLine, RemovedLine
from tamis.serve.routes.common import (
    BAD,
    COMPUTES,
    HTTP,
    LARGE,
    NOT_JSON,
    NOT_READY,
    ready_service,
    user_text,
)
from tamis.service import RankRequest

RankBody = body_of(RankRequest, '{"user_id": "u1", "item_ids": ["i1", "i2"]}')


@post(
    "/v1/rank",
    status_code=200,
    request_class=RankBody,
    opt={"scope": "read", **COMPUTES},
    responses={400: BAD, 413: LARGE, 415: NOT_JSON, 503: NOT_READY},
)
async def rank(data: JSONBody[RankRequest], request: HTTP) -> RankAnswer:
    """Order given items for a user, by the ranker and the fusion of its predictions. Items that
    filters remove are listed with the filters, and ids that are not known."""
    began = perf_counter()
    service, recommender = ready_service(request)
    found = await service.run(partial(recommender.rank, data))
    request.scope["state"]["log"] = (
        f"{user_text(request, found.user_id)} known={found.known} items={len(found.items)}"
        f" removed={len(found.removed)} unknown={len(found.unknown)} version={found.version}"
        f" degraded={list(found.degraded)}"
    )
    return RankAnswer(
        version=found.version,
        user_id=found.user_id,
        known=found.known,
        time=found.time,
        clock=found.clock,
        items=[
            RankedLine(
                line.item_id,
                line.title,
                line.place,
                line.score,
                {task: p if isfinite(p) else None for task, p in line.predictions.items()},
            )
            for line in found.items
        ],
        removed=[
            RemovedLine(line.item_id, line.title, list(line.filters), list(line.reasons))
            for line in found.removed
        ],
        unknown=list(found.unknown),
        took_ms=round(1000 * (perf_counter() - began), 3),
        lag=found.lag,
        degraded=list(found.degraded),
    )
