"""`/v1/items/…`: hides and shows items."""

from __future__ import annotations

from functools import partial

from litestar import post
from litestar.params import FromPath

from tamis.serve.messages import Changed
from tamis.serve.routes.common import BAD, HTTP, NOT_READY, with_journal


@post("/v1/items/{item_id:str}/hide", status_code=200, responses={400: BAD, 503: NOT_READY})
async def hide(item_id: FromPath[str], request: HTTP) -> Changed:
    """Hide an item: from now on it is in no answer."""
    service, journal = with_journal(request)
    return Changed(item_id, True, await service.beside(partial(journal.hide, item_id)))


@post("/v1/items/{item_id:str}/show", status_code=200, responses={400: BAD, 503: NOT_READY})
async def show(item_id: FromPath[str], request: HTTP) -> Changed:
    """Show a hidden item again."""
    service, journal = with_journal(request)
    return Changed(item_id, False, await service.beside(partial(journal.show, item_id)))
