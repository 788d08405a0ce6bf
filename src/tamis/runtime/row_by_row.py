"""Rows computed one at a time, so that a result does not depend on which rows came together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray


def row_by_row(compute: Callable[..., NDArray[Any]], *inputs: NDArray[Any]) -> NDArray[Any]:
    """(m, …) `compute` of the rows of `inputs` (m, …) each, m >= 1; equal rows once.

    Products of matrices round differently for each number of rows. Services that take up the same
    rows, some one by one and some together, must hold the same numbers.
    """
    n = len(inputs[0])
    parts = [np.ascontiguousarray(x).reshape(n, -1).view(np.uint8) for x in inputs if x.size]
    keys = np.concatenate(parts, axis=1) if parts else np.zeros((n, 1), np.uint8)
    _, first, place = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    found = [compute(*(x[k : k + 1] for x in inputs)) for k in first.tolist()]
    return np.concatenate(found)[place.reshape(-1)]
