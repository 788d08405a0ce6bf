"""`/v1/versions`: lists the project's versions, activates one, rolls back."""

from __future__ import annotations

from functools import partial

from litestar import get, post
from litestar.params import FromPath

from tamis.schema import VersionError
from tamis.serve.errors import ConflictError, NotFoundError, NotReadyError
from tamis.serve.messages import ListedVersion, VersionsAnswer
from tamis.serve.open_service import OpenService, Swaps
from tamis.serve.routes.common import BAD, CONFLICT, HTTP, NOT_FOUND, NOT_READY, ready_service
from tamis.service import VersionLine


@get("/v1/versions", responses={400: BAD, 503: NOT_READY})
async def versions(request: HTTP) -> VersionsAnswer:
    """The project's versions, oldest first."""
    service, serving = _with_versions(request)
    lines = await service.beside(serving.versions.lines)
    return VersionsAnswer(
        answering=serving.live.version,
        problem=serving.problem,
        versions=[_message(line) for line in lines],
    )


@post(
    "/v1/versions/{name:str}/activate",
    status_code=200,
    responses={400: BAD, 404: NOT_FOUND, 409: CONFLICT, 503: NOT_READY},
)
async def activate(name: FromPath[str], request: HTTP) -> ListedVersion:
    """Make a version the current one of its kind, once its files have been checked. Every process
    of the service opens a serving version beside the former one and then switches to it."""
    service, serving = _with_versions(request)
    if name not in {line.name for line in await service.beside(serving.versions.lines)}:
        raise NotFoundError(f"the project has no version {name!r}; GET /v1/versions lists them")
    try:
        return _message(await service.beside(partial(serving.versions.activate, name)))
    except VersionError as error:
        raise ConflictError(str(error)) from error


@post("/v1/versions/rollback", status_code=200, responses={400: BAD, 409: CONFLICT, 503: NOT_READY})
async def rollback(request: HTTP) -> ListedVersion:
    """Make the serving version before the current one the current one."""
    service, serving = _with_versions(request)
    try:
        return _message(await service.beside(serving.versions.rollback))
    except VersionError as error:
        raise ConflictError(str(error)) from error


def _with_versions(request: HTTP) -> tuple[OpenService, Swaps]:
    service, _ = ready_service(request)
    if service.serving is None:
        raise NotReadyError("This service serves one version: start it by `tamis serve`")
    return service, service.serving


def _message(line: VersionLine) -> ListedVersion:
    return ListedVersion(
        name=line.name,
        kind=line.kind,
        current=line.current,
        data_until=line.data_until,
        created=line.created,
        mb=round(line.mb, 3),
        code=line.code,
    )
