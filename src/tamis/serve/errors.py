"""Turns every failure into JSON: a code, the field at fault, how to fix it; never a traceback."""

from __future__ import annotations

import logging
from typing import Any

from litestar import Request as HTTPRequest
from litestar import Response
from litestar.exceptions import (
    HTTPException,
    MethodNotAllowedException,
    NotFoundException,
    ValidationException,
)

from tamis.schema import RequestError, StoreError, TamisError
from tamis.serve.body import MAX_BYTES, UnsupportedBodyError
from tamis.serve.messages import ErrorAnswer, Problem

log = logging.getLogger("tamis.serve")
AnyRequest = HTTPRequest[Any, Any, Any]


class NotReadyError(TamisError):
    """No version is open yet, or none could be opened."""


class NotFoundError(TamisError):
    """What the address names is not there."""


def _answer(status: int, problem: Problem) -> Response[ErrorAnswer]:
    headers = {"retry-after": "1"} if status == 503 else None
    return Response(ErrorAnswer(problem), status_code=status, headers=headers)


def on_http(request: AnyRequest, error: HTTPException) -> Response[ErrorAnswer]:
    """Unknown paths, wrong methods, bodies that are too large."""
    path = request.url.path
    if isinstance(error, NotFoundException):
        text = f"There is nothing at {path}; /schema lists the endpoints"
        return _answer(404, Problem("not_found", text))
    if isinstance(error, MethodNotAllowedException):
        text = f"{request.method} is not a method of {path}; /schema lists the endpoints"
        return _answer(405, Problem("method_not_allowed", text))
    if error.status_code == 413:
        events = path == "/v1/events" or path.startswith(("/v1/users", "/v1/items"))
        cure = "send less in one call" if events else "send fewer ids in `exclude_item_ids`"
        text = f"The body is larger than {MAX_BYTES:,} bytes; {cure}"
        return _answer(413, Problem("too_large", text, None if events else "exclude_item_ids"))
    if isinstance(error, ValidationException):
        return _answer(400, _of_parameter(request, error))
    code = "bad_request" if error.status_code < 500 else "internal"
    return _answer(error.status_code, Problem(code, f"{error.detail}; see /schema"))


def _of_parameter(request: AnyRequest, error: ValidationException) -> Problem:
    """What is wrong with a parameter of the address."""
    extra = error.extra if isinstance(error.extra, list) else []
    found = next((one for one in extra if isinstance(one, dict) and "key" in one), None)
    if found is None:
        return Problem("bad_request", f"{error.detail}; /schema describes the parameters")
    name, expected = str(found["key"]), str(found.get("message", "is wrong"))
    value = request.query_params.get(name, request.path_params.get(name))
    text = f"{name} = {value!r:.100}: {expected[:1].lower()}{expected[1:]}"
    return Problem("bad_request", f"{text}; /schema describes the parameters", name)


def on_tamis(request: AnyRequest, error: TamisError) -> Response[ErrorAnswer]:
    """Errors raised on purpose: their text is fit to show."""
    if isinstance(error, NotReadyError):
        return _answer(503, Problem("not_ready", str(error)))
    if isinstance(error, NotFoundError):
        return _answer(404, Problem("not_found", str(error)))
    if isinstance(error, StoreError):
        log.error("%s %s: %s", request.method, request.url.path, error)
        return _answer(503, Problem("unavailable", str(error)))
    if isinstance(error, UnsupportedBodyError):
        return _answer(415, Problem("unsupported_media_type", str(error)))
    if isinstance(error, RequestError):
        return _answer(400, Problem("bad_request", str(error), error.field or None))
    log.error("%s %s failed: %s", request.method, request.url.path, error, exc_info=error)
    return _answer(500, Problem("internal", str(error)))


def on_anything(request: AnyRequest, error: Exception) -> Response[ErrorAnswer]:
    """500: a defect. The traceback goes to the log, not over the wire."""
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    text = f"The service failed on this request ({type(error).__name__}); its log says where"
    return _answer(500, Problem("internal", text))


HANDLERS: dict[Any, Any] = {
    HTTPException: on_http,
    TamisError: on_tamis,
    Exception: on_anything,
}
