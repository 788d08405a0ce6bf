"""The result of `tamis update`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tamis.jobs._gate import GateCheck


@dataclass(frozen=True)
class UpdateReport:
    """The result of `tamis update --full`."""

    former: str
    """Name of the version that the update started from."""
    version: str | None
    """Name of the version that is now in use; None: nothing was published."""
    new_events: int
    """Events that arrived since the former version was made."""
    learnt: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    """{stage: {how, rows}}: "warm" (from the former weights, in one pass over new rows),
    "carried" (unchanged: there was nothing to learn from) or "refitted" (on all data)."""
    checks: Sequence[GateCheck] = ()
    """What the gate found, worst first."""
    forced: bool = False
    """Whether the version was published although checks failed."""
    training: Mapping[str, Mapping[str, float | None]] = field(
        default_factory=dict[str, Mapping[str, float | None]]
    )
    """{stage: {seconds, peak_mb, samples_per_second}}."""
    seconds: float = 0.0
    share_of_training: float | None = None
    """These seconds ÷ those of the last `tamis train`; None where they are not known."""
    data: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Rates, unknown ids, missing values and drift of the new events."""
    quality: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Metrics of the serving version and of the new one, and their protocol."""
    rejects: Mapping[str, int] = field(default_factory=dict[str, int])
    """Rows of the tables that could not be used, by reason."""
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether all checks passed."""
        return all(check.passed for check in self.checks)

    @property
    def refused(self) -> bool:
        """Whether the gate kept the version from being published."""
        return self.version is None and not self.passed

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            **vars(self),
            "checks": [check.to_dict() for check in self.checks],
            "passed": self.passed,
        }
