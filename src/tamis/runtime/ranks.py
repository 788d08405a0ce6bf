"""Ranks of numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.runtime.arrays import Float64


def mean_ranks(values: NDArray[Any]) -> Float64:
    """(n,) ranks from 1 on, ascending; equal values share the mean of their ranks.

    As `scipy.stats.rankdata`, whose package takes a sixth of the time of a service's start.
    """
    order = np.argsort(values, kind="stable")
    ascending = values[order]
    first = np.flatnonzero(np.concatenate([[True], ascending[1:] != ascending[:-1]])[: len(values)])
    end = np.append(first[1:], len(values))
    ranks = np.empty(len(values))
    ranks[order] = np.repeat((first + 1 + end) / 2, end - first)
    return ranks
