"""A version of the whole service in one directory: write, verify, open, publish."""

from tamis.bundle.version import MANIFEST, Draft, Kind, Manifest, Version, Versions, files_of

__all__ = [
    "MANIFEST",
    "Draft",
    "Kind",
    "Manifest",
    "Version",
    "Versions",
    "files_of",
]
