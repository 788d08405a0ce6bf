"""How the values of a text file are written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tamis.data.missing import MISSING

Mark = Literal[".", ","]
"""The decimal mark: `1.5` or `1,5`."""


@dataclass(frozen=True)
class TextForm:
    """How the values of a file are written, as declared or as its other columns show."""

    separator: str = ""
    """Of a text file; with `;` a comma is rather a decimal mark."""
    decimal: Mark | None = None
    """The declared decimal mark; None: as the values of each column show."""
    usual: Mark | None = None
    """The decimal mark of the other columns, for columns whose values do not show it."""
    missing: tuple[str, ...] = MISSING
    """Texts that mean a missing value, beside the empty one."""
    day_first: bool | None = None
    """Whether 2/1/2024 is the second of January; None: as the values of each column show."""


PLAIN = TextForm()
