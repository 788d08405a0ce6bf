"""A quiet progress bar: only on a terminal, only when the work takes over two seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

DELAY = 2.0


@contextmanager
def progress_bar(total: int, wanted: bool) -> Iterator[Callable[[str], None]]:
    """Yields `advance(text)`, to be called once per step of `total`."""
    if not wanted or not sys.stderr.isatty():
        yield lambda text: None
        return
    began = time.monotonic()
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(),
        console=Console(stderr=True), transient=True,
    )  # fmt: skip
    task = bar.add_task("training", total=total)
    shown = False

    def advance(text: str) -> None:
        nonlocal shown
        bar.update(task, advance=1, description=text)
        if not shown and time.monotonic() - began > DELAY:
            bar.start()
            shown = True

    try:
        yield advance
    finally:
        if shown:
            bar.stop()
