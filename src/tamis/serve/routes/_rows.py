"""What the routes of users and of items share: bodies with columns, and answers row by row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from tamis.data import one_id
from tamis.schema import RequestError
from tamis.serve.body import SentRows
from tamis.serve.errors import refused_row
from tamis.serve.messages import RowsAnswer, StoredRow
from tamis.serve.routes.common import (
    BAD,
    HTTP,
    LARGE,
    NOT_FOUND,
    NOT_JSON,
    NOT_READY,
    with_journal,
)
from tamis.service import TakenRow

Write = Callable[[Sequence[object]], list[TakenRow]]
"""Puts or patches rows."""
WRITES = {400: BAD, 413: LARGE, 415: NOT_JSON, 503: NOT_READY}
"""Failures of the routes that write what is in the body."""
READS = {400: BAD, 404: NOT_FOUND, 503: NOT_READY}
"""Failures of the routes that read, or delete, what the address names."""


async def write_one(
    request: HTTP, write: Write, field: str, name: str, data: SentRows
) -> StoredRow:
    """Writes the row that the address names. Raises RequestError where it is refused."""
    (columns,) = data.rows
    if not isinstance(columns, Mapping):
        raise RequestError(f"send one object of columns, not {columns!r:.80}")
    given = columns.get(field, name)
    if not isinstance(given, str | int | float) or one_id(given) != one_id(name):
        raise RequestError(f"{field} is in the address: leave it out of the body", field)
    service, _ = with_journal(request)
    row = {**columns, field: name}
    (stored,) = await service.beside(lambda: write([row]))
    if stored.error is not None:
        raise stored.error
    return StoredRow(stored.status, stored.id, stored.sequence)


async def write_all(request: HTTP, write: Write, data: SentRows) -> RowsAnswer:
    """Writes rows; each is answered by itself."""
    service, _ = with_journal(request)
    stored = await service.beside(lambda: write(data.rows))
    counts = Counter(one.status for one in stored)
    request.scope["state"]["log"] = f" rows={len(stored)} {dict(counts)}"
    return RowsAnswer(
        accepted=counts["accepted"],
        refused=counts["refused"],
        rows=[
            StoredRow(one.status, one.id, one.sequence, refused_row(one.error, row))
            for row, one in zip(data.rows, stored, strict=True)
        ],
    )
