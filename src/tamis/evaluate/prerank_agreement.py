"""Agreement of pre-rank with the ranker: share of the ranker's top items that pre-rank keeps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.cascade import Cascade, Queries
from tamis.data import Ragged
from tamis.evaluate.prerank_survival import survival


def agreement(cascade: Cascade, batches: Iterable[Queries]) -> dict[str, Any]:
    """How many of the ranker's top items pre-rank keeps, over batches of queries.

    Returns `survive@20` and `survive@50` (see `survival`), mean `candidates` before the cut, `keep`
    after it, the share of requests in which candidates were `cut`, and the number of `requests`;
    {} without queries.
    """
    values: list[NDArray[np.float32]] = []
    kept: list[NDArray[np.bool_]] = []
    sizes: list[NDArray[np.int64]] = []
    for queries in batches:
        outcome = cascade.run(queries, 1)
        given, through = outcome.kept, outcome.preranked
        passed = Ragged.from_pairs(through.query, through.item, len(queries))
        values.append(cascade.rank_values(outcome.queries, given))
        kept.append(passed.contains(given.query, given.item))
        sizes.append(np.diff(given.indptr))
    if not sizes:
        return {}
    each, keep = np.concatenate(sizes), cascade.config.prerank_keep
    indptr = np.concatenate([[0], np.cumsum(each)])
    return {
        **survival(np.concatenate(values), np.concatenate(kept), indptr),
        "candidates": float(each.mean()),
        "keep": keep,
        "cut": float((each > keep).mean()),
        "requests": len(each),
    }
