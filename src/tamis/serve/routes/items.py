"""`/v1/items`: items and their columns; hides and shows them."""

from __future__ import annotations

from functools import partial

from litestar import delete, get, patch, post, put
from litestar.params import FromPath, JSONBody

from tamis.data import one_id
from tamis.serve.body import ColumnsBody, RowsBody, SentRows
from tamis.serve.errors import NotFoundError
from tamis.serve.messages import HiddenItem, ItemRow, RowsAnswer, StoredRow
from tamis.serve.routes._rows import READS, WRITES, write_all, write_one
from tamis.serve.routes.common import (
    COMPUTES,
    HTTP,
    with_journal,
)


@put("/v1/items/{item_id:str}", request_class=ColumnsBody, status_code=200, responses=WRITES)
async def put_item(item_id: FromPath[str], data: JSONBody[SentRows], request: HTTP) -> StoredRow:
    """Put an item: the columns of the body; those that are left out are missing from now on. It
    may be recommended from the next answer on."""
    _, journal = with_journal(request)
    return await write_one(request, journal.put_items, "item_id", item_id, data)


@patch("/v1/items/{item_id:str}", request_class=ColumnsBody, status_code=200, responses=WRITES)
async def patch_item(item_id: FromPath[str], data: JSONBody[SentRows], request: HTTP) -> StoredRow:
    """Patch an item: new values of the columns of the body; an unknown item is made."""
    _, journal = with_journal(request)
    return await write_one(request, journal.patch_items, "item_id", item_id, data)


@get("/v1/items/{item_id:str}", opt=COMPUTES, responses=READS)
async def read_item(item_id: FromPath[str], request: HTTP) -> ItemRow:
    """An item's columns, as the next answer reads them."""
    service, journal = with_journal(request)
    found = await service.run(partial(journal.get_item, item_id))
    if found is None:
        raise _unknown(item_id)
    return ItemRow(found.id, found.columns, found.hidden)


@delete("/v1/items/{item_id:str}", status_code=200, opt=COMPUTES, responses=READS)
async def delete_item(item_id: FromPath[str], request: HTTP) -> StoredRow:
    """Delete an item: it is in no answer until it is put or patched again."""
    service, journal = with_journal(request)
    sequence = await service.run(partial(journal.delete_item, item_id))
    if sequence is None:
        raise _unknown(item_id)
    return StoredRow("accepted", one_id(item_id), sequence)


@put("/v1/items", request_class=RowsBody, status_code=200, responses=WRITES)
async def put_items(data: JSONBody[SentRows], request: HTTP) -> RowsAnswer:
    """Put up to 1,000 items: objects with `item_id` and columns, each answered by itself."""
    _, journal = with_journal(request)
    return await write_all(request, journal.put_items, data)


@patch("/v1/items", request_class=RowsBody, status_code=200, responses=WRITES)
async def patch_items(data: JSONBody[SentRows], request: HTTP) -> RowsAnswer:
    """Patch up to 1,000 items: objects with `item_id` and columns, each answered by itself."""
    _, journal = with_journal(request)
    return await write_all(request, journal.patch_items, data)


@post(
    "/v1/items/{item_id:str}/hide",
    status_code=200,
    opt=COMPUTES,
    responses=READS,
)
async def hide(item_id: FromPath[str], request: HTTP) -> HiddenItem:
    """Hide an item: from now on it is in no answer."""
    service, journal = with_journal(request)
    sequence = await service.run(partial(journal.hide, item_id))
    if sequence is None:
        raise _unknown(item_id)
    return HiddenItem("accepted", one_id(item_id), sequence, hidden=True)


@post(
    "/v1/items/{item_id:str}/show",
    status_code=200,
    opt=COMPUTES,
    responses=READS,
)
async def show(item_id: FromPath[str], request: HTTP) -> HiddenItem:
    """Show a hidden item again. A deleted one is put or patched instead."""
    service, journal = with_journal(request)
    sequence = await service.run(partial(journal.show, item_id))
    if sequence is None:
        raise _unknown(item_id)
    return HiddenItem("accepted", one_id(item_id), sequence, hidden=False)


def _unknown(item_id: str) -> NotFoundError:
    return NotFoundError(f"item_id {item_id!r} is unknown, or was deleted: put the item")
