"""`/health/…`: whether the process runs, and whether it can answer."""

from __future__ import annotations

from dataclasses import asdict

from litestar import get
from msgspec import structs

from tamis.schema import StoreError
from tamis.serve.messages import AppliedDelta, JournalState, Live, Ready
from tamis.serve.open_service import has_journal
from tamis.serve.routes.common import HTTP, NOT_READY, ready_service


@get("/health/live")
async def live() -> Live:
    """200 while the process runs."""
    return Live()


@get("/health/ready", responses={503: NOT_READY})
async def ready(request: HTTP) -> Ready:
    """200 once a serving version is open, and its name; 503 before, and why."""
    service, recommender = ready_service(request)
    serving = service.serving
    answer = Ready(
        recommender.version,
        worker=service.worker,
        open_versions=[recommender.version] if serving is None else serving.open_versions,
        problem=None if serving is None else serving.problem,
    )
    if not has_journal(recommender):
        return answer
    if recommender.delta is not None:
        answer = structs.replace(answer, delta=AppliedDelta(**asdict(recommender.delta)))
    journal, head, problem = recommender.journal, None, None
    try:
        head = await service.beside(lambda: journal.head)
    except StoreError as error:  # answers go on without it, so the service stays ready
        problem = str(error)
    return structs.replace(
        answer,
        journal=JournalState(
            head=head,
            position=recommender.position,
            durability=journal.durability.text,
            lost_answers=recommender.lost_answers,
            skipped=dict(recommender.skipped),
            problem=problem,
        ),
    )
