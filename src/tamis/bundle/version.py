"""A version: an immutable directory with everything that is needed to serve recommendations.

    versions/
      2026-11-22T12-00-00-serving/
        version.json     kind, data range, metrics, settings, code version, formats, checksums
        config.json      the declaration it was trained from
        tables/ features/ state/ channels/ filters/ prerank/ rank/ rerank/
      serving            the name of the version that answers requests
      evaluation         the name of the version that `tamis evaluate` measures

A version is written under a name that starts with a dot and renamed when it is complete: a crash or
a full disk leaves the earlier versions as they were. Files in the directory that `version.json`
does not list are ignored.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Collection, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from tamis.bundle.equal_files import file_checksum, link_equal_files
from tamis.bundle.holding import Hold, taken_away
from tamis.schema import ADVICE, VersionError, read_json, reading

log = logging.getLogger("tamis.bundle")

MANIFEST = "version.json"
FORMAT = 2
"""Format of `version.json`; raised when an earlier Tamis cannot read what a newer one writes.

1: no formats of parts, no checksum of the manifest itself.
2: both.
"""
CHECKED_BYTES = 256_000_000
"""Bytes of files whose checksums `Version.check` computes, the smallest files first: a small
version is verified whole at every opening, of a large one all but its largest arrays, which takes
0.3 s at most. `tamis versions --verify` reads everything."""
_CHECKSUM = "checksum"


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
    horizon: int = 0
    """Time in ms after a replayed query within which events labelled its candidates; 0: the rows
    are impressions, or a release before horizons wrote the version."""
    journal_position: int | None = None
    """Number of the last entry of the project's journal that its data held; None: the data held
    none, and a service leaves out entries that arrived before the end of the data."""
    settings: dict[str, Any] = field(default_factory=dict[str, Any])
    """Settings chosen on validation data, such as epochs, per stage."""
    metrics: dict[str, Any] = field(default_factory=dict[str, Any])
    """Measures of the training: seconds, memory, learning curves, validation metrics."""
    update: dict[str, Any] = field(default_factory=dict[str, Any])
    """Of a version that `tamis update` made: the version that it started from, what it learnt, and
    what the gate found; empty: `tamis train` made it."""
    files: dict[str, tuple[int, str]] = field(default_factory=dict[str, tuple[int, str]])
    """Relative path → (bytes, blake2b-128)."""
    formats: dict[str, int] = field(default_factory=dict[str, int])
    """Part → number of the format in which it is stored; empty in versions of format 1."""
    format: int = FORMAT

    @property
    def checksum(self) -> str:
        """blake2b-128 of the version's name and of the checksums of all its files."""
        return _content_checksum({"name": self.name, "files": self.files})

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Reads `version.json`; unknown keys are ignored with a warning.

        Raises VersionError if the file is missing, damaged (its own checksum differs, a key is
        missing or of another type) or of a newer format.
        """
        if path.parent.is_dir() and not path.exists():
            raise VersionError(f"{path.parent} is not a version: no {MANIFEST} in it. {ADVICE}")
        saved = read_json(path, format=int)
        if saved["format"] > FORMAT:
            raise VersionError(
                f"{path}: written in format {saved['format']}, this release of Tamis reads up to "
                f"{FORMAT}: upgrade tamis"
            )
        written = saved.pop(_CHECKSUM, None)
        if written != _content_checksum(saved) and (written is not None or saved["format"] > 1):
            raise VersionError(
                f"{path} is damaged: its content differs from its checksum. {ADVICE}"
            )
        unknown = sorted(set(saved) - set(cls.__dataclass_fields__))
        if unknown:
            log.warning(
                "%s: ignoring unknown keys, written by Tamis %s: %s",
                path,
                saved.get("code"),
                ", ".join(unknown),
            )
        known = {name: value for name, value in saved.items() if name not in unknown}
        with reading(path):
            return TypeAdapter(cls).validate_python(known)

    def write(self, path: Path) -> None:
        """Writes `version.json` with a checksum of its own content."""
        content = asdict(self)
        content[_CHECKSUM] = _content_checksum(content)
        path.write_text(json.dumps(content, indent=1, allow_nan=False), "utf-8")


@dataclass(frozen=True)
class Version:
    """A finished version on disk."""

    path: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        return self.manifest.name

    def check(self, formats: Mapping[str, int]) -> None:
        """Checks what opening relies on: formats, sizes of all files, checksums of the small ones.

        Checksums are verified in ascending order of size until `CHECKED_BYTES` have been read.

        Args:
            formats: part → the newest format of it that the caller reads.

        Raises VersionError naming the first file that is missing or differs from what was written,
        or the part that a newer release wrote.
        """
        for part, number in self.manifest.formats.items():
            if number > formats.get(part, number):
                raise VersionError(
                    f"{self.path}: part {part} is in format {number}, this release of Tamis reads "
                    f"up to {formats[part]}: upgrade tamis"
                )
        left = CHECKED_BYTES
        for relative, (size, _) in sorted(self.manifest.files.items(), key=lambda f: f[1][0]):
            left -= size
            self._check_file(relative, checksum=left >= 0)

    def hold(self) -> Hold:
        """Keeps the version from being removed while it is open. Raises VersionError where it has
        been removed already."""
        return Hold(self.path / MANIFEST)

    def verify(self) -> None:
        """Raises VersionError naming the first file that is missing or not as it was written.

        Every file is read in full.
        """
        for relative in self.manifest.files:
            self._check_file(relative, checksum=True)

    def _check_file(self, relative: str, *, checksum: bool) -> None:
        file = self.path / relative
        size, written = self.manifest.files[relative]
        fault = None
        with reading(file):
            if not file.is_file():
                fault = "the file does not exist"
            elif file.stat().st_size != size:
                fault = f"it has {file.stat().st_size} bytes, {size} were written"
            elif checksum and file_checksum(file) != written:
                fault = "its checksum differs"
        if fault:
            raise VersionError(
                f"{file} is missing or differs from what was written ({fault}). {ADVICE}"
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
        """The version of that name. Raises VersionError if there is none, or if it is damaged."""
        if not (self.root / name).is_dir():
            there = sorted(p.name for p in self.root.glob("*/") if not p.name.startswith("."))
            raise VersionError(
                f"{name} is not a version in {self.root}; versions: {', '.join(there) or 'none'}. "
                f"{ADVICE}"
            )
        return Version(self.root / name, Manifest.read(self.root / name / MANIFEST))

    def pointer(self, kind: Kind) -> Path:
        """The file that names the current version of a kind; publishing replaces it."""
        return self.root / kind.value

    def current(self, kind: Kind) -> Version:
        """The published version of a kind. Raises VersionError if there is none yet."""
        pointer = self.pointer(kind)
        if not pointer.is_file():
            raise VersionError(
                f"{self.root.parent} has no {kind.value} version yet: run `tamis train "
                f"{self.root.parent}` first"
            )
        with reading(pointer):
            name = pointer.read_text("utf-8").strip()
        if not name or Path(name).name != name or not name.isprintable():
            raise VersionError(
                f"{pointer} is damaged: it holds {name[:80]!r}, not the name of a version. Run "
                f"`tamis train {self.root.parent}` again, or write the name of a folder of "
                f"{self.root} into it"
            )
        return self.open(name)

    def publish(
        self, version: Version, keep: int | None = None, needed: Collection[str] = ()
    ) -> None:
        """Makes `version` the current one of its kind, atomically.

        Args:
            keep: removes older versions, but that many, as `remove_old` does; None: removes none.
            needed: names of versions that stay in any case.
        """
        temporary = self.root / f".{version.manifest.kind.value}-{os.getpid()}"
        temporary.write_text(version.name, "utf-8")
        os.replace(temporary, self.pointer(version.manifest.kind))
        removed = [] if keep is None else self.remove_old(version.manifest.kind, keep, needed)
        if removed:
            log.info("removed old versions: %s", ", ".join(removed))

    def before_current(self, kind: Kind) -> Version:
        """The newest version of a kind that is older than the current one: where to roll back to.

        Raises VersionError where there is none.
        """
        current = self.current(kind)
        older = [v for v in self._of(kind) if _age(v.manifest) < _age(current.manifest)]
        if not older:
            raise VersionError(
                f"{current.name} is the oldest {kind.value} version in {self.root}: there is none "
                "before it. `tamis versions` lists them; `tamis activate` makes any of them current"
            )
        return older[-1]

    def remove_old(self, kind: Kind, keep: int, needed: Collection[str] = ()) -> list[str]:
        """Removes the versions of a kind that are older than the newest `keep` + 1; their names.

        The current version stays, one that is `needed`, and one that a process has open
        (`Version.hold`). So does a
        folder that is no intact version: somebody may want to look at it.
        """
        current = self.current(kind).name
        removed: list[str] = []
        for version in self._of(kind)[: -(keep + 1)]:
            if version.name not in (current, *needed) and self._remove(version):
                removed.append(version.name)
        return removed

    def _remove(self, version: Version) -> bool:
        """Removes a version unless a process holds it; whether it did."""
        away = self.root / f".removed-{version.name}"
        try:
            taken = taken_away(version.path, version.path / MANIFEST, away)
        except OSError as error:
            log.warning("version %s could not be removed: %s", version.name, error)
            return False
        if taken:
            shutil.rmtree(away, ignore_errors=True)
            shutil.rmtree(self.root.parent / "deltas" / version.name, ignore_errors=True)
        else:
            log.info("version %s is open in a process: it is kept for now", version.name)
        return taken

    def _of(self, kind: Kind) -> list[Version]:
        """The intact versions of a kind, oldest first."""
        found: list[Version] = []
        for path in sorted(self.root.glob("*/")) if self.root.is_dir() else []:
            if not path.name.startswith("."):
                try:
                    found.append(Version(path, Manifest.read(path / MANIFEST)))
                except VersionError as error:
                    log.warning("%s", error)
        return sorted((v for v in found if v.manifest.kind is kind), key=lambda v: _age(v.manifest))

    @contextmanager
    def write(self, kind: Kind) -> Generator[Draft]:
        """A draft to fill; it becomes a version at the end of the block and is removed on errors.

        Raises:
            VersionError: the files cannot be written.
        """
        self._remove_abandoned()
        created = datetime.now(UTC)
        name = self._free_name(f"{created:%Y-%m-%dT%H-%M-%S}-{kind.value}")
        path = self.root / f".{name}"
        draft = Draft(path, name, kind, created.isoformat(timespec="seconds"))
        mark = None
        try:
            path.mkdir(parents=True)
            mark = Hold(path) if os.name == "posix" else None  # others cannot lock a folder
            yield draft
            files = draft.finish()
            beside = [(v.path, v.manifest.files) for one in Kind for v in reversed(self._of(one))]
            link_equal_files(path, files, beside)
            os.replace(path, self.root / name)
        except OSError as error:
            raise VersionError(
                f"version {name} could not be written ({error}); nothing was published and the "
                "earlier versions are complete: free space or repair the folder, then train again"
            ) from error
        finally:
            if mark is not None:
                mark.release()
            shutil.rmtree(path, ignore_errors=True)

    def _remove_abandoned(self) -> None:
        """Removes drafts of processes that were killed while they wrote."""
        marked = os.name == "posix" and self.root.is_dir()
        for path in list(self.root.glob(".*-*/")) if marked else list[Path]():
            away = self.root / f".removed{path.name}"
            try:
                taken = path.name.startswith(".removed") or taken_away(path, path, away)
            except OSError as error:
                log.warning("the draft %s could not be removed: %s", path, error)
                continue
            if taken:
                shutil.rmtree(away if away.exists() else path, ignore_errors=True)

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
    horizon: int = 0
    journal_position: int | None = None
    settings: dict[str, Any] = field(default_factory=dict[str, Any])
    metrics: dict[str, Any] = field(default_factory=dict[str, Any])
    update: dict[str, Any] = field(default_factory=dict[str, Any])
    formats: dict[str, int] = field(default_factory=dict[str, int])

    def folder(self, *names: str) -> Path:
        """A sub-directory, created if absent."""
        path = self.path.joinpath(*names)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def finish(self) -> Mapping[str, tuple[int, str]]:
        """Writes the manifest, with a checksum of every file, and forces all of it to disk; returns
        the files as the manifest lists them."""
        files = files_of(self.path)
        for relative in files:
            _sync(self.path / relative)
        target = self.path / MANIFEST
        self._manifest(files).write(target)
        _sync(target)
        return files

    def preview(self) -> Version:
        """What has been written so far as a version to open, for trial requests; its checksums are
        not there yet. It must be closed before the draft becomes a version."""
        manifest = self._manifest({})
        manifest.write(self.path / MANIFEST)
        return Version(self.path, manifest)

    def _manifest(self, files: dict[str, tuple[int, str]]) -> Manifest:
        return Manifest(
            name=self.name,
            kind=self.kind,
            created=self.created,
            code=self.code,
            data_from=self.data_from,
            data_until=self.data_until,
            horizon=self.horizon,
            journal_position=self.journal_position,
            settings=self.settings,
            metrics=self.metrics,
            update=self.update,
            files=files,
            formats=self.formats,
        )


def files_of(folder: Path) -> dict[str, tuple[int, str]]:
    """Every file of a version's folder except its manifest, as `Manifest.files` lists them."""
    found = (file for file in sorted(folder.rglob("*")) if file.is_file())
    return {
        str(file.relative_to(folder)): (file.stat().st_size, file_checksum(file))
        for file in found
        if file != folder / MANIFEST
    }


def _age(manifest: Manifest) -> tuple[str, int, str]:
    """Sorts versions by time; those of one second by the number that ends their names."""
    return manifest.created, len(manifest.name), manifest.name


def _content_checksum(content: Mapping[str, Any]) -> str:
    """blake2b-128 of a JSON object in canonical form: keys sorted, no white space."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _sync(file: Path) -> None:
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
