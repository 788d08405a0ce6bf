"""Time budgets of stages: which stages an answer is made without, because they usually take longer.

A stage is numba, BLAS or ONNX code that cannot be interrupted, so a budget is checked before a
stage runs, against the time that the stage usually takes.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter
from typing import Literal

from tamis.schema import BudgetsConfig

WINDOW = 5
"""Last runs of a stage; their median is the time that it usually takes."""
REST = 10.0
"""Seconds without a run after which a stage that is left out runs once more, to be measured."""
LONGEST_REST = 320.0
"""Most seconds of rest. The rest doubles each time that the measured run is over the budget."""

Fault = Literal["failed", "skipped", "late"]
"""What went wrong: the stage raised an error; it was left out, as it usually takes longer than its
budget or than the time that is left; it ran, and took longer than its budget."""


@dataclass(eq=False)
class _Timing:
    """The last runs of one stage."""

    seconds: deque[float] = field(default_factory=lambda: deque[float](maxlen=WINDOW))
    last: float = 0.0
    """When it ran last, by the clock."""
    rest: float = REST


class StageBudgets:
    """The budgets of the stages of an open version, and what their last runs took.

    Args:
        config: the budgets, [cascade.budgets]; by default there are none.
        clock: gives the seconds of a steady clock.
    """

    def __init__(
        self, config: BudgetsConfig | None = None, clock: Callable[[], float] = perf_counter
    ) -> None:
        self.clock = clock
        """Seconds of a steady clock, for the times of stages."""
        self.counts: Counter[tuple[str, Fault]] = Counter()
        """(stage, what went wrong) → how often since the version was opened."""
        self._config = config or BudgetsConfig()
        self._timings: dict[str, _Timing] = {}
        self._limits: dict[str, float] = {}

    def deadline(self) -> float:
        """When an answer that is begun now should be complete, by the clock."""
        total = self._config.total
        return float("inf") if total is None else self.clock() + total / 1000

    def refusal(self, stage: str, deadline: float) -> str | None:
        """Why a stage should not run now; None: it should.

        A stage that has not run for its rest is not refused, as it may have become faster.
        """
        if self._limit(stage) == float("inf"):
            return None
        timing = self._timings.get(stage)
        if timing is None:
            return None
        now, usual = self.clock(), median(timing.seconds)
        allowed = min(self._limit(stage), deadline - now)
        if usual <= allowed or now - timing.last >= timing.rest:
            return None
        own = f"its budget is {1000 * self._limit(stage):.0f} ms"
        left = f"{max(1000 * allowed, 0):.0f} ms of the request's budget are left"
        reason = own if allowed == self._limit(stage) else left
        return f"skipped: it usually takes {1000 * usual:.0f} ms, and {reason}"

    def ran(self, stage: str, seconds: float) -> None:
        """Takes note of a run; one within the budget after a rest ends the rest."""
        limit = self._limit(stage)
        if limit == float("inf"):
            return
        timing = self._timings.setdefault(stage, _Timing())
        rested = bool(timing.seconds) and median(timing.seconds) > limit
        if seconds > limit:
            self.counts[stage, "late"] += 1
            timing.rest = min(2 * timing.rest, LONGEST_REST) if rested else REST
        else:
            timing.rest = REST
            if rested:
                timing.seconds.clear()
        timing.seconds.append(seconds)
        timing.last = self.clock()

    def _limit(self, stage: str) -> float:
        """Seconds that a stage may take; infinite without a budget."""
        found = self._limits.get(stage)
        if found is None:
            own, total = self._config.of(stage), self._config.total
            given = [budget for budget in (own, total) if budget is not None]
            found = self._limits[stage] = min(given) / 1000 if given else float("inf")
        return found
