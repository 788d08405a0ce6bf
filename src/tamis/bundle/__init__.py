"""Versions of a trained cascade, one directory each: write, verify, open, publish."""

from tamis.bundle.holding import Hold
from tamis.bundle.version import MANIFEST, Draft, Kind, Manifest, Version, Versions, files_of

__all__ = [
    "MANIFEST",
    "Draft",
    "Hold",
    "Kind",
    "Manifest",
    "Version",
    "Versions",
    "files_of",
]
