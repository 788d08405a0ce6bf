"""Stores without a server: memory-mapped arrays for recalled lists, SQLite for queues.

    PROJECT/stores/
      recall/VERSION/      recall.json, CHANNEL.item.npy, CHANNEL.score.npy (users × k),
                           CHANNEL.users.npy, CHANNEL.items.npy (rows × d)
      leftovers/QUEUE.sqlite

Versions are immutable and have checksums, so results computed from one later are stored outside of
it, under its name.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import threading
import weakref
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.runtime import Float32, Int32
from tamis.schema import StoreError
from tamis.stores.protocols import EntityKind, RecallDraft

ABOUT = "recall.json"


class EmbeddedRecall:
    """Recalled lists and vectors as memory-mapped arrays; only one process may write at a time."""

    def __init__(self, folder: Path, users: int, items: int) -> None:
        self._folder = folder
        self._rows = {EntityKind.USERS: users, EntityKind.ITEMS: items}
        self._open: dict[str, _OpenArrays] = {}

    @property
    def address(self) -> str:
        return str(self._folder)

    def lists(self, version: str, channel: str, users: Int32) -> tuple[Int32, Float32]:
        opened = self._opened(version)
        item = opened.array(channel, "item", self.address)
        score = opened.array(channel, "score", self.address)
        known = (users >= 0) & (users < len(item))
        if not len(item):
            shape = (len(users), item.shape[1])
            return np.full(shape, -1, np.int32), np.full(shape, -np.inf, np.float32)
        rows = np.where(known, users, 0)
        items, scores = np.asarray(item[rows]), np.asarray(score[rows])
        items[~known], scores[~known] = -1, -np.inf
        return items, scores

    def vectors(self, version: str, channel: str, side: EntityKind, rows: Int32) -> Float32:
        held = self._opened(version).array(channel, side.value, self.address)
        out = np.zeros((len(rows), held.shape[1]), np.float32)
        known = (rows >= 0) & (rows < len(held))
        out[known] = held[rows[known]]
        return out

    def holds(self, version: str) -> Mapping[str, int]:
        about = self._folder / version / ABOUT
        return json.loads(about.read_text("utf-8"))["lists"] if about.is_file() else {}

    def versions(self) -> Sequence[str]:
        return sorted(path.parent.name for path in self._folder.glob(f"[!.]*/{ABOUT}"))

    def drop(self, version: str) -> None:
        self._open.pop(version, None)
        shutil.rmtree(self._folder / version, ignore_errors=True)

    def forget_user(self, user: str, rows: Mapping[str, int]) -> None:
        empty = {"item": -1, "score": -np.inf, EntityKind.USERS.value: 0}
        for version, row in rows.items():
            for part, value in empty.items():
                for file in (self._folder / version).glob(f"*.{part}.npy"):
                    _clear_row(file, row, value)

    @contextmanager
    def write(self, version: str) -> Generator[RecallDraft]:
        path = self._folder / f".{version}.{os.getpid()}"
        try:
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir(parents=True)
            draft = _ArrayDraft(path, self._rows)
            yield draft
            draft.finish()
            self._replace(path, self._folder / version)
        except OSError as error:
            raise StoreError(
                f"recalled lists could not be written to {path} ({error}); the earlier lists are "
                "not affected: free space or repair the folder, then recall again"
            ) from error
        finally:
            shutil.rmtree(path, ignore_errors=True)

    @staticmethod
    def _replace(new: Path, place: Path) -> None:
        """Renames `new` to `place`; readers keep the old files open until their next read."""
        former = place.with_name(f"{new.name}.former")
        if place.exists():
            os.replace(place, former)
        os.replace(new, place)
        shutil.rmtree(former, ignore_errors=True)

    def _opened(self, version: str) -> _OpenArrays:
        """The arrays of a version, opened again if they were written again."""
        about = self._folder / version / ABOUT
        try:
            stat = about.stat()
            stamp = (stat.st_ino, stat.st_mtime_ns)
            opened = self._open.get(version)
            if opened is None or opened.stamp != stamp:
                opened = _OpenArrays(about.parent, stamp)
                self._open[version] = opened
            return opened
        except FileNotFoundError:
            raise no_lists(version, self.address) from None


def _clear_row(file: Path, row: int, value: float) -> None:
    """Overwrites a row of an array on the disk; those who have mapped the file see it."""
    try:
        array = np.load(file, mmap_mode="r+")
        if 0 <= row < len(array):
            array[row] = value
            array.flush()
    except FileNotFoundError:  # written again or dropped meanwhile
        return
    except (OSError, ValueError, EOFError) as error:
        raise StoreError(f"{file} cannot be changed ({error}): run `tamis recall` again") from error


def no_lists(version: str, address: str, channel: str | None = None) -> StoreError:
    """The error if nothing was written for a version, or nothing for a channel of it."""
    what = "nothing is recalled" if channel is None else f"channel {channel!r} is not recalled"
    return StoreError(
        f"{what} for version {version} in {address}: run `tamis recall PROJECT` after each training"
    )


@dataclass(eq=False)
class _OpenArrays:
    """The open arrays of one version."""

    path: Path
    stamp: tuple[int, int]
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict[str, NDArray[Any]])

    def array(self, channel: str, part: str, address: str) -> NDArray[Any]:
        name = f"{channel}.{part}"
        if name not in self.arrays:
            try:
                self.arrays[name] = np.load(self.path / f"{name}.npy", mmap_mode="r")
            except FileNotFoundError:
                raise no_lists(self.path.name, address, channel) from None
            except (OSError, ValueError, EOFError) as error:
                raise StoreError(
                    f"{self.path / name}.npy is damaged ({error}): run `tamis recall` again"
                ) from error
        return self.arrays[name]


@dataclass(eq=False)
class _ArrayDraft:
    """A draft of arrays of full size, filled block by block."""

    path: Path
    rows: Mapping[EntityKind, int]
    k: dict[str, int] = field(default_factory=dict[str, int])
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict[str, NDArray[Any]])

    def lists(self, channel: str, first: int, item: Int32, score: Float32) -> None:
        self.k[channel] = item.shape[1]
        self._put(f"{channel}.item", EntityKind.USERS, first, item.astype(np.int32, copy=False), -1)
        self._put(
            f"{channel}.score",
            EntityKind.USERS,
            first,
            score.astype(np.float32, copy=False),
            -np.inf,
        )

    def vectors(self, channel: str, side: EntityKind, first: int, vectors: Float32) -> None:
        self._put(f"{channel}.{side}", side, first, vectors.astype(np.float32, copy=False), 0)

    def _put(
        self, name: str, side: EntityKind, first: int, block: NDArray[Any], empty: float
    ) -> None:
        if name not in self.arrays:
            shape = (self.rows[side], block.shape[1])
            target = self.path / f"{name}.npy"
            whole = np.lib.format.open_memmap(target, "w+", block.dtype, shape)
            if empty:  # a new file is filled with zeros
                whole[:] = empty
            self.arrays[name] = whole
        self.arrays[name][first : first + len(block)] = block

    def finish(self) -> None:
        for array in self.arrays.values():
            if isinstance(array, np.memmap):
                array.flush()
        self.arrays.clear()
        (self.path / ABOUT).write_text(json.dumps({"lists": self.k}), "utf-8")


_TABLE = """
create table if not exists leftovers (
    user text not null, item text not null, time real not null, primary key (user, item)
) without rowid
"""


class EmbeddedLeftovers:
    """Queues in one SQLite file in WAL mode, which several processes of a machine may share."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    def update(
        self,
        user: str,
        *,
        shown: Sequence[str],
        left: Sequence[str],
        now: int,
        size: int,
        max_age: int,
    ) -> None:
        entering = [(user, item, time) for item, time in entry_times(left, now)]
        with self._lock, self._connected() as connection, connection:
            connection.execute("begin immediate")
            connection.executemany(
                "delete from leftovers where user = ? and item = ?", [(user, i) for i in shown]
            )
            connection.executemany("insert or ignore into leftovers values (?, ?, ?)", entering)
            connection.execute(
                "delete from leftovers where user = ? and time < ?", (user, now - max_age)
            )
            connection.execute(
                "delete from leftovers where user = ?1 and item in (select item from leftovers "
                "where user = ?1 order by time desc limit -1 offset ?2)",
                (user, size),
            )

    def waiting(
        self, users: Sequence[str], since: int
    ) -> Sequence[tuple[Sequence[str], Sequence[int]]]:
        query = "select item, time from leftovers where user = ? and time >= ? order by time desc"
        with self._lock, self._connected() as connection:
            found = [connection.execute(query, (user, since)).fetchall() for user in users]
        return [([item for item, _ in rows], [int(time) for _, time in rows]) for rows in found]

    def forget_user(self, user: str) -> None:
        with self._lock, self._connected() as connection, connection:
            connection.execute("delete from leftovers where user = ?", (user,))

    @contextmanager
    def _connected(self) -> Generator[sqlite3.Connection]:
        """The connection, opened at first use; errors of SQLite become StoreError."""
        try:
            if self._connection is None:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                connection = sqlite3.connect(
                    self._file, timeout=1.0, isolation_level=None, check_same_thread=False
                )
                weakref.finalize(self, connection.close)
                connection.execute("pragma journal_mode = wal")
                connection.execute("pragma synchronous = normal")
                connection.execute(_TABLE)
                self._connection = connection
            yield self._connection
        except (OSError, sqlite3.Error) as error:
            raise StoreError(
                f"{self._file} cannot be used ({error}): check the folder, or delete the file; "
                "it only holds items that were ranked but not shown"
            ) from error


def entry_times(left: Sequence[str], now: int) -> Sequence[tuple[str, float]]:
    """Each item with its time of entry, `now` plus a fraction of a ms; the best has the latest.

    In double precision the fractions are distinct for some thousands of items.
    """
    n = len(left)
    return [(item, now + (n - place) / (n + 1)) for place, item in enumerate(left)]
