"""`/v1/experiments`: plans and lists experiments, and takes the steps of their lives."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, TypeVar

import msgspec
from litestar import get, post
from litestar.params import FromPath, JSONBody, QueryParameter

from tamis.schema import ConfigError, DataError, RequestError
from tamis.serve.access import presented_key
from tamis.serve.body import body_of
from tamis.serve.errors import ConflictError, NotFoundError, OverloadedError
from tamis.serve.keys import Keys
from tamis.serve.messages import (
    ExperimentResultAnswer,
    ExperimentsAnswer,
    ListedExperiment,
    ListedStep,
    PlanAnswer,
)
from tamis.serve.routes.common import (
    BAD,
    COMPUTES,
    CONFLICT,
    HTTP,
    LARGE,
    NOT_FOUND,
    NOT_JSON,
    NOT_READY,
    with_journal,
)
from tamis.service import (
    ExperimentLine,
    FullRequest,
    PlanOptionError,
    PlanRequest,
    ProjectExperiments,
    RampRequest,
    StartRequest,
    StepRequest,
    UnknownExperimentError,
    early_rollout,
    plan_experiment,
    report_experiment,
)

T = TypeVar("T")
STEPS = {400: BAD, 404: NOT_FOUND, 409: CONFLICT, 413: LARGE, 415: NOT_JSON, 503: NOT_READY}
PlanBody = body_of(PlanRequest, '{"metric": "click / show", "effect": 0.02}')
StepBody = body_of(StepRequest, '{"by": "ada", "note": "done"}')
StartBody = body_of(StartRequest, '{"traffic": 0.05, "by": "ada"}')
RampBody = body_of(RampRequest, '{"traffic": 0.2, "by": "ada"}')
FullBody = body_of(FullRequest, '{"arm": "treatment", "reverse": 0.05, "by": "ada"}')


@get("/v1/experiments", responses={400: BAD, 409: CONFLICT, 503: NOT_READY})
async def experiments(request: HTTP) -> ExperimentsAnswer:
    """All experiments: those that were started, the oldest first, then drafts."""
    service, _ = with_journal(request)
    lines = await service.beside(partial(_answered, _experiments(request).lines))
    return ExperimentsAnswer([_message(line) for line in lines])


@post(
    "/v1/experiments/plan",
    status_code=200,
    request_class=PlanBody,
    opt={"scope": "read", "searches": True},
    responses={400: BAD, 409: CONFLICT, 413: LARGE, 415: NOT_JSON, 503: NOT_READY},
)
async def plan_of_experiment(data: JSONBody[PlanRequest], request: HTTP) -> PlanAnswer:
    """What an A/B test could find, by how long it runs: from the project's log, or from the `value`
    of the metric. Nothing is written."""
    service, journal = with_journal(request)
    plan = partial(plan_experiment, journal.project, **msgspec.structs.asdict(data))
    try:
        found = await service.search(plan)
    except PlanOptionError as error:
        raise RequestError(str(error), error.field) from error
    except (ConfigError, DataError) as error:
        raise ConflictError(str(error)) from error
    return msgspec.convert(found.to_dict(), PlanAnswer)


@get(
    "/v1/experiments/{experiment:str}",
    responses={400: BAD, 404: NOT_FOUND, 409: CONFLICT, 503: NOT_READY},
)
async def read_experiment(experiment: FromPath[str], request: HTTP) -> ListedExperiment:
    """An experiment, with who did what, when and why."""
    service, _ = with_journal(request)
    return _message(await service.beside(partial(_known, _experiments(request), experiment)))


@get(
    "/v1/experiments/{experiment:str}/report",
    opt={"searches": True},
    responses={400: BAD, 404: NOT_FOUND, 409: CONFLICT, 503: NOT_READY},
)
async def report_of_experiment(
    experiment: FromPath[str],
    request: HTTP,
    segment: Annotated[
        str | None, QueryParameter(description="Column of the users by whose values it is read.")
    ] = None,
) -> ExperimentResultAnswer:
    """The result of an experiment as it is now: the state in words, health, effects with intervals,
    by day, and by `segment`, a column of the users."""
    service, journal = with_journal(request)
    await service.beside(partial(_known, _experiments(request), experiment))
    read = partial(report_experiment, journal.project, experiment, journal.store, segment=segment)
    found = await service.search(partial(_answered, read))
    result = found.result
    return ExperimentResultAnswer(
        experiment=found.experiment,
        state=result.state,
        text=result.text,
        winner=result.winner,
        report=found.to_dict(),
    )


@post(
    "/v1/experiments/{experiment:str}/start",
    status_code=200,
    request_class=StartBody,
    opt=COMPUTES,
    responses=STEPS,
)
async def start_experiment(
    experiment: FromPath[str], data: JSONBody[StartRequest], request: HTTP
) -> ListedExperiment:
    """Start an experiment of `tamis.toml`, or of the body's `design`, with a share of its layer's
    units. Status 409 says what stands in its way."""
    service, _ = with_journal(request)
    found, by = _experiments(request), _who(request, data)
    if data.design is None:
        await service.beside(partial(_known, found, experiment))
    start = partial(found.start, experiment, data.traffic, by, data.note, data.design)
    line = await service.run(partial(_answered, start))  # it looks at the stages that answer
    return await _taken(request, line)


@post(
    "/v1/experiments/{experiment:str}/ramp",
    status_code=200,
    request_class=RampBody,
    responses=STEPS,
)
async def ramp_experiment(
    experiment: FromPath[str], data: JSONBody[RampRequest], request: HTTP
) -> ListedExperiment:
    """Change the share of units that take part. When it grows, nobody changes arm."""
    found, by = await _started(request, experiment), _who(request, data)
    return await _step(request, partial(found.ramp, experiment, data.traffic, by, data.note))


@post(
    "/v1/experiments/{experiment:str}/full",
    status_code=200,
    request_class=FullBody,
    opt={"searches": True},
    responses=STEPS,
)
async def roll_out_experiment(
    experiment: FromPath[str], data: JSONBody[FullRequest], request: HTTP
) -> ListedExperiment:
    """Give an arm to everybody but a reverse bucket, which keeps the control arm. `warning` of the
    answer says if the test had not reached its planned size."""
    service, journal = with_journal(request)
    found, by = await _started(request, experiment), _who(request, data)
    line = await service.beside(partial(_known, found, experiment))
    taken = await _step(
        request, partial(found.full, experiment, data.arm, by, data.reverse, data.note)
    )
    # After the step, which nothing may hold up; the test is read as it was then.
    check = partial(early_rollout, journal.project, line, journal.store)
    try:
        problem = await service.search(check)
    except OverloadedError as error:
        problem = f"the size of the test was not read: {error}"
    return msgspec.structs.replace(taken, warning=problem or None)


@post(
    "/v1/experiments/{experiment:str}/close",
    status_code=200,
    request_class=StepBody,
    responses=STEPS,
)
async def close_experiment(
    experiment: FromPath[str], data: JSONBody[StepRequest], request: HTTP
) -> ListedExperiment:
    """End an experiment: its units get what the project declares."""
    found, by = await _started(request, experiment), _who(request, data)
    return await _step(request, partial(found.close, experiment, by, data.note))


def _experiments(request: HTTP) -> ProjectExperiments:
    _, journal = with_journal(request)
    return ProjectExperiments(journal.project, journal.journal.experiments, journal.check_arms)


async def _started(request: HTTP, name: str) -> ProjectExperiments:
    service, _ = with_journal(request)
    found = _experiments(request)
    await service.beside(partial(_known, found, name))
    return found


async def _step(request: HTTP, take: Callable[[], ExperimentLine]) -> ListedExperiment:
    service, _ = with_journal(request)
    return await _taken(request, await service.beside(partial(_answered, take)))


async def _taken(request: HTTP, line: ExperimentLine) -> ListedExperiment:
    """The answer after a step, which this process has taken up, too."""
    service, _ = with_journal(request)
    if service.serving is not None:
        await service.beside(service.serving.look)  # it need not wait for its next look
    return _message(line)


def _known(found: ProjectExperiments, name: str) -> ExperimentLine:
    """The experiment. Raises NotFoundError where there is none, ConflictError where `tamis.toml`
    cannot be read."""
    try:
        return found.line(name)
    except UnknownExperimentError as error:
        raise NotFoundError(str(error)) from error
    except ConfigError as error:
        raise ConflictError(str(error)) from error


def _answered(work: Callable[[], T]) -> T:
    """`work()`; what the state of the project does not allow has status 409."""
    try:
        return work()
    except ConfigError as error:
        raise ConflictError(str(error)) from error


def _who(request: HTTP, data: StepRequest) -> str:
    """Who takes a step. Raises RequestError where neither a key nor the body says so."""
    keys: Keys | None = request.app.state["keys"]
    presented = presented_key(request)
    key = None if keys is None or presented is None else keys.find(presented)
    if key is None and not data.by.strip():
        raise RequestError("by is missing: say who takes the step, for the audit trail", "by")
    if key is None:
        return data.by
    return f"{data.by} (key {key.name})" if data.by.strip() else f"key {key.name}"


def _message(line: ExperimentLine) -> ListedExperiment:
    return ListedExperiment(
        name=line.name,
        stage=line.stage,
        layer=line.layer,
        traffic=line.traffic,
        arms=list(line.arms),
        goal=line.goal,
        started=line.started,
        steps=[
            ListedStep(
                step=step.step,
                time=step.time,
                by=step.by,
                note=step.note,
                traffic=step.traffic if step.step in ("start", "ramp") else None,
                arm=step.arm or None,
                reverse=step.reverse if step.step == "full" else None,
            )
            for step in line.steps
        ],
    )
