"""What the evaluation of a cascade reports of the latency of requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tamis.evaluate._summary import (
    MISSING,
    Cell,
    ReportColumn,
    ReportTable,
    Row,
    bar_cell,
    number,
    shown,
)


def latency_text(evaluation: Mapping[str, Any]) -> str:
    """Median and 99th percentile in a sentence; empty where they were not measured."""
    found = evaluation.get("latency_ms") or {}
    p50, p99 = (shown(found.get(key), ".2f") for key in ("p50", "p99"))
    if (p50, p99) == (MISSING, MISSING):
        return ""
    threads, requests = number(found.get("threads")), number(found.get("requests"))
    text = f"Request latency: median {p50} ms, 99th percentile {p99} ms, measured in process"
    if threads is not None:
        text += f" on {threads:.0f} thread{'' if threads == 1 else 's'}"
    return text + (f" over {requests:,.0f} requests." if requests is not None else ".")


def latency_shares(evaluation: Mapping[str, Any]) -> dict[str, float]:
    """Share of a request's time per stage; `recall:NAME` of all channels is summed as `recall`."""
    found: dict[str, float] = {}
    for name, value in ((evaluation.get("latency_ms") or {}).get("shares") or {}).items():
        share, stage = number(value), str(name).partition(":")[0]
        if share is not None:
            found[stage] = found.get(stage, 0.0) + share
    return found


def latency_stages(evaluation: Mapping[str, Any]) -> ReportTable | None:
    """Mean milliseconds per stage and its share of a request; None where not measured."""
    found = evaluation.get("latency_ms") or {}
    stages, shares = found.get("stages") or {}, found.get("shares") or {}
    if not stages:
        return None
    longest = max(number(value) or 0.0 for value in stages.values())
    rows = tuple(
        Row(
            str(name),
            (
                bar_cell(value, longest, ".2f", accent=True),
                Cell(shown(shares.get(name), ".0%")),
            ),
        )
        for name, value in stages.items()
    )
    return ReportTable(
        "Latency by stage", (ReportColumn("ms"), ReportColumn("share")), rows, "stage"
    )
