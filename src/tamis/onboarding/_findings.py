"""What `tamis doctor` reports, and what its checks read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tamis.data import Dataset, Rejects
from tamis.schema import ProjectConfig

if TYPE_CHECKING:
    from tamis.features import TableCoverage

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


class Examination(list[Finding]):
    """The findings, worst first, and the coverage of the features in the tables."""

    features: Sequence[TableCoverage] = ()
    """In the order of the features; empty where the data or the features cannot be read."""
    data: Dataset | None = None
    """The data as read; None where they cannot be."""


@dataclass(frozen=True)
class Case:
    """The input of the checks."""

    config: ProjectConfig
    root: Path
    data: Dataset
    rejects: Rejects
