"""The HTTP service: recommendations, events, hidden items, earlier answers, health, `/schema`."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from time import perf_counter
from typing import Any

from anyio import create_task_group
from litestar import Litestar, get, post
from litestar import Request as HTTPRequest
from litestar.datastructures import State
from litestar.openapi import OpenAPIConfig, ResponseSpec
from litestar.openapi.plugins import SwaggerRenderPlugin
from litestar.params import FromPath, JSONBody
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from msgspec import UNSET

from tamis._version import __version__
from tamis.schema import RequestError, StoreError
from tamis.serve.body import MAX_BYTES, BodyRequest, EventsBody, EventsSchema, SentEvents
from tamis.serve.errors import HANDLERS, NotFoundError, NotReadyError
from tamis.serve.messages import (
    Changed,
    ErrorAnswer,
    EventsAnswer,
    JournalState,
    Live,
    LoggedAnswer,
    LoggedItem,
    Problem,
    Ready,
    RecommendAnswer,
    RecommendedItem,
    TakenEvent,
)
from tamis.serve.open_service import HasJournal, OpenService, Recommends
from tamis.service import Answer, Request

log = logging.getLogger("tamis.serve")
BAD = ResponseSpec(ErrorAnswer, generate_examples=False, description="The body or a field is wrong")
LARGE = ResponseSpec(ErrorAnswer, generate_examples=False, description="The body is too large")
NOT_JSON = ResponseSpec(
    ErrorAnswer, generate_examples=False, description="The body is compressed, or is not JSON"
)
NOT_FOUND = ResponseSpec(ErrorAnswer, generate_examples=False, description="It is not there")
NOT_READY = ResponseSpec(
    ErrorAnswer,
    generate_examples=False,
    description="No version is open yet, or the journal cannot be reached",
)


def create_app(recommender: Recommends | Callable[[], Recommends]) -> Litestar:
    """The service as an ASGI application.

    Args:
        recommender: an open one, or a function that opens one: then the service is live at once
            and ready when the function has returned.
    """
    service = OpenService(recommender)
    return Litestar(
        [recommend, events, hide, show, recommendation, live, ready],
        request_class=BodyRequest,
        plugins=[EventsSchema()],
        state=State({"service": service}),
        lifespan=[partial(_opening, service)],
        exception_handlers=HANDLERS,
        middleware=[_log_line],
        openapi_config=OpenAPIConfig(
            title="Tamis",
            version=__version__,
            description="The ten items that matter, and why.",
            render_plugins=[SwaggerRenderPlugin()],
        ),
        request_max_body_size=MAX_BYTES,
        logging_config=None,
    )


@asynccontextmanager
async def _opening(service: OpenService, app: Litestar) -> AsyncGenerator[None]:
    """Opens the version beside the running service, so that `/health/live` answers meanwhile."""
    async with create_task_group() as group:
        group.start_soon(service.open)
        yield
    await service.close()


def _ready_service(request: HTTPRequest[Any, Any, Any]) -> tuple[OpenService, Recommends]:
    service: OpenService = request.app.state["service"]
    if service.problem is not None:
        raise NotReadyError(f"No version could be opened: {service.problem}")
    if service.recommender is None:
        raise NotReadyError("The serving version is being opened; try again in a second")
    return service, service.recommender


@post(
    "/v1/recommend",
    status_code=200,
    responses={400: BAD, 413: LARGE, 415: NOT_JSON, 503: NOT_READY},
)
async def recommend(
    data: JSONBody[Request], request: HTTPRequest[Any, Any, Any]
) -> RecommendAnswer:
    """The slate for one user. Unknown users are answered too; `degraded` lists what failed."""
    began = perf_counter()
    for name in request.query_params:
        raise RequestError(f"{name}: fields belong into the JSON body, not into the address", name)
    service, recommender = _ready_service(request)
    answer = await service.run(partial(recommender.recommend, data))
    request.scope["state"]["log"] = (
        f" request_id={answer.request_id!r} user={answer.user!r} known={answer.known}"
        f" items={len(answer.items)} version={answer.version} degraded={list(answer.degraded)}"
    )
    return _to_message(answer, took_ms=1000 * (perf_counter() - began))


def _to_message(answer: Answer, took_ms: float) -> RecommendAnswer:
    return RecommendAnswer(
        request_id=answer.request_id,
        version=answer.version,
        user=answer.user,
        known=answer.known,
        time=answer.time,
        clock=answer.clock,
        items=[
            RecommendedItem(p.item, p.title, p.place, p.score, p.reasons or UNSET)
            for p in answer.items
        ],
        took_ms=round(took_ms, 3),
        lag=answer.lag,
        degraded=list(answer.degraded),
        why_not=answer.why_not or UNSET,
    )


@post(
    "/v1/events",
    status_code=200,
    request_class=EventsBody,
    responses={400: BAD, 413: LARGE, 415: NOT_JSON, 503: NOT_READY},
)
async def events(data: JSONBody[SentEvents], request: HTTPRequest[Any, Any, Any]) -> EventsAnswer:
    """Take events: one, or up to 1,000 in a list. Each is accepted, refused with the reason, or a
    duplicate of an earlier one; accepted events are durable and change the next answer."""
    service, journal = _with_journal(request)
    taken = await service.beside(partial(journal.take, data.rows))
    if data.single and taken[0].error is not None:
        raise taken[0].error
    counts = Counter(one.status for one in taken)
    request.scope["state"]["log"] = f" events={len(taken)} {dict(counts)}"
    return EventsAnswer(
        accepted=counts["accepted"],
        duplicates=counts["duplicate"],
        refused=counts["refused"],
        events=[
            TakenEvent(one.status, one.event_id, one.sequence, _problem(one.error), one.note)
            for one in taken
        ],
    )


def _problem(error: RequestError | None) -> Problem | None:
    return None if error is None else Problem("bad_request", str(error), error.field or None)


@post("/v1/items/{item_id:str}/hide", status_code=200, responses={400: BAD, 503: NOT_READY})
async def hide(item_id: FromPath[str], request: HTTPRequest[Any, Any, Any]) -> Changed:
    """Hide an item: from now on it is in no answer."""
    service, journal = _with_journal(request)
    return Changed(item_id, True, await service.beside(partial(journal.hide, item_id)))


@post("/v1/items/{item_id:str}/show", status_code=200, responses={400: BAD, 503: NOT_READY})
async def show(item_id: FromPath[str], request: HTTPRequest[Any, Any, Any]) -> Changed:
    """Show a hidden item again."""
    service, journal = _with_journal(request)
    return Changed(item_id, False, await service.beside(partial(journal.show, item_id)))


@get("/v1/recommendations/{request_id:str}", responses={404: NOT_FOUND, 503: NOT_READY})
async def recommendation(
    request_id: FromPath[str], request: HTTPRequest[Any, Any, Any]
) -> LoggedAnswer:
    """An earlier answer, by its `request_id`."""
    service, journal = _with_journal(request)
    found = await service.beside(partial(journal.answered, request_id))
    if found is None:
        raise NotFoundError(
            f"the journal holds no answer with request_id {request_id!r}: check the id"
        )
    return LoggedAnswer(
        request_id=request_id,
        version=found.version,
        user=found.user_id,
        time=found.time,
        items=[LoggedItem(one.item_id, one.place, one.score) for one in found.slate],
        degraded=found.degraded,
    )


def _with_journal(request: HTTPRequest[Any, Any, Any]) -> tuple[OpenService, HasJournal]:
    service, recommender = _ready_service(request)
    if not isinstance(recommender, HasJournal):
        raise NotReadyError("This service was started without a journal: start it by `tamis serve`")
    return service, recommender


@get("/health/live")
async def live() -> Live:
    """200 while the process runs."""
    return Live()


@get("/health/ready", responses={503: NOT_READY})
async def ready(request: HTTPRequest[Any, Any, Any]) -> Ready:
    """200 once a serving version is open, and its name; 503 before, and why."""
    service, recommender = _ready_service(request)
    if not isinstance(recommender, HasJournal):
        return Ready(recommender.version)
    journal, head, problem = recommender.journal, None, None
    try:
        head = await service.beside(lambda: journal.head)
    except StoreError as error:  # answers go on without it, so the service stays ready
        problem = str(error)
    return Ready(
        recommender.version,
        JournalState(
            head=head,
            position=recommender.position,
            durability=journal.durability.text,
            lost_answers=recommender.lost_answers,
            skipped=dict(recommender.skipped),
            problem=problem,
        ),
    )


def _log_line(app: ASGIApp) -> ASGIApp:
    """One line per request: method, path, status, milliseconds, and what the handler adds."""

    async def logged(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        began, status = perf_counter(), 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await app(scope, receive, sending)
        finally:
            took = 1000 * (perf_counter() - began)
            details = scope.get("state", {}).get("log", "")
            log.info("%s %s %d %.1fms%s", scope["method"], scope["path"], status, took, details)

    return logged
