"""Names and external ids for row numbers."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from tamis.runtime import Ints


def named(names: Sequence[str | None], numbers: Ints) -> pl.Series:
    """The name of each number: ``names[number]``."""
    return pl.Series(names, dtype=pl.String).gather(pl.Series(numbers))


def padded_ids(name: str, letter: str, count: int) -> pl.Series:
    """``count`` external ids in row order: a letter and at least six digits, ASCII."""
    digits = max(6, len(str(count - 1)))
    numbers = pl.DataFrame({name: np.arange(count)})
    return numbers.select(
        pl.concat_str(pl.lit(letter), pl.col(name).cast(pl.String).str.zfill(digits)).alias(name)
    ).to_series()
