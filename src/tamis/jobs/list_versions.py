"""`tamis versions`, `activate` and `rollback`: the versions of a project, and which are in use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tamis.bundle import Kind, Version, Versions
from tamis.schema import ConfigError, VersionError
from tamis.service import ProjectFolder


@dataclass(frozen=True)
class VersionLine:
    """One line of `tamis versions`."""

    name: str
    kind: str
    current: bool
    """Whether it is in use: by `evaluate`, or by `recommend` and `serve`."""
    data_until: int
    """Milliseconds since 1970; events that arrived at or after it are unknown to the version."""
    created: str
    mb: float
    """Megabytes of its files. Equal files of several versions are one file on disk."""
    code: str


def versions(project: Path | str, *, verify: bool = False) -> Sequence[VersionLine]:
    """Lists a project's versions, oldest first; `verify` checks every file's checksum.

    Raises ConfigError if the folder is no project, VersionError naming a damaged file.
    """
    found = Versions(ProjectFolder(Path(project)).root)
    current = {name for kind in Kind if (name := _current(found, kind))}
    lines: list[VersionLine] = []
    for version in found:
        if verify:
            version.verify()
        lines.append(_line(version, current=version.name in current))
    return lines


def _current(found: Versions, kind: Kind) -> str | None:
    """The name of the version of that kind in use; None if there is none."""
    try:
        return found.current(kind).name
    except VersionError:
        return None


def activate(project: Path | str, name: str) -> VersionLine:
    """Makes a version the current one of its kind, once its files have been checked.

    Services that are running open it beside the version that they serve, and switch. Raises
    ConfigError if the folder is no project, VersionError if there is no such version or it is
    damaged: then the current version stays.
    """
    found = Versions(ProjectFolder(Path(project)).root)
    return _activated(found, found.open(name))


def rollback(project: Path | str, kind: str = "serving") -> VersionLine:
    """Makes the version before the current one the current one; see `activate`.

    kind: "serving" or "evaluation". Raises VersionError if the current version is the oldest,
    ConfigError for another kind.
    """
    if kind not in list(Kind):
        raise ConfigError(f"kind = {kind!r}: give 'serving' or 'evaluation'")
    found = Versions(ProjectFolder(Path(project)).root)
    return _activated(found, found.before_current(Kind(kind)))


def _activated(found: Versions, version: Version) -> VersionLine:
    from tamis.service import FORMATS  # heavy: numba

    version.check(FORMATS)
    found.publish(version)
    return _line(version, current=True)


def _line(version: Version, *, current: bool) -> VersionLine:
    manifest = version.manifest
    return VersionLine(
        name=version.name,
        kind=manifest.kind.value,
        current=current,
        data_until=manifest.data_until,
        created=manifest.created,
        mb=sum(size for size, _ in manifest.files.values()) / 1e6,
        code=manifest.code,
    )
