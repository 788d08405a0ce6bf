"""Named tuples of arrays that compiled kernels of several channels take as arguments."""

from __future__ import annotations

from typing import NamedTuple

from tamis.data import Ragged
from tamis.runtime import Float32, Int32, Int64


class Excluded(NamedTuple):
    """`Queries.exclude`: list q is `item[indptr[q]:indptr[q + 1]]`."""

    indptr: Int64
    """(Q + 1,)"""
    item: Int32
    """(n,) item rows, ascending within each query."""


class ValuedLists(NamedTuple):
    """Lists of items with a value each: list x is `[indptr[x], indptr[x + 1])` of both columns."""

    indptr: Int64
    """(X + 1,)"""
    item: Int32
    """(n,) rows."""
    value: Float32
    """(n,)"""


def excluded(exclude: Ragged) -> Excluded:
    """The excluded items of queries as an argument of compiled code."""
    return Excluded(indptr=exclude.indptr, item=exclude.values)
