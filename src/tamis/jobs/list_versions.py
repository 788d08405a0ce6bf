"""`tamis versions`, `activate` and `rollback`: the versions of a project, and which are in use."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tamis.service import ProjectFolder, ProjectVersions, VersionLine


def versions(project: Path | str, *, verify: bool = False) -> Sequence[VersionLine]:
    """Lists a project's versions, oldest first; `verify` checks every file's checksum.

    Raises ConfigError if the folder is no project, VersionError naming a damaged file.
    """
    return _of(project).lines(verify=verify)


def activate(project: Path | str, name: str) -> VersionLine:
    """Makes a version the current one of its kind; see `ProjectVersions.activate`.

    Raises ConfigError if the folder is no project, VersionError if there is no such version or it
    is damaged: then the current version stays.
    """
    return _of(project).activate(name)


def rollback(project: Path | str, kind: str = "serving") -> VersionLine:
    """Makes the version before the current one the current one; see `ProjectVersions.rollback`.

    Raises ConfigError if the folder is no project or for another kind than serving and evaluation,
    VersionError if the current version is the oldest.
    """
    return _of(project).rollback(kind)


def _of(project: Path | str) -> ProjectVersions:
    return ProjectVersions(ProjectFolder(Path(project)).root)
