"""The versions of a project: listed, activated and rolled back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tamis.bundle import Kind, Version, Versions
from tamis.schema import ConfigError, VersionError


@dataclass(frozen=True)
class VersionLine:
    """A version in a list."""

    name: str
    kind: str
    """evaluation or serving."""
    current: bool
    """Whether it is in use: by `evaluate`, or by `recommend` and `serve`."""
    data_until: int
    """Milliseconds since 1970; events that arrived at or after it are unknown to the version."""
    created: str
    mb: float
    """Megabytes of its files. Equal files of several versions are one file on disk."""
    code: str
    """The release of Tamis that wrote it."""


class ProjectVersions:
    """The versions in a project's folder."""

    def __init__(self, project: Path | str) -> None:
        self._versions = Versions(Path(project))

    def lines(self, *, verify: bool = False) -> Sequence[VersionLine]:
        """All of them, oldest first; `verify` checks every file's checksum.

        Raises VersionError naming a damaged file.
        """
        current = {name for kind in Kind if (name := self._current(kind))}
        lines: list[VersionLine] = []
        for version in self._versions:
            if verify:
                version.verify()
            lines.append(_line(version, current=version.name in current))
        return lines

    def activate(self, name: str) -> VersionLine:
        """Makes a version the current one of its kind, once its files have been checked.

        Services that are running open it beside the version that they serve, and switch. Raises
        VersionError if there is no such version or it is damaged: then the current version stays.
        """
        return self._published(self._versions.open(name))

    def rollback(self, kind: str = Kind.SERVING.value) -> VersionLine:
        """Makes the version before the current one the current one; see `activate`.

        kind: "serving" or "evaluation". Raises VersionError if the current version is the oldest,
        ConfigError for another kind.
        """
        if kind not in list(Kind):
            raise ConfigError(f"kind = {kind!r}: give 'serving' or 'evaluation'")
        return self._published(self._versions.before_current(Kind(kind)))

    def _published(self, version: Version) -> VersionLine:
        from tamis.service.assembly import FORMATS  # heavy: numba

        version.check(FORMATS)
        self._versions.publish(version)
        return _line(version, current=True)

    def _current(self, kind: Kind) -> str | None:
        """The name of the version of that kind in use; None if there is none."""
        try:
            return self._versions.current(kind).name
        except VersionError:
            return None


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
