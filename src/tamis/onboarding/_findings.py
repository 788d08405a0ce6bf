"""What `tamis doctor` reports, and what its checks read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tamis.data import Dataset, Rejects
from tamis.schema import ProjectConfig

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """A problem or a remark."""

    severity: Severity
    """error: training fails or its result is meaningless; warning: probably a mistake; note: a
    remark."""
    what: str
    """The problem, with its values."""
    where: str
    """File, column or key."""
    fix: str
    """How to fix it."""


@dataclass(frozen=True)
class Case:
    """The input of the checks."""

    config: ProjectConfig
    root: Path
    data: Dataset
    rejects: Rejects
