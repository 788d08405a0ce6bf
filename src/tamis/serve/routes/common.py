"""What the routes share: descriptions of failures, and the open service of a request."""

from __future__ import annotations

from typing import Any

from litestar import Request as HTTPRequest
from litestar.openapi import ResponseSpec

from tamis.serve.errors import NotReadyError
from tamis.serve.messages import ErrorAnswer
from tamis.serve.open_service import HasJournal, OpenService, Recommends, has_journal

HTTP = HTTPRequest[Any, Any, Any]
COMPUTES = {"computes": True}
"""Option of every route that uses `OpenService.run`: it is refused where too many requests wait."""
SEARCHES = {"computes": True, "searches": True}
"""Option of a route that also uses `OpenService.search`, whose waiting requests are apart."""
BAD = ResponseSpec(ErrorAnswer, generate_examples=False, description="The body or a field is wrong")
LARGE = ResponseSpec(ErrorAnswer, generate_examples=False, description="The body is too large")
NOT_JSON = ResponseSpec(
    ErrorAnswer, generate_examples=False, description="The body is compressed, or is not JSON"
)
NOT_FOUND = ResponseSpec(ErrorAnswer, generate_examples=False, description="It is not there")
NO_KEY = ResponseSpec(ErrorAnswer, generate_examples=False, description="No valid API key")
NO_SCOPE = ResponseSpec(
    ErrorAnswer, generate_examples=False, description="The API key lacks the scope of the route"
)
CONFLICT = ResponseSpec(
    ErrorAnswer, generate_examples=False, description="The state of the project does not allow it"
)
NOT_READY = ResponseSpec(
    ErrorAnswer,
    generate_examples=False,
    description="No version is open yet, the journal cannot be reached, or too many requests wait",
)


def user_text(request: HTTP, user_id: str | None) -> str:
    """The user in a line of the log; empty unless the service is to name users there."""
    return f" user_id={user_id!r}" if request.app.state["log_user_ids"] else ""


def ready_service(request: HTTP) -> tuple[OpenService, Recommends]:
    """The service of a request and its open recommender. Raises NotReadyError without one."""
    service: OpenService = request.app.state["service"]
    if service.problem is not None:
        raise NotReadyError(f"No version could be opened: {service.problem}")
    if service.recommender is None:
        raise NotReadyError("The serving version is being opened; try again in a second")
    return service, service.recommender


def with_journal(request: HTTP) -> tuple[OpenService, HasJournal]:
    """The same, of a service that has a journal. Raises NotReadyError where it has none."""
    service, recommender = ready_service(request)
    if not has_journal(recommender):
        raise NotReadyError("This service was started without a journal: start it by `tamis serve`")
    return service, recommender
