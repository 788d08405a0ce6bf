"""Arrays of a snapshot: one npz file per view, without pickle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray


def write_arrays(file: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Writes named arrays; the folder is made."""
    file.parent.mkdir(parents=True, exist_ok=True)
    cast("Any", np.savez)(file, allow_pickle=False, **arrays)


def read_arrays(file: Path) -> dict[str, NDArray[Any]]:
    """What `write_arrays` wrote."""
    with np.load(file, allow_pickle=False) as saved:
        return {name: saved[name] for name in saved.files}
