"""The result of `tamis train`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class TrainReport:
    """The result of `tamis train`."""

    versions: dict[str, str]
    """{kind: name of the version now in use}."""
    settings: dict[str, dict[str, Any]]
    """{stage: options chosen on the validation window}."""
    validation: dict[str, dict[str, float]]
    """{stage: metrics on the validation window}."""
    training: dict[str, dict[str, float | None]]
    """{stage: {seconds, peak_mb, samples_per_second}}."""
    rejects: dict[str, int]
    """Rows of the tables that could not be used, by reason."""
    seconds: float
    notes: tuple[str, ...] = ()
    """What was left out of the ranker's rows and labels, and why."""
    readings: tuple[str, ...] = ()
    """How the events were read, and what may have been read wrongly."""
    hard_negatives: dict[str, dict[str, dict[str, int]]] = field(
        default_factory=dict[str, dict[str, dict[str, int]]]
    )
    """{kind of version: {channel: {source: hard negatives that it has learnt from}}}; without
    channels that learn from none."""

    def to_dict(self) -> dict[str, Any]:
        return dict(vars(self))
