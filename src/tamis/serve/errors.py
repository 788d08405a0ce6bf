"""Turns every failure into JSON: a code, the field at fault, how to fix it; never a traceback."""

from __future__ import annotations

import logging
import reprlib
from collections.abc import Mapping
from typing import Any, cast

from litestar import Request as HTTPRequest
from litestar import Response
from litestar.exceptions import (
    HTTPException,
    MethodNotAllowedException,
    NotFoundException,
    ValidationException,
)
from msgspec import structs

from tamis.schema import RequestError, StoreError, TamisError
from tamis.serve.addresses import shown_path
from tamis.serve.body import MAX_BYTES, UnsupportedBodyError
from tamis.serve.messages import ErrorAnswer, Problem

log = logging.getLogger("tamis.serve")
AnyRequest = HTTPRequest[Any, Any, Any]
SHOWN = 200
"""Characters of a value that an error repeats."""


class NotReadyError(TamisError):
    """No version is open yet, or none could be opened."""


class NotFoundError(TamisError):
    """What the address names is not there."""


class ConflictError(TamisError):
    """The state of the project does not allow what was requested."""


class UnauthorizedError(TamisError):
    """The request has no valid API key."""


class ForbiddenError(TamisError):
    """The API key lacks the scope of the route, or a page of another site calls without one."""


class OverloadedError(TamisError):
    """Too many requests wait already."""


CURES = {
    "bad_request": "correct the request as the message says; /schema describes it",
    "unauthorized": "send the header `authorization: Bearer KEY`",
    "forbidden": "use a key with the scope that the message names",
    "not_found": "check the address or the id; /schema lists the endpoints",
    "conflict": "do what the message says first, or ask for something else",
    "method_not_allowed": "use a method that the header `allow` or /schema names",
    "too_large": "send less in one call",
    "unsupported_media_type": "send uncompressed JSON with `content-type: application/json`",
    "overloaded": "try again after the seconds of `retry-after`",
    "not_ready": "try again after the seconds of `retry-after`",
    "unavailable": "try again after the seconds of `retry-after`",
    "internal": "report it with the line of the service's log",
}
"""Code → what a program can do."""
COLUMNS = "send fewer columns, or shorter texts and lists in them"
NOTE = "send a shorter `note`"
LESS = {
    "/v1/recommend": "send fewer ids in `exclude_item_ids`",
    "/v1/rank": "send fewer ids in `item_ids`",
    "/v1/lookalike": "send fewer ids in `user_ids`",
    "/v1/events": "send fewer events in one call",
    "/v1/users": "send fewer users in one call",
    "/v1/items": "send fewer items in one call",
    "/v1/experiments/plan": "send a shorter `metric`",
    "/v1/experiments/{experiment}/start": "declare the experiment in tamis.toml",
    "/v1/experiments/{experiment}/ramp": NOTE,
    "/v1/experiments/{experiment}/full": NOTE,
    "/v1/experiments/{experiment}/close": NOTE,
    "/v1/users/{user_id}": COLUMNS,
    "/v1/items/{item_id}": COLUMNS,
}
"""Route → how to make a body smaller that is too large."""


def _answer(status: int, problem: Problem, **headers: str) -> Response[ErrorAnswer]:
    if status == 503:
        headers["retry-after"] = "1"
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    problem = structs.replace(problem, cure=CURES.get(problem.code, CURES["bad_request"]))
    return Response(ErrorAnswer(problem), status_code=status, headers=headers)


def _value(request: AnyRequest, field: str | None) -> Any:
    """The value that was sent in a field of the body or the address, shortened; None without."""
    if field is None:
        return None
    sent = request.scope["state"].get("sent")
    if isinstance(sent, dict) and field in sent:
        return shown(sent[field])
    return shown(request.query_params.get(field, request.path_params.get(field)))


def shown(value: Any) -> Any:
    """A value as an error repeats it: numbers and short texts as they are, others shortened."""
    if (
        value is None
        or isinstance(value, bool | float)
        or (isinstance(value, int) and abs(value) < 2**53)
    ):
        return value
    text = value if isinstance(value, str) else reprlib.repr(value)
    text = text if len(text) <= SHOWN else text[:SHOWN] + "…"
    return text.encode("utf-8", "backslashreplace").decode()


def refused_row(error: RequestError | None, row: object) -> Problem | None:
    """What is wrong with a row of a list, the value of its field at fault included; None: nothing.

    row: the row as it was sent.
    """
    if error is None:
        return None
    field = error.field or None
    fields = cast("Mapping[object, object]", row) if isinstance(row, Mapping) else {}
    value = shown(fields.get(field))
    return Problem("bad_request", str(error), field, value, CURES["bad_request"])


def on_http(request: AnyRequest, error: HTTPException) -> Response[ErrorAnswer]:
    """Unknown paths, wrong methods, bodies that are too large."""
    path = shown_path(request.scope["path"])
    if isinstance(error, NotFoundException):
        text = f"There is nothing at {path}; /schema lists the endpoints"
        return _answer(404, Problem("not_found", text))
    if isinstance(error, MethodNotAllowedException):
        text = f"{request.method} is not a method of {path}; /schema lists the endpoints"
        return _answer(405, Problem("method_not_allowed", text), **error.headers or {})
    if error.status_code == 413:
        less = LESS.get(request.scope["path_template"], "send less in one call")
        text = f"The body is larger than {MAX_BYTES:,} bytes; {less}"
        return _answer(413, Problem("too_large", text))
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
    message = f"{text}; /schema describes the parameters"
    return Problem("bad_request", message, name, shown(value))


def on_tamis(request: AnyRequest, error: TamisError) -> Response[ErrorAnswer]:
    """Errors raised on purpose: their text is fit to show."""
    if isinstance(error, NotReadyError):
        return _answer(503, Problem("not_ready", str(error)))
    if isinstance(error, OverloadedError):
        return _answer(503, Problem("overloaded", str(error)))
    if isinstance(error, UnauthorizedError):
        return _answer(401, Problem("unauthorized", str(error)))
    if isinstance(error, ForbiddenError):
        return _answer(403, Problem("forbidden", str(error)))
    if isinstance(error, NotFoundError):
        return _answer(404, Problem("not_found", str(error)))
    if isinstance(error, ConflictError):
        return _answer(409, Problem("conflict", str(error)))
    if isinstance(error, StoreError):
        log.error("%s %s: %s", request.method, request.scope["path_template"], error)
        return _answer(503, Problem("unavailable", str(error)))
    if isinstance(error, UnsupportedBodyError):
        return _answer(415, Problem("unsupported_media_type", str(error)))
    if isinstance(error, RequestError):
        field = error.field or None
        return _answer(400, Problem("bad_request", str(error), field, _value(request, field)))
    path = request.scope["path_template"]
    log.error("%s %s failed: %s", request.method, path, error, exc_info=error)
    return _answer(500, Problem("internal", str(error)))


def on_anything(request: AnyRequest, error: Exception) -> Response[ErrorAnswer]:
    """500: a defect. The traceback goes to the log, not over the wire."""
    log.error("%s %s failed", request.method, request.scope["path_template"], exc_info=error)
    text = f"The service failed on this request ({type(error).__name__}); its log says where"
    return _answer(500, Problem("internal", text))


HANDLERS: dict[Any, Any] = {
    HTTPException: on_http,
    TamisError: on_tamis,
    Exception: on_anything,
}
