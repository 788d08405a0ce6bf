"""Names of the numpy array types that signatures use."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Bool = NDArray[np.bool_]
UInt32 = NDArray[np.uint32]
Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Index = NDArray[np.intp]
Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

Floats = NDArray[np.floating]
"""Floats of any width."""
Ints = NDArray[np.integer]
"""Integers of any width."""


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """A view of an array that cannot be written.

    Arrays of an opened version are read-only, and numba compiles a kernel again for writable ones.
    """
    view = array.view()
    view.flags.writeable = False
    return view
