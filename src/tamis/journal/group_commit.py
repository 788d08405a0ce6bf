"""Group commit: whatever queues while one commit is under way is written by the next one."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from itertools import chain
from typing import NamedTuple

from tamis.journal.entries import Entry, encoded, key_of
from tamis.journal.protocol import Appended
from tamis.schema import StoreError


class Line(NamedTuple):
    """An entry as it is written."""

    key: str | None
    """What only one entry may have; see `key_of`."""
    body: str
    """JSON."""

    @classmethod
    def of(cls, entry: Entry) -> Line:
        return cls(key_of(entry), encoded(entry).decode())


class PartlyWrittenError(StoreError):
    """A write failed after its first lines: `results` says what became of these; of the others it
    is not known whether they were written."""

    def __init__(self, results: list[Appended], cause: StoreError) -> None:
        super().__init__(
            f"{cause}. The call may have been written all the same: send its events again with the "
            "same event_id, and each counts once"
        )
        self.results = results


Write = Callable[[Sequence[Line]], list[Appended]]
_Waiting = tuple[Sequence[Line], "Future[list[Appended]]"]

MAX_LINES = 5_000
"""Entries of one commit; more wait for the next."""
MAX_WAITING = 1_000
"""Calls that may wait; more are refused, so that memory stays bounded when the disk is slow."""


class GroupCommit:
    """One thread that writes what all other threads append.

    A commit takes milliseconds whatever it holds, so calls that arrive meanwhile share the next
    one. A call that comes alone is written at once.

    Args:
        write: writes lines durably and returns what became of each; runs on one thread. It may
            raise PartlyWrittenError.
        name: name of the thread.
    """

    def __init__(self, write: Write, name: str) -> None:
        self._write = write
        self._waiting: queue.Queue[_Waiting | None] = queue.Queue(MAX_WAITING)
        self._closed = threading.Event()
        self._turn = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def append(self, entries: Sequence[Entry]) -> list[Appended]:
        """Waits until `entries` are durable. Raises what `write` raised, or StoreError if full."""
        if not entries:
            return []
        lines = [Line.of(entry) for entry in entries]
        done: Future[list[Appended]] = Future()
        with self._turn:  # a call is either before the end of the thread, or refused
            if self._closed.is_set():
                raise StoreError("the journal is closed: open it again to append entries")
            try:
                self._waiting.put_nowait((lines, done))
            except queue.Full:
                raise StoreError(
                    f"{MAX_WAITING:,} calls wait for the journal's disk: send fewer and larger "
                    "batches, or try again in a second"
                ) from None
        return done.result()

    def close(self) -> None:
        """Writes what waits and ends the thread."""
        with self._turn:
            first = not self._closed.is_set()
            self._closed.set()
        if first:
            self._waiting.put(None)
            self._thread.join()

    def _run(self) -> None:
        while (first := self._waiting.get()) is not None:
            calls, ending = self._gathered(first)
            self._commit(calls)
            if ending:
                break

    def _gathered(self, first: _Waiting) -> tuple[list[_Waiting], bool]:
        """All calls that wait now, and whether the end was among them."""
        calls, lines = [first], len(first[0])
        while lines < MAX_LINES:
            try:
                call = self._waiting.get_nowait()
            except queue.Empty:
                break
            if call is None:
                return calls, True
            calls.append(call)
            lines += len(call[0])
        return calls, False

    def _commit(self, calls: Sequence[_Waiting]) -> None:
        failure: Exception | None = None
        try:
            results = self._write(list(chain.from_iterable(lines for lines, _ in calls)))
        except PartlyWrittenError as error:
            results, failure = error.results, error
        except Exception as error:  # handed to the callers; the thread goes on
            results, failure = [], error
        end = 0
        for lines, done in calls:
            first, end = end, end + len(lines)
            if failure is None or end <= len(results):
                done.set_result(results[first:end])
            else:
                done.set_exception(failure)
