"""Marks a version as open, so that no other process removes it; and tells whether one is marked.

The mark is a shared lock (`flock`) on the version's manifest, which ends with the process that
holds it, however that process ends. Windows has no such lock, but refuses to delete open files.
"""

from __future__ import annotations

import os
import weakref
from pathlib import Path

from tamis.schema import ADVICE, VersionError

try:
    import fcntl
except ModuleNotFoundError:  # Windows
    fcntl = None


class Hold:
    """Keeps the version of a manifest from being removed, until it is released or collected.

    Raises VersionError where the manifest is not there (any more).
    """

    def __init__(self, manifest: Path) -> None:
        try:
            descriptor = os.open(manifest, os.O_RDONLY)
        except OSError as error:
            raise VersionError(f"{manifest} cannot be opened ({error}). {ADVICE}") from error
        self.release = weakref.finalize(self, os.close, descriptor)
        """Ends the mark; further calls do nothing."""
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        if not manifest.exists():  # removed between the two calls
            self.release()
            raise VersionError(f"{manifest.parent} was removed while it was opened. {ADVICE}")


def taken_away(folder: Path, manifest: Path, target: Path) -> bool:
    """Renames the version's folder to `target` unless a process holds it; whether it did.

    Raises OSError where the folder cannot be renamed.
    """
    descriptor = os.open(manifest, os.O_RDONLY)
    try:
        if fcntl is not None:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        os.rename(folder, target)
    finally:
        os.close(descriptor)
    return True
