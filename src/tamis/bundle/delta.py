"""Deltas: what changed in a version's embeddings after it was published, as a sequence of files.

    deltas/
      2026-11-22T12-00-00-serving/      of the version of that name, the base
        000001.delta  000002.delta …    each follows the one before it
        lock                            held by the process that writes them

A file is a line that names the format, the length of a header (8 bytes), the header as JSON, the
arrays, and a checksum of all of that (blake2b-128). It is written under another name and renamed
when it is complete, so that a crash leaves whole files only. Each holds the checksum of the one
before it and that of its base: a delta that is missing, repeated, out of order, damaged or of
another version is recognised before anything of it is used.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.bundle.version import Version
from tamis.runtime import Float32, Int32
from tamis.schema import VersionError, reading

try:
    import fcntl
except ModuleNotFoundError:  # Windows
    fcntl = None

FOLDER = "deltas"
SUFFIX = ".delta"
MAGIC = b"tamis delta 1\n"
_START = b"tamis delta "
_DIGEST = 16
"""Bytes of the checksum at the end of a file."""
_HEAD = ("base", "base_checksum", "number", "before", "since", "position", "created", "newest")


@dataclass(frozen=True, eq=False)
class RowChange:
    """New rows of one embedding table."""

    rows: Int32
    """(m,) rows of the table, ascending."""
    values: Float32
    """(m, d) their values."""
    state: Float32
    """(m, s) what the optimiser keeps of these rows, which only the trainer reads."""


@dataclass(frozen=True, eq=False)
class VectorChange:
    """New vectors of items in the index of a channel."""

    rows: Int32
    """(m,) rows of the items in the version's table, ascending."""
    vectors: Float32
    """(m, d)"""


@dataclass(frozen=True)
class IdChange:
    """Which ids have rows of their own in the table of a feature."""

    expired: tuple[int, ...]
    """Codes whose ids are unseen from now on."""
    admitted: Mapping[str, int]
    """New ids → codes, after the others have expired."""


@dataclass(frozen=True, eq=False)
class Delta:
    """What one incremental update changed."""

    base: str
    """Name of the version that it changes."""
    base_checksum: str
    """`Manifest.checksum` of that version."""
    number: int
    """Its place in the sequence of its base, from 1."""
    before: str
    """Checksum of the delta before it; empty for the first."""
    since: int
    """Number of the last entry of the journal that the sequence had read before it."""
    position: int
    """Number of the last entry of the journal that it has read."""
    created: int
    """When it was made, ms since 1970 UTC."""
    newest: int
    """Time of the newest event that it has read, ms since 1970 UTC."""
    tables: Mapping[str, RowChange] = field(default_factory=dict[str, RowChange])
    """By part of the version, such as "rank" or "channels/two_tower"."""
    vectors: Mapping[str, VectorChange] = field(default_factory=dict[str, VectorChange])
    """By part: the channels whose items have new vectors."""
    tombstones: Mapping[str, Int32] = field(default_factory=dict[str, Int32])
    """By part: rows (m,) of deleted users and items, which are as the row of unseen ids now."""
    ids: Mapping[str, IdChange] = field(default_factory=dict[str, IdChange])
    """By feature: ids that came and went."""
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Figures of the update, as JSON values: rows that it learnt from, seconds until it was
    published, events that came too late."""
    checksum: str = ""
    """Of its file; empty until it was written."""


@dataclass
class DeltaChain:
    """How far a sequence of deltas has been applied; tells which delta may follow.

    Args:
        version: the base.
    """

    version: Version
    number: int = 0
    """Number of the last delta that was applied; 0: none."""
    checksum: str = ""
    """Checksum of that delta."""

    def check(self, delta: Delta, path: Path | None = None) -> None:
        """Raises VersionError unless `delta` is the next one; `path` is its file, for messages."""
        what = f"delta {delta.number} of {delta.base}" if path is None else str(path)
        name = self.version.name
        if delta.base != name:
            raise VersionError(f"{what} changes version {delta.base}, and {name} is open")
        if delta.base_checksum != self.version.manifest.checksum:
            raise VersionError(
                f"{what} was made for another version of the name {name}: remove the folder "
                f"{FOLDER}/{name}, and `tamis update --follow` begins again"
            )
        if delta.number <= self.number:
            raise VersionError(
                f"{what} is delta {delta.number}, and delta {self.number} was applied already: "
                "each is applied once, in order"
            )
        if delta.number > self.number + 1:
            raise VersionError(
                f"{what} is delta {delta.number}, and delta {self.number + 1} is missing: put it "
                f"back, or remove the later ones, and `tamis update --follow` makes them again"
            )
        if delta.before != self.checksum:
            raise VersionError(
                f"{what} follows another delta {self.number} than the one that was applied: start "
                "the service again, which applies all deltas that are there"
            )

    def advance(self, delta: Delta) -> None:
        """Takes note that `delta`, which was checked, has been applied."""
        self.number, self.checksum = delta.number, delta.checksum


class DeltaFolder:
    """The deltas of one version of a project."""

    def __init__(self, version: Version) -> None:
        self.version = version
        self.path = version.path.parent.parent / FOLDER / version.name

    def file(self, number: int) -> Path:
        """The file of a delta."""
        return self.path / f"{number:06d}{SUFFIX}"

    @property
    def stamp(self) -> object:
        """Changes when a delta is published; None without any."""
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino

    def numbers(self) -> list[int]:
        """The numbers of the deltas that are there, ascending."""
        stems = (path.stem for path in self.path.glob(f"*{SUFFIX}"))
        return sorted(int(stem) for stem in stems if stem.isdecimal())

    def after(self, chain: DeltaChain) -> Iterator[Delta]:
        """The deltas that follow, in order, each checked; the caller advances the chain.

        Raises VersionError at the first that is damaged, missing or does not follow.
        """
        for number in self.numbers():
            if number <= chain.number:
                continue
            path = self.file(number)
            delta = read_delta(path)
            if delta.number != number:
                raise VersionError(
                    f"{path} holds delta {delta.number}: its name was changed; name it "
                    f"{self.file(delta.number).name}"
                )
            chain.check(delta, path)
            yield delta

    def publish(self, delta: Delta) -> Delta:
        """Writes a delta; returns it with its checksum. Only the holder of `lock` may call it.

        Raises VersionError where the file cannot be written, or is there already.
        """
        path, content = self.file(delta.number), encoded_delta(delta)
        if path.exists():
            raise VersionError(f"{path} is there already: another process writes these deltas")
        part = self.path / f".{delta.number}-{os.getpid()}"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(part, path)
            _sync_folder(self.path)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise VersionError(
                f"{path} could not be written ({error}): free space or repair the folder; the next "
                "update goes on from the delta before it"
            ) from error
        return read_delta(path, content)

    @contextmanager
    def lock(self) -> Generator[None]:
        """Makes this process the only one that writes the deltas of the version, until the end of
        the block or of the process. Raises VersionError where another one does."""
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "lock").open("w") as file:
            if fcntl is not None:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise VersionError(
                        f"another process writes the deltas of version {self.version.name}: one "
                        "`tamis update --follow` per project is enough; end the other one first"
                    ) from None
            for left in self.path.glob(".[0-9]*-*"):  # of a process that was killed
                left.unlink(missing_ok=True)
            yield


def encoded_delta(delta: Delta) -> bytes:
    """The content of a delta's file."""
    arrays: dict[str, NDArray[Any]] = {}
    for part, change in delta.tables.items():
        arrays[f"tables/rows/{part}"] = change.rows
        arrays[f"tables/values/{part}"] = change.values
        arrays[f"tables/state/{part}"] = change.state
    for part, change in delta.vectors.items():
        arrays[f"vectors/rows/{part}"] = change.rows
        arrays[f"vectors/values/{part}"] = change.vectors
    arrays |= {f"tombstones/rows/{part}": rows for part, rows in delta.tombstones.items()}
    header: dict[str, Any] = {name: getattr(delta, name) for name in _HEAD}
    header["facts"] = dict(delta.facts)
    header["ids"] = {n: [list(c.expired), dict(c.admitted)] for n, c in delta.ids.items()}
    header["arrays"] = [[n, a.dtype.str, list(a.shape)] for n, a in arrays.items()]
    text = json.dumps(header, allow_nan=False).encode()
    parts = [MAGIC, len(text).to_bytes(8, "little"), text]
    parts += [np.ascontiguousarray(array).tobytes() for array in arrays.values()]
    content = b"".join(parts)
    return content + hashlib.blake2b(content, digest_size=_DIGEST).digest()


def read_delta(path: Path, content: bytes | None = None) -> Delta:
    """The delta of a file, whose checksum is verified first.

    content: what the file holds; None: it is read.

    Raises VersionError where it is missing, damaged or of a newer format.
    """
    with reading(path):
        if content is None:
            content = path.read_bytes()
        if content[: len(MAGIC)] != MAGIC and content[: len(_START)] == _START:
            raise VersionError(f"{path} was written by a newer release of Tamis: upgrade tamis")
        body, written = content[:-_DIGEST], content[-_DIGEST:]
        if hashlib.blake2b(body, digest_size=_DIGEST).digest() != written:
            raise VersionError(
                f"{path} is damaged: its content differs from its checksum. Remove it and those "
                "after it: `tamis update --follow` makes them again from the journal"
            )
        at = len(MAGIC)
        length = int.from_bytes(body[at : at + 8], "little")
        at += 8
        header: dict[str, Any] = json.loads(body[at : at + length])
        listed: list[tuple[str, str, list[int]]] = header["arrays"]
        at += length
        arrays: dict[str, NDArray[Any]] = {}
        for name, dtype, shape in listed:
            kind, count = np.dtype(dtype), int(np.prod(shape))
            arrays[name] = np.frombuffer(body, kind, count, at).reshape(shape)
            at += count * kind.itemsize
        return _delta(header, arrays, written.hex())


def _delta(header: Mapping[str, Any], arrays: Mapping[str, Any], checksum: str) -> Delta:
    def of(kind: str) -> dict[str, Any]:
        start = f"{kind}/"
        return {n.removeprefix(start): a for n, a in arrays.items() if n.startswith(start)}

    values, state, vectors = of("tables/values"), of("tables/state"), of("vectors/values")
    return Delta(
        base=str(header["base"]),
        base_checksum=str(header["base_checksum"]),
        before=str(header["before"]),
        number=int(header["number"]),
        since=int(header["since"]),
        position=int(header["position"]),
        created=int(header["created"]),
        newest=int(header["newest"]),
        tables={p: RowChange(r, values[p], state[p]) for p, r in of("tables/rows").items()},
        vectors={p: VectorChange(r, vectors[p]) for p, r in of("vectors/rows").items()},
        tombstones=of("tombstones/rows"),
        ids={
            name: IdChange(tuple(expired), admitted)
            for name, (expired, admitted) in header["ids"].items()
        },
        facts=header["facts"],
        checksum=checksum,
    )


def _sync_folder(folder: Path) -> None:
    """Makes a rename durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
