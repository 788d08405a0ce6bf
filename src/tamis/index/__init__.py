"""Nearest-neighbour search in vectors by inner product, and kernels that select the best k.

Public is what `__all__` lists. `VectorIndex` builds, tunes, searches and changes an index; `offer`,
`offer_row`, `best_first` and `select` are compiled parts of a top-k selection for kernels of
channels; `jaccard` is the overlap of two lists. The modules with a leading underscore hold the two
approximate methods (`_codes`, `_inverted_lists`), the kernels of a search (`_kernels`), one search
over base and changes (`_search`), the changes (`_overlay`) and the tuning of the search effort
(`_tuning`)."""

from tamis.index._search import Lists
from tamis.index.overlap import jaccard
from tamis.index.topk import best_first, offer, offer_row, select
from tamis.index.vector_index import IndexReport, VectorIndex

__all__ = [
    "IndexReport",
    "Lists",
    "VectorIndex",
    "best_first",
    "jaccard",
    "offer",
    "offer_row",
    "select",
]
