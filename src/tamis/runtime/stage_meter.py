"""Seconds and peak memory of each stage of a job."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from tamis.runtime.memory import peak_mb, reset_peak


@dataclass
class Meter:
    """Measures the stages of a job.

    A stage that is measured several times has the sum of its seconds and samples, and its highest
    peak memory.
    """

    stages: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    """{stage: {seconds, peak_mb, samples}}, not rounded."""

    @contextmanager
    def stage(self, name: str) -> Generator[dict[str, Any]]:
        """Measures the block; set `samples` in the yielded dict to have a rate computed."""
        entry = self.stages.setdefault(name, {"seconds": 0.0, "peak_mb": 0.0, "samples": 0})
        noted: dict[str, Any] = {"samples": 0}
        reset_peak()
        start = perf_counter()
        yield noted
        entry["seconds"] += perf_counter() - start
        entry["peak_mb"] = max(entry["peak_mb"], peak_mb())
        entry["samples"] += noted["samples"]

    def report(self) -> dict[str, dict[str, float | None]]:
        """{stage: {seconds, peak_mb, samples_per_second}} of the stages that have ended.

        `samples_per_second` is None for a stage that reported no samples.
        """
        return {
            name: {
                "seconds": round(entry["seconds"], 3),
                "peak_mb": round(entry["peak_mb"], 1),
                "samples_per_second": (
                    round(entry["samples"] / entry["seconds"], 1) if entry["samples"] else None
                ),
            }
            for name, entry in self.stages.items()
            if entry["seconds"]
        }
