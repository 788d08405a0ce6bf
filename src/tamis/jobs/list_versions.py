"""`tamis versions`: the versions of a project, and which are in use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tamis.bundle import Kind, Versions
from tamis.schema import VersionError
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
        manifest = version.manifest
        lines.append(
            VersionLine(
                name=version.name,
                kind=manifest.kind.value,
                current=version.name in current,
                data_until=manifest.data_until,
                created=manifest.created,
                mb=sum(size for size, _ in manifest.files.values()) / 1e6,
                code=manifest.code,
            )
        )
    return lines


def _current(found: Versions, kind: Kind) -> str | None:
    """The name of the version of that kind in use; None if there is none."""
    try:
        return found.current(kind).name
    except VersionError:
        return None
