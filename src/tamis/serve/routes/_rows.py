"""What the routes of users and of items share: bodies with columns, and answers row by row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from tamis.schema import RequestError
from tamis.serve.body import SentRows
from tamis.serve.messages import Problem, RowsAnswer, StoredRow
from tamis.serve.routes.common import HTTP, with_journal
from tamis.service import TakenRow

Write = Callable[[Sequence[object]], list[TakenRow]]
"""Puts or patches rows."""


async def write_one(request: HTTP, write: Write, field: str, name: str, data: SentRows) -> TakenRow:
    """Writes the row that the address names. Raises RequestError where it is refused."""
    (columns,) = data.rows
    if not isinstance(columns, Mapping):
        raise RequestError(f"send one object of columns, not {columns!r:.80}")
    if columns.get(field, name) != name:
        raise RequestError(f"{field} is in the address: leave it out of the body", field)
    service, _ = with_journal(request)
    row = {**columns, field: name}
    (stored,) = await service.beside(lambda: write([row]))
    if stored.error is not None:
        raise stored.error
    return stored


async def write_all(request: HTTP, write: Write, data: SentRows) -> RowsAnswer:
    """Writes rows; each is answered by itself."""
    service, _ = with_journal(request)
    stored = await service.beside(lambda: write(data.rows))
    counts = Counter(one.status for one in stored)
    request.scope["state"]["log"] = f" rows={len(stored)} {dict(counts)}"
    return RowsAnswer(
        accepted=counts["accepted"],
        refused=counts["refused"],
        rows=[StoredRow(one.status, one.id, one.sequence, _problem(one.error)) for one in stored],
    )


def _problem(error: RequestError | None) -> Problem | None:
    return None if error is None else Problem("bad_request", str(error), error.field or None)
