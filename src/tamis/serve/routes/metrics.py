"""`GET /metrics`: the metrics of the service for Prometheus."""

from __future__ import annotations

from litestar import Response, get
from prometheus_client import CONTENT_TYPE_LATEST

from tamis.serve.measuring import measure
from tamis.serve.metrics import ServiceMetrics
from tamis.serve.open_service import OpenService
from tamis.serve.routes.common import HTTP


@get("/metrics", media_type="text/plain", opt={"scope": "read"})
async def metrics(request: HTTP) -> Response[bytes]:
    """Metrics in the text format of Prometheus: of all workers of the service."""
    service: OpenService = request.app.state["service"]
    found: ServiceMetrics = request.app.state["metrics"]
    await measure(service, found)
    text = await service.beside(found.text)
    return Response(text, headers={"content-type": CONTENT_TYPE_LATEST})
