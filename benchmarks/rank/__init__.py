"""The lines of the rank benchmark, one file each (`benchmarks.harness`)."""

from __future__ import annotations

from benchmarks.places import (
    BUILD,
    ROOT,
    MissingDataError,
    folder,
    notes,
    standard,
    there,
)

from tamis.runtime import peak_mb

__all__ = [
    "BUILD",
    "ROOT",
    "MissingDataError",
    "folder",
    "notes",
    "peak_mb",
    "standard",
    "there",
]
