"""Notes on how a table was read: what was decided by its values, and how to decide otherwise."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Note:
    """How values of a file were read, where it is not evident."""

    what: str
    """The reading, with an example."""
    fix: str = ""
    """What to do if the reading is wrong."""
    doubtful: bool = False
    """The values do not tell, or may have lost something: `tamis doctor` shows a warning."""
    file: str = ""
    column: str = ""

    def __str__(self) -> str:
        place = f"{self.file}, `{self.column}`" if self.column else self.file
        cure = f"; {self.fix[:1].lower()}{self.fix[1:]}" if self.fix else ""
        return f"{place}: {self.what}{cure}" if place else f"{self.what}{cure}"
