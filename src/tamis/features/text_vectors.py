"""Texts of the items as a column of vectors, which features and channels read as any other."""

from __future__ import annotations

import numpy as np
import polars as pl

from tamis.data import Table
from tamis.runtime import Float32
from tamis.schema import ConfigError, DataError, TextConfig, suggest
from tamis.text import TextEncoder


def item_texts(items: Table, config: TextConfig) -> pl.Series:
    """(I,) the texts of the declared columns, joined by line breaks; null where all are missing.

    Raises ConfigError if a column does not exist, DataError if it holds vectors or objects.
    """
    columns = [_texts(items, name) for name in dict.fromkeys(config.columns)]
    joined = pl.select(pl.concat_str(columns, separator="\n", ignore_nulls=True)).to_series()
    blank = joined.str.strip_chars() == ""
    return joined.to_frame("text").select(pl.when(~blank).then("text")).to_series().alias("text")


def with_text_vectors(items: Table, config: TextConfig, vectors: Float32) -> Table:
    """The items with vectors (I, d) as the column `config.name`; null where a vector is zero.

    Raises DataError if the table has a column of this name already.
    """
    if config.name in items.frame.columns:
        raise DataError(
            f'[items.text] name = "{config.name}": the items already have a column of this name; '
            'give the vectors another one, such as name = "words"'
        )
    column = pl.Series(config.name, np.ascontiguousarray(vectors, np.float32))
    known = pl.Series("known", np.asarray(vectors.any(axis=1)))
    kept = pl.select(pl.when(known).then(column).alias(config.name)).to_series()
    return Table(items.name, items.ids, items.frame.with_columns(kept))


def encoded(items: Table, config: TextConfig, encoder: TextEncoder) -> Table:
    """The items with the vectors of their texts. Raises as the two functions above."""
    return with_text_vectors(items, config, encoder.encode(item_texts(items, config)))


def placeholder_vectors(items: Table, config: TextConfig, width: int) -> Table:
    """The items with vectors that only show which items have a text, and how many differ.

    For reports on the data, which need no encoder: the first coordinate numbers the texts.
    """
    texts = item_texts(items, config)
    number = texts.rank("dense").fill_null(0).to_numpy().astype(np.float32)
    vectors = np.zeros((len(items), width), np.float32)
    vectors[:, 0] = number
    return with_text_vectors(items, config, vectors)


def stored_vectors(items: Table, name: str) -> Float32:
    """(I, d) float32 vectors of a column that `with_text_vectors` made; zero where null."""
    column = items.frame[name].cast(pl.List(pl.Float32))
    known = column.is_not_null().to_numpy()
    rows = column.filter(pl.Series(known)).explode().to_numpy()
    width = len(rows) // max(int(known.sum()), 1)
    out = np.zeros((len(column), width), np.float32)
    out[known] = rows.reshape(-1, width)
    return out


def _texts(items: Table, name: str) -> pl.Series:
    if name not in items.frame.columns:
        raise ConfigError(
            f"[items.text] columns: the items have no column {name!r}."
            f"{suggest(name, items.frame.columns)} Columns: {', '.join(items.frame.columns)}"
        )
    column = items.frame[name]
    kind = column.dtype
    if isinstance(kind, pl.List | pl.Array) and not kind.inner.is_nested():
        if not kind.inner.is_float():
            return column.cast(pl.List(pl.String)).list.join(" ", ignore_nulls=True)
    elif not kind.is_nested() and not isinstance(kind, pl.Object | pl.Binary):
        return column.cast(pl.String)
    raise DataError(
        f"[items.text] columns: {name!r} holds {kind}, not texts; name columns of text, such as "
        "the title"
    )
