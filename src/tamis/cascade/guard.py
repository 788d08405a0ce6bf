"""What a failing stage does: raise its error, or leave the answer without it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from tamis.cascade.budgets import StageBudgets
from tamis.schema import RequestError

log = logging.getLogger("tamis.cascade")
T = TypeVar("T")
Other = TypeVar("Other")
_NO_BUDGETS = StageBudgets()
"""Of guards that do not degrade answers: they read no budget and count nothing."""


class Guard:
    """Runs the stages of one batch of queries.

    Args:
        degrade: False: the error of a failing stage is raised. True, for requests: a stage that
            fails, or has no time left, is replaced and named in `notes`.
        budgets: the stages' time budgets and counts, where answers may be degraded.
    """

    def __init__(self, degrade: bool = False, budgets: StageBudgets | None = None) -> None:
        self.degrade = degrade
        self.notes: list[str] = []
        """What failed or was left out: the stage, and the error's type and text or the reason."""
        self._budgets = budgets or (StageBudgets() if degrade else _NO_BUDGETS)
        self._deadline = self._budgets.deadline()

    def __call__(
        self, stage: str, work: Callable[[], T], instead: Other, *, timed: bool = True
    ) -> T | Other:
        """`work()`, or `instead` where it fails or would take too long and answers may be degraded.

        timed: whether the stage has a time budget. A RequestError is the fault of the request, not
        of the stage, and is always raised.
        """
        if not self.degrade:
            return work()
        refusal = self._budgets.refusal(stage, self._deadline) if timed else None
        if refusal is not None:
            self._budgets.counts[stage, "skipped"] += 1
            self.notes.append(f"{stage}: {refusal}")
            return instead
        began = self._budgets.clock()
        try:
            return work()
        except RequestError:
            raise
        except Exception as error:
            log.exception("%s failed; the answer does without it", stage)
            self._budgets.counts[stage, "failed"] += 1
            self.notes.append(f"{stage}: {type(error).__name__}: {error}")
            return instead
        finally:
            if timed:
                self._budgets.ran(stage, self._budgets.clock() - began)
