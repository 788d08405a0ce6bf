"""Versions of a trained cascade, one directory each: write, verify, open, publish."""

from tamis.bundle.delta import (
    Delta,
    DeltaChain,
    DeltaFolder,
    IdChange,
    RowChange,
    VectorChange,
    read_delta,
)
from tamis.bundle.holding import Hold
from tamis.bundle.version import MANIFEST, Draft, Kind, Manifest, Version, Versions, files_of

__all__ = [
    "MANIFEST",
    "Delta",
    "DeltaChain",
    "DeltaFolder",
    "Draft",
    "Hold",
    "IdChange",
    "Kind",
    "Manifest",
    "RowChange",
    "VectorChange",
    "Version",
    "Versions",
    "files_of",
    "read_delta",
]
