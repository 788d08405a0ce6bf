"""Stores of online state, which changes between versions: recalled lists, queues, exposure."""

from tamis.stores.address import open_leftovers, open_recall
from tamis.stores.exposure import BloomMonths, BloomShape, month_of
from tamis.stores.protocols import (
    EntityKind,
    Leftovers,
    RecallDraft,
    RecallLists,
    RecallStore,
    RowIds,
    Vectors,
)

__all__ = [
    "BloomMonths",
    "BloomShape",
    "EntityKind",
    "Leftovers",
    "RecallDraft",
    "RecallLists",
    "RecallStore",
    "RowIds",
    "Vectors",
    "month_of",
    "open_leftovers",
    "open_recall",
]
