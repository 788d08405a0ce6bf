"""Who may call a route, by which address, and whether the queue takes another request.

All of it is checked before the body is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from litestar.connection import ASGIConnection
from litestar.handlers.base import BaseRouteHandler

from tamis.schema import RequestError, suggest
from tamis.serve.addresses import SLASH, whole_ids
from tamis.serve.errors import ForbiddenError, UnauthorizedError
from tamis.serve.keys import SCOPES, Keys, Scope
from tamis.serve.open_service import OpenService

Connection = ASGIConnection[Any, Any, Any, Any]
WRITTEN = ("/v1/events", "/v1/users", "/v1/items")
"""Paths whose changes need the scope write."""
OPEN = ("/health/", "/schema")
"""Paths that need no key."""
LOCAL = ("localhost", "*.localhost", "127.0.0.1", "[::1]")
"""Names of this machine, which other sites' names cannot lead to."""
_NO_FIELDS = ("request", "data")
"""Parameters of handlers that are no fields of the address."""


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


async def allowed(connection: Connection, handler: BaseRouteHandler) -> None:
    """All checks of this module, in their order.

    One coroutine: the framework runs guards that are plain functions in threads, and each change
    of the thread may wait for the interpreter lock that the thread of the answers holds.
    """
    restore_ids(connection)
    check_host(connection)
    check_key(connection, handler)
    check_fields(connection, handler)
    check_queue(connection, handler)


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


def restore_ids(connection: Connection) -> None:
    """Gives ids of the address their slashes, after the route has been found."""
    if SLASH in connection.scope["path"]:
        connection.scope["path_params"] = whole_ids(connection.scope["path_params"])


def check_host(connection: Connection) -> None:
    """Raises ForbiddenError for a request to a host that is none of the service's.

    Another site's name may lead to this machine for a moment (DNS rebinding): then a page of that
    site could read and write here, but for the `host` that the browser sends.
    """
    hosts: Sequence[str] = connection.app.state["hosts"]
    if not hosts or connection.scope["path"].startswith("/health/"):
        return
    sent = connection.headers.get("host", "")
    if not any(_is_host(sent, host) for host in hosts):
        raise ForbiddenError(
            f"host: {sent!r:.80} is none of this service's ({', '.join(hosts)}): use one of them, "
            "or name it in `hosts` of [serve] in tamis.toml"
        )


def check_fields(connection: Connection, handler: BaseRouteHandler) -> None:
    """Raises RequestError for a field of the address that the route does not have, or has twice."""
    given = connection.query_params
    if not given or not connection.scope["path"].startswith("/v1/"):
        return
    parameters = handler.parsed_fn_signature.parameters
    known = [name for name in parameters if name not in (*connection.path_params, *_NO_FIELDS)]
    for name in given:
        if "data" in parameters:
            text = f"{name}: fields belong into the JSON body, not into the address"
            raise RequestError(text, name)
        if name not in known:
            text = f"{name}: this address has no such field.{suggest(name, known)} "
            raise RequestError(text + f"Fields: {', '.join(known) or 'none'}", name)
        if len(given.getall(name)) > 1:
            raise RequestError(f"{name} is given twice; give it once", name)


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


def _is_host(sent: str, host: str) -> bool:
    """Whether a header `host`, which may end with a port, names an allowed host."""
    name = sent.strip().lower()
    name = name.partition("]")[0] + "]" if name.startswith("[") else name.partition(":")[0]
    name, host = name.rstrip("."), host.lower()
    return host in ("*", name) or (host.startswith("*.") and name.endswith(host[1:]))


def presented_key(connection: Connection) -> str | None:
    """The key of `authorization: Bearer KEY`, or of `x-api-key: KEY`."""
    kind, _, key = connection.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and key.strip():
        return key.strip()
    return connection.headers.get("x-api-key", "").strip() or None
