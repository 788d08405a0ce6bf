"""`POST /v1/events`: what happened, into the journal."""

from __future__ import annotations

from collections import Counter
from functools import partial

from litestar import post
from litestar.params import JSONBody

from tamis.serve.body import EventsBody, SentEvents
from tamis.serve.errors import refused_row
from tamis.serve.messages import EventsAnswer, TakenEvent
from tamis.serve.metrics import ServiceMetrics
from tamis.serve.routes._rows import WRITES
from tamis.serve.routes.common import HTTP, with_journal


@post(
    "/v1/events",
    status_code=200,
    request_class=EventsBody,
    responses=WRITES,
)
async def events(data: JSONBody[SentEvents], request: HTTP) -> EventsAnswer:
    """Take events: one, or up to 1,000 in a list. Each is accepted, refused with the reason, or a
    duplicate of an earlier one; accepted events are durable and change the next answer."""
    service, journal = with_journal(request)
    taken = await service.beside(partial(journal.take, data.rows))
    if data.single and taken[0].error is not None:
        raise taken[0].error
    counts = Counter(one.status for one in taken)
    metrics: ServiceMetrics = request.app.state["metrics"]
    accepted = [one for one in taken if one.status == "accepted"]
    metrics.events(
        counts,
        Counter(one.behaviour for one in accepted if one.behaviour is not None),
        Counter(table for one in accepted for table in one.unknown),
    )
    request.scope["state"]["log"] = f" events={len(taken)} {dict(counts)}"
    return EventsAnswer(
        accepted=counts["accepted"],
        duplicates=counts["duplicate"],
        refused=counts["refused"],
        events=[
            TakenEvent(one.status, one.event_id, one.sequence, refused_row(one.error, row))
            for row, one in zip(data.rows, taken, strict=True)
        ],
    )
