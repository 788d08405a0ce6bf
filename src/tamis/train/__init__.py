"""The one training loop, and the optimisers that touch only a batch's rows."""

from tamis.train.row_optimisers import LazyAdam, RowAdagrad, RowOptimiser, tables_of

__all__ = ["LazyAdam", "RowAdagrad", "RowOptimiser", "tables_of"]
