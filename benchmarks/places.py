"""Where the benchmarks find their data and leave their results; what their lines share."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "bench"

MISSING = 3
"""Exit code of a line's process whose data is not there."""
notes: list[str] = []
"""What a reader has to say about the data that it was given; follows the protocol."""


class MissingDataError(Exception):
    """The data of a line is not there: it is reported as not run."""


def folder() -> Path:
    """Where the data sets lie: TAMIS_DATA, or else ../shared/data beside the repository."""
    return Path(os.environ.get("TAMIS_DATA") or ROOT.parent / "shared" / "data")


def standard(name: str) -> Path:
    """The file or folder `name` of the data sets."""
    place = folder() / name
    if not place.exists():
        raise MissingDataError(
            f"{place} is not there: set TAMIS_DATA to the folder that holds {name}, or give "
            f"another file of the same format by DATA="
        )
    return place


def there(data: Path | None) -> Path | None:
    """What DATA= names, which must be there; None where it is not given."""
    if data is not None and not data.exists():
        raise MissingDataError(f"DATA={data}: there is no such file or folder")
    return data
