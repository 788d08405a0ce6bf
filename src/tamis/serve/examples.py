"""Examples of every route for the OpenAPI document: a body that is accepted, and its answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec
from litestar.openapi.spec import (
    Example,
    OpenAPIMediaType,
    OpenAPIResponse,
    Operation,
    Parameter,
    RequestBody,
)

from tamis._version import __version__
from tamis.serve.errors import CURES
from tamis.serve.messages import (
    DeletedUser,
    ErrorAnswer,
    EventsAnswer,
    ExperimentResultAnswer,
    ExperimentsAnswer,
    FoundUser,
    HiddenItem,
    ItemRow,
    JournalState,
    ListedExperiment,
    ListedStep,
    ListedVersion,
    Live,
    LoggedAnswer,
    LoggedItem,
    LookalikeAnswer,
    PlanAnswer,
    PlannedTest,
    Problem,
    RankAnswer,
    RankedLine,
    Ready,
    RecommendAnswer,
    RecommendedItem,
    RemovedLine,
    RowsAnswer,
    SimilarAnswer,
    SimilarLine,
    StoredRow,
    TakenEvent,
    UserRow,
    VersionsAnswer,
)
from tamis.service import Lift, Reason, WhyNot

USER, ITEM, RECOMMENDATION, VERSION = "42", "1193", "r1", "serving-3"
TIME = 1_735_689_600_000
ADDRESS = {
    "user_id": USER,
    "item_id": ITEM,
    "recommendation_id": RECOMMENDATION,
    "name": VERSION,
    "experiment": "more_recent",
}
"""Examples of the ids in addresses."""
_TITLE = "Film 193, the gay one (1993)"
_REASON = Reason(
    text="like Film 100, the gay one (1990) (itemcf #1)",
    channels=({"channel": "itemcf", "rank": 1, "score": 0.5, "because": "Film 100"},),
    prerank={"score": 0.1, "place": 1},
    predictions={"like": 0.7},
    value=0.7,
    value_place=1,
    rerank={},
)
_STORED = StoredRow("accepted", USER, 18)
_STORED_ITEM = StoredRow("accepted", ITEM, 18)
_VERSION = ListedVersion(
    VERSION, "serving", True, TIME, "2025-01-01T03:00:00+00:00", 12.5, __version__
)
_STEP = ListedStep("start", TIME, "ada", "small traffic first", traffic=0.05)
_EXPERIMENT = ListedExperiment(
    "more_recent", "running", "rank", 0.05, ["old", "new"], "click / show", TIME, [_STEP]
)
_RAMPED = msgspec.structs.replace(
    _EXPERIMENT,
    traffic=0.2,
    steps=[_STEP, ListedStep("ramp", TIME + 86_400_000, "ada", traffic=0.2)],
)
_FULL = msgspec.structs.replace(
    _EXPERIMENT,
    stage="full",
    traffic=0.2,
    steps=[_STEP, ListedStep("full", TIME + 864_000_000, "ada", arm="new", reverse=0.05)],
)
_CLOSED = msgspec.structs.replace(
    _EXPERIMENT,
    stage="closed",
    traffic=0.0,
    steps=[_STEP, ListedStep("close", TIME + 864_000_000, "ada", "no difference found")],
)
_USER_COLUMNS = {"gender": "F", "age": 31}
_ITEM_COLUMNS = {"title": _TITLE, "genres": "Comedy|Romance"}


@dataclass(frozen=True)
class RouteExample:
    """What is sent to a route, and what it answers."""

    answer: Any
    """A message, or text where the answer is not JSON."""
    body: Any = None
    """A JSON value; None: the route has no body."""


EXAMPLES = {
    "POST /v1/recommend": RouteExample(
        body={"user_id": USER, "n": 10, "scene": "home", "explain": True},
        answer=RecommendAnswer(
            recommendation_id=RECOMMENDATION,
            version=VERSION,
            user_id=USER,
            known=True,
            time=TIME,
            clock="now",
            items=[RecommendedItem(ITEM, _TITLE, 1, 0.7, reasons=_REASON)],
            took_ms=5.1,
        ),
    ),
    "POST /v1/rank": RouteExample(
        body={"user_id": USER, "item_ids": [ITEM, "1100", "1199", "9999"]},
        answer=RankAnswer(
            version=VERSION,
            user_id=USER,
            known=True,
            time=TIME,
            clock="now",
            items=[
                RankedLine(ITEM, _TITLE, 1, 0.7, {"like": 0.7}),
                RankedLine("1199", "Film 199, the gay one (1999)", 2, 0.2, {"like": 0.2}),
            ],
            removed=[
                RemovedLine("1100", "Film 100, the gay one (1990)", ["seen"], ["seen before"])
            ],
            unknown=["9999"],
            took_ms=2.4,
        ),
    ),
    "GET /v1/similar/{item_id}": RouteExample(
        SimilarAnswer(
            VERSION,
            "text",
            ITEM,
            _TITLE,
            [SimilarLine("1199", "Film 199, the gay one (1999)", 1, 0.8)],
        )
    ),
    "POST /v1/lookalike": RouteExample(
        body={"item_id": ITEM, "n": 100},
        answer=LookalikeAnswer(
            version=VERSION,
            channel="two_tower",
            seeds=21,
            unknown_user_ids=[],
            users=[FoundUser("7", 0.91, 1)],
            expected_lift=Lift(2.1, 1.8, 2.4, 0.21, 0.1, 80, 300),
            note="",
        ),
    ),
    "POST /v1/events": RouteExample(
        body=[
            {"event_id": "e1", "user_id": USER, "item_id": ITEM, "behaviour": "like", "value": 5},
            {"event_id": "e2", "user_id": USER, "item_id": "1199", "behaviour": "like", "value": 4},
        ],
        answer=EventsAnswer(
            accepted=1,
            duplicates=1,
            refused=0,
            events=[TakenEvent("accepted", "e1", 17), TakenEvent("duplicate", "e2", 4)],
        ),
    ),
    "PUT /v1/items/{item_id}": RouteExample(_STORED_ITEM, _ITEM_COLUMNS),
    "PATCH /v1/items/{item_id}": RouteExample(_STORED_ITEM, {"genres": "Comedy"}),
    "GET /v1/items/{item_id}": RouteExample(ItemRow(ITEM, _ITEM_COLUMNS, hidden=False)),
    "DELETE /v1/items/{item_id}": RouteExample(StoredRow("accepted", ITEM, 19)),
    "PUT /v1/items": RouteExample(
        RowsAnswer(1, 0, [_STORED_ITEM]), [{"item_id": ITEM, **_ITEM_COLUMNS}]
    ),
    "PATCH /v1/items": RouteExample(
        RowsAnswer(1, 0, [_STORED_ITEM]), [{"item_id": ITEM, "genres": "Comedy"}]
    ),
    "POST /v1/items/{item_id}/hide": RouteExample(HiddenItem("accepted", ITEM, 20, hidden=True)),
    "POST /v1/items/{item_id}/show": RouteExample(HiddenItem("accepted", ITEM, 21, hidden=False)),
    "PUT /v1/users/{user_id}": RouteExample(_STORED, _USER_COLUMNS),
    "PATCH /v1/users/{user_id}": RouteExample(_STORED, {"age": 32}),
    "GET /v1/users/{user_id}": RouteExample(UserRow(USER, _USER_COLUMNS)),
    "DELETE /v1/users/{user_id}": RouteExample(
        DeletedUser("accepted", USER, 22, answers=3, versions=[VERSION])
    ),
    "PUT /v1/users": RouteExample(
        RowsAnswer(1, 0, [_STORED]), [{"user_id": USER, **_USER_COLUMNS}]
    ),
    "PATCH /v1/users": RouteExample(RowsAnswer(1, 0, [_STORED]), [{"user_id": USER, "age": 32}]),
    "GET /v1/recommendations/{recommendation_id}": RouteExample(
        LoggedAnswer(
            recommendation_id=RECOMMENDATION,
            version=VERSION,
            user_id=USER,
            time=TIME,
            items=[LoggedItem(ITEM, _TITLE, 1, 0.7, _REASON)],
            degraded=[],
            notes=[],
        )
    ),
    "GET /v1/recommendations/{recommendation_id}/why-not/{item_id}": RouteExample(
        WhyNot(ITEM, _TITLE, "rank_cut", "ranked 31 of 60 by value, the slate has 10", _REASON)
    ),
    "GET /v1/versions": RouteExample(VersionsAnswer(VERSION, None, [_VERSION])),
    "POST /v1/versions/{name}/activate": RouteExample(_VERSION),
    "POST /v1/versions/rollback": RouteExample(_VERSION),
    "GET /v1/experiments": RouteExample(ExperimentsAnswer([_EXPERIMENT])),
    "POST /v1/experiments/plan": RouteExample(
        PlanAnswer(
            metric="returned(7) / observed(7)",
            share=0.5,
            power=0.8,
            alpha=0.05,
            plans=[
                PlannedTest(21, 42_000, 0.2, 0.0547, None),
                PlannedTest(28, 63_000, 0.2, 0.0446, None),
            ],
            days=28,
            effect=0.05,
            planned=50_233,
        ),
        {
            "metric": "returned(7) / observed(7)",
            "effect": 0.05,
            "value": 0.2,
            "users_per_day": 3_000,
        },
    ),
    "GET /v1/experiments/{experiment}": RouteExample(_EXPERIMENT),
    "GET /v1/experiments/{experiment}/report": RouteExample(
        ExperimentResultAnswer(
            "more_recent",
            "no data yet",
            "An arm has fewer than 30 users.",
            None,
            {"control": "old", "arms": {"old": 0.5, "new": 0.5}, "several": 0},
        )
    ),
    "POST /v1/experiments/{experiment}/start": RouteExample(
        _EXPERIMENT, {"traffic": 0.05, "by": "ada", "note": "small traffic first"}
    ),
    "POST /v1/experiments/{experiment}/ramp": RouteExample(_RAMPED, {"traffic": 0.2, "by": "ada"}),
    "POST /v1/experiments/{experiment}/full": RouteExample(
        _FULL, {"arm": "new", "reverse": 0.05, "by": "ada"}
    ),
    "POST /v1/experiments/{experiment}/close": RouteExample(
        _CLOSED, {"by": "ada", "note": "no difference found"}
    ),
    "GET /health/live": RouteExample(Live()),
    "GET /health/ready": RouteExample(
        Ready(
            VERSION,
            open_versions=[VERSION],
            journal=JournalState(22, 22, "survives a loss of power", 0, {}),
        )
    ),
    "GET /metrics": RouteExample('tamis_version{version="serving-3"} 1.0\n'),
}
"""Method and path → an example of its use."""

_PROBLEMS = {
    400: Problem("bad_request", "n = 0: expected `int` >= 1", "n", 0),
    401: Problem(
        "unauthorized",
        "This service needs an API key: send the header `authorization: Bearer KEY`",
    ),
    403: Problem(
        "forbidden",
        "The key web has the scopes read, and this route needs write: use another key",
    ),
    404: Problem("not_found", "item_id '1193' is unknown, or was deleted: put the item"),
    409: Problem("conflict", "there is no serving version before serving-3 to roll back to"),
    413: Problem("too_large", "The body is larger than 1,000,000 bytes; send less in one call"),
    415: Problem(
        "unsupported_media_type",
        "content-type: text/xml: send JSON, with the header `content-type: application/json`",
    ),
    503: Problem("not_ready", "The serving version is being opened; try again in a second"),
}
"""Status → an example of its answer."""


@dataclass
class ExampledOperation(Operation):
    """An operation of the OpenAPI document with an example of its body and of each answer."""

    route: ClassVar[RouteExample]

    def __post_init__(self) -> None:
        if isinstance(self.request_body, RequestBody):
            _add(self.request_body.content, self.route.body)
        for parameter in self.parameters or []:
            if isinstance(parameter, Parameter):
                parameter.example = ADDRESS.get(parameter.name)
        for status, response in (self.responses or {}).items():
            if isinstance(response, OpenAPIResponse) and response.content:
                _add(response.content, _answer(self.route, int(status)))


def operation(route: str) -> type[Operation]:
    """The class of the operation of a route, "METHOD /path"."""
    if route not in EXAMPLES:
        return Operation
    return type("ExampledOperation", (ExampledOperation,), {"route": EXAMPLES[route]})


def _answer(route: RouteExample, status: int) -> Any:
    if status == 200:
        return msgspec.to_builtins(route.answer)
    problem = _PROBLEMS.get(status)
    if problem is None:
        return None
    cured = msgspec.structs.replace(problem, cure=CURES[problem.code])
    return msgspec.to_builtins(ErrorAnswer(cured))


def _add(content: dict[str, OpenAPIMediaType], value: Any) -> None:
    if value is not None:
        for media in content.values():
            media.examples = {"example": Example(value=value)}
