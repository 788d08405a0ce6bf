"""Sums up the metrics each second, and reads those that nobody notes: queue, version, journal."""

from __future__ import annotations

import logging
from contextlib import suppress

from anyio import sleep

from tamis.schema import StoreError
from tamis.serve.metrics import ServiceMetrics
from tamis.serve.open_service import OpenService, has_journal

log = logging.getLogger("tamis.serve")
EVERY = 1.0
"""Seconds between two sums: metrics of other workers are at most that old."""


async def measure(service: OpenService, metrics: ServiceMetrics) -> None:
    """Sets the metrics that are read, and sums up those that requests noted."""
    metrics.overload(service.lowered, service.refused, service.waiting + service.searching)
    recommender = service.recommender
    if recommender is not None:
        metrics.version(recommender.version)
    if has_journal(recommender):
        journal, head = recommender.journal, None
        with suppress(StoreError):  # `tamis_journal_up` says so; answers go on
            head = await service.beside(lambda: journal.head)
        metrics.journal(head, recommender.position, recommender.lost_answers)
        metrics.faults(recommender.faults)
        refused = recommender.delta_problem is not None
        metrics.deltas(recommender.delta, recommender.applied_deltas, refused)
    await service.beside(metrics.fold)


async def keep_measuring(service: OpenService, metrics: ServiceMetrics) -> None:
    """`measure` each second until it is cancelled; a failure is logged, and the next second tries
    again."""
    while True:
        await sleep(EVERY)
        try:
            await measure(service, metrics)
        except Exception:
            log.exception("the metrics could not be summed up")
