"""`/v1/users`: users and their profiles."""

from __future__ import annotations

from functools import partial

from litestar import delete, get, patch, put
from litestar.params import FromPath, JSONBody

from tamis.serve.body import ColumnsBody, RowsBody, SentRows
from tamis.serve.errors import NotFoundError
from tamis.serve.messages import DeletedUser, RowsAnswer, StoredRow, UserRow
from tamis.serve.routes._rows import READS, WRITES, write_all, write_one
from tamis.serve.routes.common import (
    BAD,
    COMPUTES,
    HTTP,
    NOT_READY,
    with_journal,
)


@put("/v1/users/{user_id:str}", request_class=ColumnsBody, status_code=200, responses=WRITES)
async def put_user(user_id: FromPath[str], data: JSONBody[SentRows], request: HTTP) -> StoredRow:
    """Put a user: the columns of the body; those that are left out are missing from now on."""
    _, journal = with_journal(request)
    return await write_one(request, journal.put_users, "user_id", user_id, data)


@patch("/v1/users/{user_id:str}", request_class=ColumnsBody, status_code=200, responses=WRITES)
async def patch_user(user_id: FromPath[str], data: JSONBody[SentRows], request: HTTP) -> StoredRow:
    """Patch a user: new values of the columns of the body; an unknown user is made."""
    _, journal = with_journal(request)
    return await write_one(request, journal.patch_users, "user_id", user_id, data)


@get("/v1/users/{user_id:str}", opt=COMPUTES, responses=READS)
async def read_user(user_id: FromPath[str], request: HTTP) -> UserRow:
    """A user's columns, as the next answer reads them."""
    service, journal = with_journal(request)
    found = await service.run(partial(journal.get_user, user_id))
    if found is None:
        raise NotFoundError(f"user_id {user_id!r} is unknown: no table, profile or event has it")
    return UserRow(found.id, found.columns)


@delete("/v1/users/{user_id:str}", status_code=200, responses={400: BAD, 503: NOT_READY})
async def delete_user(user_id: FromPath[str], request: HTTP) -> DeletedUser:
    """Delete a user: profile, history, impressions and earlier answers. The answer names the
    versions on the disk that still hold rows of the user."""
    service, journal = with_journal(request)
    gone = await service.beside(partial(journal.delete_user, user_id))
    return DeletedUser(
        "accepted", gone.id, gone.sequence, answers=gone.answers, versions=gone.versions
    )


@put("/v1/users", request_class=RowsBody, status_code=200, responses=WRITES)
async def put_users(data: JSONBody[SentRows], request: HTTP) -> RowsAnswer:
    """Put up to 1,000 users: objects with `user_id` and columns, each answered by itself."""
    _, journal = with_journal(request)
    return await write_all(request, journal.put_users, data)


@patch("/v1/users", request_class=RowsBody, status_code=200, responses=WRITES)
async def patch_users(data: JSONBody[SentRows], request: HTTP) -> RowsAnswer:
    """Patch up to 1,000 users: objects with `user_id` and columns, each answered by itself."""
    _, journal = with_journal(request)
    return await write_all(request, journal.patch_users, data)
