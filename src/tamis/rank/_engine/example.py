"""Random rows of one user, to trace a network with and to warm up the engine."""

from __future__ import annotations

import numpy as np

from tamis.features import Block, Layout, Rows
from tamis.rank._engine.request_fields import USER_SIDES


def example(layout: Layout, n: int, longest: int) -> Rows:
    """n random rows of one user, as one block.

    Args:
        layout: their layout.
        n: number of candidates.
        longest: maximum number of ids of a feature of several ids; the rest is padding.
    """
    random = np.random.default_rng(n)
    ids = np.zeros((n, layout.id_width), np.int32)
    for column in layout.ids:
        table = layout.table[column.table]
        drawn = random.integers(1, table.size, (n, column.width))  # 0 is padding
        if column.side in USER_SIDES:
            drawn[:] = drawn[0]
        drawn[:, longest:] = 0
        ids[:, column.first : column.first + column.width] = table.start + drawn
    dense = random.normal(size=(n, layout.dense_width)).astype(np.float32)
    for numbers in layout.dense:
        if numbers.side in USER_SIDES:
            part = dense[:, numbers.first : numbers.first + numbers.width]
            part[:] = part[0]
    return Rows(layout, [Block(ids, dense)], n)
