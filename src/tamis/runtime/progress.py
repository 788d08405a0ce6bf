"""Progress of long jobs, on standard error: a live display on a terminal, else one line per stage.

with Progress("train", wanted=True) as progress:
    progress.begin("fit rank")              # train: fit rank … 12.3 s
    progress.update(40, 100, "loss 0.41")   # a bar on a terminal; not logged
"""

from __future__ import annotations

import sys
import threading
import time
from contextvars import ContextVar
from types import TracebackType
from typing import Protocol, Self, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress import Progress as RichProgress
from rich.text import Text

DELAY = 2.0
"""Seconds of work before anything is drawn on a terminal."""


class Progress:
    """The progress of one job.

    On a terminal, the current stage, the time it has taken and, after `update`, a bar appear once
    the job has taken `DELAY` seconds; they disappear when the job ends. Where standard error is
    not a terminal, each stage is one line, "job: stage … 12.3 s", completed when the stage ends.
    Nothing is shown if progress is not wanted or the context is not entered.

    A job that starts within another one (a fit within `train`) adds its bar to the display of the
    outer job and logs no lines of its own.
    """

    def __init__(self, job: str, wanted: bool = True) -> None:
        """job: name at the beginning of each line; wanted: whether to show anything."""
        self._job, self._wanted = job, wanted
        self._view: _View = _Silent()

    def __enter__(self) -> Self:
        if self._wanted:
            outer = _shown.get()
            self._view = _view(self._job) if outer is None else outer.inner()
            self._token = _shown.set(self._view)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._wanted:
            _shown.reset(self._token)
            self._view.close(failed=kind is not None)
            self._view = _Silent()

    def begin(self, stage: str) -> None:
        """Starts a stage; the one before it has ended."""
        self._view.begin(stage)

    def update(self, done: int, total: int, note: str = "") -> None:
        """Reports that `done` of `total` parts of the current stage are finished.

        `total` = 0 means that the number of parts is unknown. `note` is a short text that is shown
        on a terminal, such as the current loss.
        """
        self._view.update(done, total, note)

    def message(self, text: str) -> None:
        """Prints a line that stays, such as the terms of a data set."""
        self._view.message(text)


class _View(Protocol):
    """Where the progress of one job is shown."""

    def begin(self, stage: str) -> None: ...
    def update(self, done: int, total: int, note: str) -> None: ...
    def message(self, text: str) -> None: ...
    def close(self, failed: bool) -> None: ...
    def inner(self) -> _View:
        """The view of a job that starts within this one."""
        ...


_shown: ContextVar[_View | None] = ContextVar("tamis progress", default=None)
"""The view of the innermost job that shows its progress in this thread."""


def _view(job: str) -> _View:
    console = Console(stderr=True)
    if sys.stderr.isatty() and not console.is_dumb_terminal:
        return _Row(_Display(console))
    return _Log(job, sys.stderr)


class _Silent:
    """Shows nothing."""

    def begin(self, stage: str) -> None:
        pass

    def update(self, done: int, total: int, note: str) -> None:
        pass

    def message(self, text: str) -> None:
        pass

    def close(self, failed: bool) -> None:
        pass

    def inner(self) -> _View:
        return self


class _Log:
    """One line per stage: its name when it begins, its seconds when it ends."""

    def __init__(self, job: str, stream: TextIO) -> None:
        self._job, self._stream = job, stream
        self._began: float | None = None

    def begin(self, stage: str) -> None:
        self._end()
        self._write(f"{self._job}: {stage} … ")
        self._began = time.monotonic()

    def update(self, done: int, total: int, note: str) -> None:
        pass

    def message(self, text: str) -> None:
        self._end()
        self._write(f"{self._job}: {text}\n")

    def close(self, failed: bool) -> None:
        self._end("failed after " if failed else "")

    def inner(self) -> _View:
        return _Silent()

    def _end(self, outcome: str = "") -> None:
        if self._began is not None:
            self._write(f"{outcome}{time.monotonic() - self._began:.1f} s\n")
            self._began = None

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


class _Bar(BarColumn):
    """A bar where the number of parts is known, else nothing."""

    def render(self, task: Task) -> Text | object:  # type: ignore[override]  # nothing is no bar
        return super().render(task) if task.total else Text("")


class _Display:
    """The rows on a terminal; a timer starts the drawing after `DELAY` seconds."""

    def __init__(self, console: Console) -> None:
        self.rows = RichProgress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            _Bar(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._lock, self._started, self._closed = threading.Lock(), False, False
        self._timer = threading.Timer(DELAY, self._start)
        self._timer.daemon = True
        self._timer.start()

    def _start(self) -> None:
        with self._lock:
            if not self._closed:
                self.rows.start()
                self._started = True

    def close(self) -> None:
        self._timer.cancel()
        with self._lock:
            self._closed = True
            if self._started:
                self.rows.stop()


class _Row:
    """The row of one job on a terminal."""

    def __init__(self, display: _Display, outermost: bool = True) -> None:
        self._display, self._outermost = display, outermost
        self._row: TaskID | None = None
        self._stage = ""

    def begin(self, stage: str) -> None:
        self._remove()
        self._stage = stage
        self._row = self._display.rows.add_task(stage, total=None)

    def update(self, done: int, total: int, note: str) -> None:
        if self._row is not None:
            text = f"{self._stage}  {note}" if note else self._stage
            self._display.rows.update(
                self._row, completed=done, total=total or None, description=text
            )

    def message(self, text: str) -> None:
        self._display.rows.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self, failed: bool) -> None:
        self._remove()
        if self._outermost:
            self._display.close()

    def inner(self) -> _View:
        return _Row(self._display, outermost=False)

    def _remove(self) -> None:
        if self._row is not None:
            self._display.rows.remove_task(self._row)
            self._row = None
