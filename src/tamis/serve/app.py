"""The HTTP service: recommendations, events, hidden items, earlier answers, health, `/schema`."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from time import perf_counter
from typing import cast

from anyio import CancelScope, create_task_group
from litestar import Litestar
from litestar.datastructures import State
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import SwaggerRenderPlugin
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from tamis._version import __version__
from tamis.schema import ServeConfig
from tamis.serve.access import allowed
from tamis.serve.addresses import divided
from tamis.serve.body import MAX_BYTES, BodyRequest, EventsSchema
from tamis.serve.errors import HANDLERS
from tamis.serve.keys import Keys
from tamis.serve.measuring import keep_measuring
from tamis.serve.metrics import ServiceMetrics
from tamis.serve.open_service import OpenService, Recommends, Swaps
from tamis.serve.routes import ROUTES
from tamis.serve.routes.lookalike import Lookalikes

log = logging.getLogger("tamis.serve")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
UNMATCHED = "other"
"""In the log and the metrics: a path that is no route, and a method that is none of METHODS."""
LOGGED = 400
"""Characters of a path in the log."""


def create_app(
    recommender: Recommends | Swaps | Callable[[], Recommends | Swaps],
    keys: Keys | None = None,
    config: ServeConfig | None = None,
    worker: int = 0,
) -> Litestar:
    """The service as an ASGI application.

    Args:
        recommender: an open one, or a function that opens one: then the service is live at once
            and ready when the function has returned. `tamis.service.Serving` takes up versions
            that are published later.
        keys: the API keys; None: every caller may do everything.
        config: options of `[serve]`. Without `hosts` requests to every host are answered, while
            `tamis serve` answers those to this machine alone where there are no keys.
        worker: number of this process among those that share the port.
    """
    config = config or ServeConfig()
    service = OpenService(recommender, config.queue, worker)
    metrics = ServiceMetrics()
    app = Litestar(
        ROUTES,
        request_class=BodyRequest,
        plugins=[EventsSchema()],
        guards=[allowed],
        state=State(
            {
                "service": service,
                "lookalikes": Lookalikes(),
                "metrics": metrics,
                "keys": keys,
                "hosts": config.hosts,
                "log_user_ids": config.log_user_ids,
            }
        ),
        lifespan=[partial(_opening, service, metrics)],
        exception_handlers=HANDLERS,
        openapi_config=OpenAPIConfig(
            title="Tamis",
            version=__version__,
            description="The ten items that matter, and why.",
            render_plugins=[SwaggerRenderPlugin()],
        ),
        request_max_body_size=MAX_BYTES,
        logging_config=None,
    )
    # around the router: middleware would not see the requests that match no route
    app.asgi_handler = _log_line(app.asgi_handler, metrics, config.log_user_ids)
    return app


@asynccontextmanager
async def _opening(
    service: OpenService, metrics: ServiceMetrics, app: Litestar
) -> AsyncGenerator[None]:
    """Opens the version beside the running service, so that `/health/live` answers meanwhile, and
    sums up the metrics."""
    measuring = CancelScope()

    async def measured() -> None:
        with measuring:
            await keep_measuring(service, metrics)

    async with create_task_group() as group:
        group.start_soon(service.open)
        group.start_soon(measured)
        yield
        measuring.cancel()
    await service.close()


def _log_line(app: ASGIApp, metrics: ServiceMetrics, log_ids: bool) -> ASGIApp:
    """One line and one note for the metrics per request: method, path, status, milliseconds, and
    what the handler adds."""

    async def logged(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        began, status, inner = perf_counter(), 500, divided(scope)

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await app(cast("Scope", inner), receive, sending)
        finally:
            took = perf_counter() - began
            route = str(inner.get("path_template") or UNMATCHED)
            method = scope["method"] if scope["method"] in METHODS else UNMATCHED
            metrics.request(method, route, status, took)
            path = _logged_path(scope["path"], route, log_ids)
            details = inner.get("state", {}).get("log", "")
            log.info("%s %s %d %.1fms%s", method, path, status, 1000 * took, details)

    return logged


def _logged_path(path: str, route: str, log_ids: bool) -> str:
    """A path in one printable line; the route's where the path may hold the id of a user and ids
    are not to be logged."""
    if not log_ids and "user" in path.lower():
        return route
    shown = path[:LOGGED]
    return shown if shown.isprintable() else ascii(shown)
