"""`GET /v1/similar/…`: the items nearest to an item."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from litestar import get
from litestar.params import FromPath, QueryParameter

from tamis.serve.messages import SimilarAnswer, SimilarLine
from tamis.serve.routes.common import BAD, COMPUTES, HTTP, NOT_READY, ready_service


@get(
    "/v1/similar/{item_id:str}",
    opt={"scope": "read", **COMPUTES},
    responses={400: BAD, 503: NOT_READY},
)
async def similar(
    item_id: FromPath[str],
    request: HTTP,
    n: Annotated[int, QueryParameter(ge=1, le=1000, description="Number of items.")] = 10,
    by: Annotated[
        str | None,
        QueryParameter(
            max_length=200,
            description='Vectors to compare: "text", or a channel. If omitted: "text" if the '
            "version has texts, else the first channel with vectors of items.",
        ),
    ] = None,
) -> SimilarAnswer:
    """The items nearest to an item, best first, without hidden ones; as `tamis similar` finds."""
    service, recommender = ready_service(request)
    found = await service.run(partial(recommender.similar, item_id, n, by))
    request.scope["state"]["log"] = f" by={found.by} items={len(found.items)}"
    return SimilarAnswer(
        version=found.version,
        by=found.by,
        item_id=item_id if found.item_id is None else found.item_id,
        title=found.title or "",
        items=[SimilarLine(i.item_id, i.title, i.place, i.score) for i in found.items],
    )
