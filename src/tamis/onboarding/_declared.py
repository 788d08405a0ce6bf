"""The declaration that `tamis init` builds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Declared:
    """The declaration under construction, with its comments and notes (see `table_guess.Guess`)."""

    data: dict[str, Any]
    comments: dict[str, str]
    notes: list[str]
    outcomes: set[str] = field(default_factory=set[str])
    """Columns of the log that became behaviours of their own."""
