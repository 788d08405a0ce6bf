"""Nearest vectors: build, tune, search; and the top-k parts that every channel uses."""

from tamis.index.overlap import jaccard
from tamis.index.search import Lists
from tamis.index.topk import (
    best_first,
    in_blocks,
    offer,
    offer_row,
    read_only,
    scratch,
    select,
    threads,
)
from tamis.index.vector_index import IndexReport, VectorIndex

__all__ = [
    "IndexReport",
    "Lists",
    "VectorIndex",
    "best_first",
    "in_blocks",
    "jaccard",
    "offer",
    "offer_row",
    "read_only",
    "scratch",
    "select",
    "threads",
]
