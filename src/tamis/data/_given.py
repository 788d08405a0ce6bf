"""What the user settles for `tamis init`, and decisions between near readings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tamis.data.table_links import TableSet
from tamis.schema import DataError, suggest


@dataclass(frozen=True)
class Given:
    """What the user settles: files and columns by name; None is detected."""

    events: str | None = None
    items: str | None = None
    users: str | None = None
    user: str | None = None
    item: str | None = None
    time: str | None = None
    behaviour: str | None = None
    value: str | None = None

    def column(self, key: str) -> str | None:
        """The column that is given for a key of `[events]`."""
        return getattr(self, key)


DETECT = Given()


@dataclass(frozen=True)
class RoleChoice:
    """A decision between near readings."""

    key: str
    """What was chosen: "events" (a file), "user", "item" or "time"."""
    chosen: str
    others: tuple[str, ...]
    """The near alternatives, the best first."""
    why: str
    """What spoke for the chosen one."""


def check_given(tables: TableSet, folder: Path, given: Given) -> None:
    """Checks that given files and columns exist."""
    for key in ("events", "items", "users"):
        file = getattr(given, key)
        if file is not None and file not in tables.frames:
            raise DataError(
                f"--{key} {file}: no such table in {folder}.{suggest(file, tables.frames)} "
                f"It holds {', '.join(tables.frames) or 'none'}."
            )
    for key in ("user", "item", "time", "behaviour", "value"):
        name = given.column(key)
        if name is None or (key == "time" and name == "none"):
            continue
        files = [given.events] if given.events else list(tables.frames)
        columns = list(dict.fromkeys(c for file in files for c in tables.frames[file].columns))
        if name not in columns:
            raise DataError(
                f"--{key} {name}: no such column in {', '.join(files)}.{suggest(name, columns)} "
                f"The columns are {', '.join(columns[:40])}."
            )
