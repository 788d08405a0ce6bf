"""Memory of this process: resident now, and its peak."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

_CLEAR_REFS = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


def peak_mb() -> float:
    """Peak resident memory in MB (2^20 bytes) since the last `reset_peak`.

    It counts from the start of the process if `reset_peak` was never called or had no effect.
    """
    found = _status_mb("VmHWM:")
    if found is not None:
        return found
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)  # bytes on macOS, else KB


def resident_mb() -> float:
    """Resident memory in MB now; 0 where the system does not report it (it needs Linux)."""
    return _status_mb("VmRSS:") or 0.0


def reset_peak() -> None:
    """Restarts the measurement of `peak_mb`; without effect where the system does not allow it."""
    try:
        _CLEAR_REFS.write_text("5")
    except OSError:  # not Linux, or not permitted: the peak counts from the start of the process
        return


def _status_mb(key: str) -> float | None:
    """A memory figure of /proc/self/status in MB; None where there is no such file or figure."""
    if _STATUS.exists():
        for line in _STATUS.read_text().splitlines():
            if line.startswith(key):
                return int(line.split()[1]) / 1024
    return None
