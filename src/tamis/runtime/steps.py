"""One line that says what a job is doing; quiet when not a terminal."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn


class Steps:
    """A spinner with the current step and the time since the job began."""

    def __init__(self, show: bool) -> None:
        self._console = Console(stderr=True)
        self._show = show and self._console.is_terminal
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        if self._show:
            self._progress = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                TimeElapsedColumn(),
                console=self._console,
                transient=True,
            )
            self._progress.start()
            self._task = self._progress.add_task("")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def begin(self, step: str) -> None:
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, description=step)


class Bar:
    """A bar of `total` parts; quiet when not a terminal."""

    def __init__(self, label: str, total: int, show: bool) -> None:
        console = Console(stderr=True)
        self._progress = Progress(console=console, disable=not (show and console.is_terminal))
        self._label, self._total = label, total

    def __enter__(self) -> Self:
        self._progress.start()
        self._task = self._progress.add_task(self._label, total=self._total)
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def update(self, done: int, total: int) -> None:
        """Shows `done` of `total` parts."""
        self._progress.update(self._task, completed=done, total=total)
