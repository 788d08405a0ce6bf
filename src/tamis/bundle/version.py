"""A version: an immutable directory with everything that is needed to serve recommendations.

    versions/
      2026-11-22T12-00-00-serving/
        version.json     kind, data range, metrics, settings, code version, sizes and checksums
        tamis.toml       the declaration that it was trained with
        tables/ features/ state/ channels/ prerank/ rank/ rerank/ filters/
      serving            the name of the version that answers requests
      evaluation         the name of the version that `tamis evaluate` measures

A version is written to a folder whose name starts with a dot, which is renamed when it is complete:
a crash or a full disk does not affect the other versions.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from tamis.schema import VersionError

MANIFEST = "version.json"
FORMAT = 1
"""Version of the format; incremented when an older Tamis cannot read what a newer one writes."""


class Kind(StrEnum):
    """The data that a version was trained on, and so its use."""

    EVALUATION = "evaluation"
    """Trained on data before the test cut; `tamis evaluate` measures it."""
    SERVING = "serving"
    """Trained on all data, so it cannot be evaluated on them; `recommend` and `serve` use it."""


@dataclass(frozen=True)
class Manifest:
    """The content of `version.json`."""

    name: str
    kind: Kind
    created: str
    """Time of creation, ISO 8601, UTC."""
    code: str
    """The version of Tamis that wrote it."""
    data_from: int
    data_until: int
    """Event and arrival times [from, until) of its training data, ms since 1970 UTC."""
    settings: dict[str, Any] = field(default_factory=dict[str, Any])
    """Settings chosen on validation data, such as epochs, per stage."""
    metrics: dict[str, Any] = field(default_factory=dict[str, Any])
    """Measures of the training: seconds, memory, learning curves, validation metrics."""
    files: dict[str, tuple[int, str]] = field(default_factory=dict[str, tuple[int, str]])
    """Relative path → (size in bytes, 128-bit BLAKE2b checksum)."""
    format: int = FORMAT

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Reads a manifest. Raises VersionError if it is missing, damaged or of a newer format."""
        try:
            data: dict[str, Any] = json.loads(path.read_text("utf-8"))
            if data["format"] > FORMAT:
                raise VersionError(
                    f"{path}: written in format {data['format']}, this Tamis reads up to {FORMAT}: "
                    "upgrade tamis"
                )
            data["kind"] = Kind(data["kind"])
            return cls(**data)
        except FileNotFoundError:
            raise VersionError(
                f"{path.parent} is not a version (it has no {MANIFEST}): see `tamis versions`"
            ) from None
        except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise VersionError(
                f"{path} is damaged ({error}): delete the version and run `tamis train` again"
            ) from None


@dataclass(frozen=True)
class Version:
    """A finished version on disk."""

    path: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        return self.manifest.name

    def verify(self) -> None:
        """Checks all files. Raises VersionError with the first one that is missing or changed."""
        for relative, (size, checksum) in self.manifest.files.items():
            file = self.path / relative
            if not file.is_file() or file.stat().st_size != size or _checksum(file) != checksum:
                raise VersionError(
                    f"{file} is missing or differs from what was written: "
                    "roll back to another version (`tamis versions`) or train again"
                )


class Versions:
    """The versions of a project."""

    def __init__(self, project: Path) -> None:
        self.root = project / "versions"

    def __iter__(self) -> Iterator[Version]:
        """The complete versions, oldest first."""
        for path in sorted(self.root.glob("*/")) if self.root.is_dir() else []:
            if not path.name.startswith("."):
                yield Version(path, Manifest.read(path / MANIFEST))

    def open(self, name: str) -> Version:
        """The version of that name. Raises VersionError if there is none."""
        return Version(self.root / name, Manifest.read(self.root / name / MANIFEST))

    def current(self, kind: Kind) -> Version:
        """The published version of a kind. Raises VersionError if there is none yet."""
        pointer = self.root / kind.value
        if not pointer.is_file():
            raise VersionError(
                f"{self.root.parent} has no {kind.value} version yet: run `tamis train "
                f"{self.root.parent}` first"
            )
        return self.open(pointer.read_text("utf-8").strip())

    def publish(self, version: Version) -> None:
        """Makes `version` the current one of its kind, atomically."""
        temporary = self.root / f".{version.manifest.kind.value}"
        temporary.write_text(version.name, "utf-8")
        os.replace(temporary, self.root / version.manifest.kind.value)

    @contextmanager
    def write(self, kind: Kind) -> Generator[Draft]:
        """A draft to fill; it becomes a version at the end of the block and is removed on errors.

        Raises:
            VersionError: the files cannot be written.
        """
        created = datetime.now(UTC)
        name = self._free_name(f"{created:%Y-%m-%dT%H-%M-%S}-{kind.value}")
        path = self.root / f".{name}"
        draft = Draft(path, name, kind, created.isoformat(timespec="seconds"))
        try:
            path.mkdir(parents=True)
            yield draft
            draft.finish()
            os.replace(path, self.root / name)
        except OSError as error:
            raise VersionError(
                f"version {name} could not be written ({error}); nothing was published and the "
                "other versions are not affected: free space or repair the folder, then train again"
            ) from error
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def _free_name(self, wanted: str) -> str:
        name, number = wanted, 1
        while (self.root / name).exists():
            number += 1
            name = f"{wanted}-{number}"
        return name


@dataclass
class Draft:
    """A version that is being written; its fields become those of the manifest."""

    path: Path
    name: str
    kind: Kind
    created: str
    code: str = ""
    data_from: int = 0
    data_until: int = 0
    settings: dict[str, Any] = field(default_factory=dict[str, Any])
    metrics: dict[str, Any] = field(default_factory=dict[str, Any])

    def room(self, *names: str) -> Path:
        """The path of a sub-directory, which is created if missing."""
        path = self.path.joinpath(*names)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def finish(self) -> None:
        """Writes the manifest with a checksum of each file, and flushes all files to disk."""
        files: dict[str, tuple[int, str]] = {}
        for file in sorted(self.path.rglob("*")):
            if file.is_file():
                files[str(file.relative_to(self.path))] = (file.stat().st_size, _checksum(file))
                _sync(file)
        manifest = Manifest(
            name=self.name,
            kind=self.kind,
            created=self.created,
            code=self.code,
            data_from=self.data_from,
            data_until=self.data_until,
            settings=self.settings,
            metrics=self.metrics,
            files=files,
        )
        target = self.path / MANIFEST
        target.write_text(json.dumps(asdict(manifest), indent=1, allow_nan=False), "utf-8")
        _sync(target)


def _checksum(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _sync(file: Path) -> None:
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
