"""`POST /v1/recommend`: the slate for one user."""

from __future__ import annotations

from time import perf_counter

from litestar import post
from litestar.params import JSONBody
from msgspec import UNSET

from tamis.serve.messages import RecommendAnswer, RecommendedItem, unset
from tamis.serve.metrics import ServiceMetrics
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
from tamis.service import Answer, Request


@post(
    "/v1/recommend",
    status_code=200,
    opt={"scope": "read", **COMPUTES},
    responses={400: BAD, 413: LARGE, 415: NOT_JSON, 503: NOT_READY},
)
async def recommend(data: JSONBody[Request], request: HTTP) -> RecommendAnswer:
    """The slate for one user. Unknown users are answered too; `degraded` lists what failed."""
    began = perf_counter()
    service, recommender = ready_service(request)
    answer = await service.run(lambda: recommender.recommend(data, effort=service.effort))
    metrics: ServiceMetrics = request.app.state["metrics"]
    metrics.answer(answer, tested=bool(data.arms))
    request.scope["state"]["log"] = (
        f" recommendation_id={answer.recommendation_id!r}{user_text(request, answer.user_id)}"
        f" known={answer.known} items={len(answer.items)} version={answer.version}"
        f" degraded={list(answer.degraded)}"
    )
    return _to_message(answer, took_ms=1000 * (perf_counter() - began))


def _to_message(answer: Answer, took_ms: float) -> RecommendAnswer:
    return RecommendAnswer(
        recommendation_id=answer.recommendation_id,
        version=answer.version,
        user_id=answer.user_id,
        known=answer.known,
        time=answer.time,
        clock=answer.clock,
        items=[
            RecommendedItem(
                p.item_id, p.title, p.place, p.score, unset(p.propensity), p.reasons or UNSET
            )
            for p in answer.items
        ],
        took_ms=round(took_ms, 3),
        lag=answer.lag,
        degraded=list(answer.degraded),
        broken_rules=list(answer.broken_rules),
        arms=answer.arms,
        why_not=answer.why_not or UNSET,
    )
