"""What a failing stage does: raise its error, or leave the answer without it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from tamis.schema import RequestError

log = logging.getLogger("tamis.cascade")
T = TypeVar("T")
Other = TypeVar("Other")


class Guard:
    """Runs stages. A failure is raised, or named in `notes` and replaced if `degrade` is true."""

    def __init__(self, degrade: bool = False) -> None:
        self._degrade = degrade
        self.notes: list[str] = []
        """What failed: the stage, the error's type and its text."""

    def __call__(self, stage: str, work: Callable[[], T], instead: Other) -> T | Other:
        """`work()`, or `instead` where it fails and answers may be degraded.

        A RequestError is the fault of the request, not of the stage, and is always raised.
        """
        if not self._degrade:
            return work()
        try:
            return work()
        except RequestError:
            raise
        except Exception as error:
            log.exception("%s failed; the answer does without it", stage)
            self.notes.append(f"{stage}: {type(error).__name__}: {error}")
            return instead
