"""Sample weights of the events: which columns hold them, and their reading."""

from __future__ import annotations

import numpy as np
import polars as pl

from tamis.data.numbers import read_numbers
from tamis.data.rejects import Sieve
from tamis.data.text_form import TextForm
from tamis.runtime import Float32
from tamis.schema import DataError, ProjectConfig


def weight_columns(config: ProjectConfig) -> dict[str, str]:
    """{column of the events that holds sample weights: the key of `tamis.toml` that names it}."""
    columns = {
        task.sample_weight: f"tasks.{name}.sample_weight"
        for name, task in config.tasks.items()
        if task.sample_weight
    }
    if config.events.sample_weight:
        columns[config.events.sample_weight] = "events.sample_weight"
    return columns


def read_weights(column: pl.Series, key: str, sieve: Sieve, form: TextForm) -> Float32:
    """(n,) weights, 1 where the cell is empty or the row is rejected.

    Args:
        column: (n,) cells.
        key: the key that names the column, for messages.
        sieve: the rows that are still accepted.
        form: how the file writes numbers.

    Raises DataError, which names row and value, if a value of an accepted row is not a finite
    number from 0 on.
    """
    read = read_numbers(column, form)
    missing = read.values.is_null().to_numpy() & ~read.bad
    with np.errstate(invalid="ignore", over="ignore"):
        weights = read.values.fill_null(np.nan).to_numpy().astype(np.float32)
        fits = np.isfinite(weights) & (weights >= 0)
    wrong = sieve.alive & ~missing & ~fits
    if wrong.any():
        row, many = int(np.argmax(wrong)), int(wrong.sum())
        others = f" (and {many - 1:,} more rows)" if many > 1 else ""
        raise DataError(
            f"{sieve.file}, row {sieve.row_number(row)}: {column[row]!r} in `{column.name}` cannot "
            f"be a sample weight (`{key}`){others}; give finite numbers from 0 on, or leave the "
            "cell empty, which means 1"
        )
    return np.where(fits, weights, np.float32(1))
