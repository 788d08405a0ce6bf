"""Turns events, users, items and context into model inputs: one code path, offline and online."""

from tamis.features.layout import DenseColumn, IdColumn, Layout, TableRange
from tamis.features.rows import Batch, Block, Rows

__all__ = ["Batch", "Block", "DenseColumn", "IdColumn", "Layout", "Rows", "TableRange"]
