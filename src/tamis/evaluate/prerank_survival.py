"""Share of the ranker's best candidates that the stage before it keeps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

TOPS = (20, 50)


def survival(
    value: NDArray[np.floating],
    kept: NDArray[np.bool_],
    indptr: NDArray[np.int64],
    tops: Sequence[int] = TOPS,
) -> dict[str, float]:
    """Per k, the mean share of each request's k best candidates that were kept.

    Args:
        value: (n,) the ranker's value of every candidate; ties are ordered by position.
        kept: (n,) whether the stage before kept the candidate.
        indptr: (Q + 1,) first candidate of each request.
        tops: values of k; a request with fewer candidates than k is evaluated on all of them.

    NaN if no request has a candidate.
    """
    sizes = np.diff(indptr)
    query = np.repeat(np.arange(len(sizes)), sizes)
    order = np.lexsort((np.arange(len(value)), -value, query))
    place = np.arange(len(value)) - indptr[:-1][query]
    survived = kept[order]
    some = sizes > 0
    found: dict[str, float] = {}
    for k in tops:
        inside = survived & (place < k)
        counts = np.bincount(query[inside], minlength=len(sizes))[some]
        shares = counts / np.minimum(sizes[some], k)
        found[f"survive@{k}"] = float(shares.mean()) if len(shares) else float("nan")
    return found
