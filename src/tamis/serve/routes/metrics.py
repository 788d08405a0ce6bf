"""`GET /metrics`: the metrics of the service for Prometheus."""

from __future__ import annotations

from contextlib import suppress

from litestar import Response, get
from prometheus_client import CONTENT_TYPE_LATEST

from tamis.schema import StoreError
from tamis.serve.metrics import ServiceMetrics
from tamis.serve.open_service import HasJournal, OpenService
from tamis.serve.routes.common import HTTP


@get("/metrics", media_type="text/plain", opt={"scope": "read"})
async def metrics(request: HTTP) -> Response[bytes]:
    """ServiceMetrics in the text format of Prometheus: of all workers of the service."""
    service: OpenService = request.app.state["service"]
    found: ServiceMetrics = request.app.state["metrics"]
    found.overload(service.lowered, service.refused, service.waiting)
    recommender = service.recommender
    if recommender is not None:
        found.version(recommender.version)
    if isinstance(recommender, HasJournal):
        journal, head = recommender.journal, None
        with suppress(StoreError):  # `tamis_journal_up` says so; answers go on
            head = await service.beside(lambda: journal.head)
        found.journal(head, recommender.position, recommender.lost_answers)
        found.faults(recommender.faults)
    text = await service.beside(found.text)
    return Response(text, headers={"content-type": CONTENT_TYPE_LATEST})
