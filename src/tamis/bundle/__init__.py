"""Versions of a trained cascade, one directory each: write, verify, open, publish."""

from tamis.bundle.version import MANIFEST, Draft, Kind, Manifest, Version, Versions

__all__ = [
    "MANIFEST",
    "Draft",
    "Kind",
    "Manifest",
    "Version",
    "Versions",
]
