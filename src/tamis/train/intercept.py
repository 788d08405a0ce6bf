"""The mean set right: a shift of log-odds after which a fit's rows happen as often as it says."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

Array = NDArray[np.floating]
STEPS = 50
"""Most Newton steps."""


def centre(targets: Array, logits: Array, weights: Array | None = None) -> float:
    """The b for which the weighted mean of σ(logits + b) is that of `targets` (n,) in [0, 1].

    Stochastic steps leave the mean of a fit some per cent off, each fit by another amount: the last
    batches had a little more or less of a label. The rows that were learnt from say by how much,
    and no fit learns a mean by heart. NaN targets do not count; 0 where all are 0 or all are 1.
    """
    known = ~np.isnan(targets)
    y, z = targets[known].astype(np.float64), logits[known].astype(np.float64)
    w = np.ones(len(y)) if weights is None else weights[known].astype(np.float64)
    if not 0 < w @ y < w.sum():
        return 0.0
    shift, mean = 0.0, (w @ y) / w.sum()
    for _ in range(STEPS):
        p = expit(z + shift)
        wrong = (w @ p) / w.sum() - mean
        slope = (w @ (p * (1 - p))) / w.sum()
        step = float(np.clip(wrong / max(slope, 1e-12), -2, 2))  # far out the slope says little
        shift -= step
        if abs(step) < 1e-9:
            break
    return shift
