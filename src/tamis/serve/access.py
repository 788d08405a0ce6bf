"""Who may call a route, and whether the queue takes another request; checked before the body."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from litestar.connection import ASGIConnection
from litestar.handlers.base import BaseRouteHandler

from tamis.serve.errors import ForbiddenError, UnauthorizedError
from tamis.serve.keys import SCOPES, Keys, Scope
from tamis.serve.open_service import OpenService

Connection = ASGIConnection[Any, Any, Any, Any]
WRITTEN = ("/v1/events", "/v1/users", "/v1/items")
"""Paths whose changes need the scope write."""
OPEN = ("/health/", "/schema")
"""Paths that need no key."""


def scope_of(handler: BaseRouteHandler, method: str) -> Scope:
    """The scope that a route needs: its `opt["scope"]`, else read for GET, write for users, items
    and events, and admin for others."""
    declared = handler.opt.get("scope")
    for scope in SCOPES:
        if declared == scope:
            return scope
    if method in ("GET", "HEAD"):
        return "read"
    return "write" if all(path.startswith(WRITTEN) for path in handler.paths) else "admin"


def check_key(connection: Connection, handler: BaseRouteHandler) -> None:
    """Raises UnauthorizedError without a valid key, ForbiddenError where it lacks the scope."""
    keys: Keys | None = connection.app.state["keys"]
    path = connection.scope["path"]
    if keys is None:
        check_origin(connection)
        return
    if path.startswith(OPEN):
        return
    presented = presented_key(connection)
    if presented is None:
        raise UnauthorizedError(
            "This service needs an API key: send the header `authorization: Bearer KEY`"
        )
    key = keys.find(presented)
    if key is None:
        raise UnauthorizedError("The API key is not one of this service's: check it")
    scope = scope_of(handler, connection.scope.get("method", "GET"))
    if not key.allows(scope):
        raise ForbiddenError(
            f"The key {key.name} has the scopes {', '.join(sorted(key.scopes))}, and this route "
            f"needs {scope}: use another key"
        )


def check_origin(connection: Connection) -> None:
    """Raises ForbiddenError for a request from a page of another site to a service without keys.

    A browser sends `origin` with every such request. Without this check any page that somebody
    opens could write to a service on the same machine.
    """
    origin = connection.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != connection.headers.get("host"):
        raise ForbiddenError(
            f"A page of {origin!r:.80} may not call a service without API keys: start it with "
            "`--keys`, and call it from your own server"
        )


def check_queue(connection: Connection, handler: BaseRouteHandler) -> None:
    """Raises OverloadedError where a route computes and too many requests wait already.

    The service checks this again when it begins: many bodies may arrive between the two.
    """
    service: OpenService = connection.app.state["service"]
    if handler.opt.get("computes"):
        service.check_queue()
    if handler.opt.get("searches"):
        service.check_searches()


def presented_key(connection: Connection) -> str | None:
    """The key of `authorization: Bearer KEY`, or of `x-api-key: KEY`."""
    kind, _, key = connection.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and key.strip():
        return key.strip()
    return connection.headers.get("x-api-key", "").strip() or None
