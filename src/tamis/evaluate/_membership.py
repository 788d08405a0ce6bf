"""Membership between lists of the same query, for all queries at once."""

from __future__ import annotations

import numpy as np

from tamis.data import Ragged
from tamis.runtime import Bool, Int64
from tamis.schema import StageError


def member(of: Ragged, within: Ragged) -> Bool:
    """(values of `of`,) which of them stand in the same query's list of `within`."""
    if len(of) != len(within):
        raise StageError(f"lists of {len(of)} queries are compared with lists of {len(within)}")
    items = 1 + max((int(x.values.max()) for x in (of, within) if len(x.values)), default=0)
    return np.isin(_keys(of, items), _keys(within, items))


def _keys(lists: Ragged, items: int) -> Int64:
    query = np.repeat(np.arange(len(lists), dtype=np.int64), np.diff(lists.indptr))
    return query * items + lists.values
