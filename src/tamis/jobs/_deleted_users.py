"""Users who were deleted since a version was made, for jobs that read its tables."""

from __future__ import annotations

from tamis.bundle import Version
from tamis.journal import UserDelete
from tamis.service import ProjectFolder


def deleted_since(folder: ProjectFolder, version: Version) -> frozenset[str]:
    """Ids of the users whom the project's journal deletes after the position of `version`.

    Raises StoreError where the journal cannot be read.
    """
    found = folder.journal_data
    after = version.manifest.journal_position or 0
    return frozenset(
        entry.user_id
        for number, entry in (() if found is None else found.changes)
        if number > after and isinstance(entry, UserDelete)
    )
