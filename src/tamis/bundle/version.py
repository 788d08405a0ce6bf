"""A version: one immutable directory that holds everything a service needs to answer.

    versions/
      2026-11-22T12-00-00-serving/
        version.json     kind, data range, metrics, settings, code version, sizes and checksums
        tamis.toml       the declaration it was trained from
        tables/ features/ state/ channels/ prerank/ rank/ rerank/ filters/
      serving            the name of the version that answers requests
      evaluation         the name of the version that `tamis evaluate` judges

A version is written beside the others under a name that starts with a dot and renamed when whole:
a crash or a full disk leaves the old versions as they were.
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
"""Raised when an older Tamis could not read what a newer one writes."""


class Kind(StrEnum):
    """What a version knows, and so what it may be used for."""

    EVALUATION = "evaluation"
    """Nothing at or after the test cut: `tamis evaluate` judges it."""
    SERVING = "serving"
    """All data: `recommend` and `serve` open it; it cannot be judged on data it has seen."""


@dataclass(frozen=True)
class Manifest:
    """`version.json`."""

    name: str
    kind: Kind
    created: str
    """ISO time, UTC."""
    code: str
    """The version of Tamis that wrote it."""
    data_from: int
    data_until: int
    """Event and arrival times [from, until) in ms that it has learnt from."""
    settings: dict[str, Any] = field(default_factory=dict[str, Any])
    """What was chosen on validation cuts (epochs …)."""
    metrics: dict[str, Any] = field(default_factory=dict[str, Any])
    """What training measured: seconds, memory, learning curves, validation figures."""
    files: dict[str, tuple[int, str]] = field(default_factory=dict[str, tuple[int, str]])
    """Relative path → (bytes, blake2b-128)."""
    format: int = FORMAT

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Raises VersionError where the file is missing or damaged."""
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
            raise VersionError(f"{path.parent} is not a version: no {MANIFEST} in it") from None
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
        """Raises VersionError naming the first file that is missing or not as it was written."""
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
        """The finished versions, oldest first."""
        for path in sorted(self.root.glob("*/")) if self.root.is_dir() else []:
            if not path.name.startswith("."):
                yield Version(path, Manifest.read(path / MANIFEST))

    def open(self, name: str) -> Version:
        """A version by name; VersionError where there is none."""
        return Version(self.root / name, Manifest.read(self.root / name / MANIFEST))

    def current(self, kind: Kind) -> Version:
        """The published version of a kind; VersionError where there is none yet."""
        pointer = self.root / kind.value
        if not pointer.is_file():
            raise VersionError(
                f"{self.root.parent} has no {kind.value} version yet: run `tamis train "
                f"{self.root.parent}` first"
            )
        return self.open(pointer.read_text("utf-8").strip())

    def publish(self, version: Version) -> None:
        """Makes it the current one of its kind, atomically."""
        temporary = self.root / f".{version.manifest.kind.value}"
        temporary.write_text(version.name, "utf-8")
        os.replace(temporary, self.root / version.manifest.kind.value)

    @contextmanager
    def write(self, kind: Kind) -> Generator[Draft]:
        """A directory to fill; finished and renamed on leaving, removed on any error."""
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
                "former versions are whole: free space or mend the folder, then train again"
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
    """A version that is being written."""

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
        """A sub-directory, made if need be."""
        path = self.path.joinpath(*names)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def finish(self) -> None:
        """Writes the manifest, with a checksum of every file, and forces all of it to disk."""
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
