"""Seconds and peak memory of each stage of a job."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

_CLEAR = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


@dataclass
class Meter:
    """Collects `{stage: {seconds, peak_mb, samples_per_second}}`; one measured twice adds up."""

    stages: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])

    @contextmanager
    def stage(self, name: str) -> Iterator[dict[str, Any]]:
        """Measures the block; set `samples` in the yielded dict to have a rate computed."""
        entry = self.stages.setdefault(name, {"seconds": 0.0, "peak_mb": 0.0, "samples": 0})
        noted: dict[str, Any] = {"samples": 0}
        _reset_peak()
        start = perf_counter()
        yield noted
        entry["seconds"] += perf_counter() - start
        entry["peak_mb"] = max(entry["peak_mb"], peak_mb())
        entry["samples"] += noted["samples"]

    def report(self) -> dict[str, dict[str, float | None]]:
        """`samples_per_second` is None where the stage has no samples to count."""
        return {
            name: {
                "seconds": round(entry["seconds"], 3),
                "peak_mb": round(entry["peak_mb"], 1),
                "samples_per_second": (
                    round(entry["samples"] / entry["seconds"], 1) if entry["samples"] else None
                ),
            }
            for name, entry in self.stages.items()
            if entry["seconds"]  # a stage that has not ended has nothing to report
        }


def peak_mb() -> float:
    """Peak resident memory in MB since the last reset (since the start where none is possible)."""
    if _STATUS.exists():
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def resident_mb() -> float:
    """Resident memory in MB now; 0 where the system does not say."""
    if _STATUS.exists():
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    return 0.0


def _reset_peak() -> None:
    try:
        _CLEAR.write_text("5")
    except OSError:  # not Linux, or not allowed: the peak then counts from the process's start
        return
