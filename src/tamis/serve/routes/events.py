"""`POST /v1/events`: what happened, into the journal."""

from __future__ import annotations

from collections import Counter
from functools import partial

from litestar import post
from litestar.params import JSONBody

from tamis.schema import RequestError
from tamis.serve.body import EventsBody, SentEvents
from tamis.serve.messages import EventsAnswer, Problem, TakenEvent
from tamis.serve.metrics import ServiceMetrics
from tamis.serve.routes.common import BAD, HTTP, LARGE, NOT_JSON, NOT_READY, with_journal


@post(
    "/v1/events",
    status_code=200,
    request_class=EventsBody,
    responses={400: BAD, 413: LARGE, 415: NOT_JSON, 503: NOT_READY},
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
    metrics.events(counts)
    request.scope["state"]["log"] = f" events={len(taken)} {dict(counts)}"
    return EventsAnswer(
        accepted=counts["accepted"],
        duplicates=counts["duplicate"],
        refused=counts["refused"],
        events=[
            TakenEvent(one.status, one.event_id, one.sequence, _problem(one.error)) for one in taken
        ],
    )


def _problem(error: RequestError | None) -> Problem | None:
    return None if error is None else Problem("bad_request", str(error), error.field or None)
