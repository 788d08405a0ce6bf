"""Items as vectors of their content: attributes, words and dense columns."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from tamis.data import is_number
from tamis.recall._common.mean_vector import to_unit
from tamis.runtime import Float32
from tamis.schema import ConfigError, suggest

FEW = 1000
"""Most distinct texts, or parts of texts, of a column that is used as categories."""
BUCKETS = 10
"""Number of quantile buckets of a column of numbers."""
SEPARATORS = ("|", ";", ",", " ")
WORD = re.compile(r"\w+")


def usable_columns(frame: pl.DataFrame, refused: Sequence[str | None]) -> list[str]:
    """Columns of text, lists, vectors and booleans with more than one distinct value, without
    `refused`. Numbers and times are used only if they are named."""
    return [
        name
        for name, kind in frame.schema.items()
        if name not in refused
        and (
            kind in (pl.String, pl.Boolean, pl.Categorical) or isinstance(kind, pl.List | pl.Array)
        )
        and frame[name].n_unique() > 1
    ]


def content_vectors(frame: pl.DataFrame, columns: Mapping[str, str | None], width: int) -> Float32:
    """(I, d) float32 unit vectors; zero for items without a value in any column.

    Every column contributes a vector of length 1, so all have the same weight: a column of vectors
    as it is; any other the idf log(1 + N / n_v) of its values (a category, list entries, words, a
    bucket of numbers). If the columns have more than `width` distinct values in total, each value
    is hashed to a coordinate and a sign, which leaves inner products unbiased.

    Args:
        columns: names, and the separator of a text column's values if it is known.
        width: most coordinates of the hashed values; columns of vectors come on top.

    Raises ConfigError if the frame lacks a column, or if its type is not supported.
    """
    blocks: list[Float32] = []
    sparse: list[tuple[str, pl.DataFrame]] = []
    for name, separator in columns.items():
        if name not in frame.columns:
            raise ConfigError(
                f"columns = {list(columns)}: the items have no column {name!r}."
                f"{suggest(name, frame.columns)}"
            )
        kind = frame.schema[name]
        if isinstance(kind, pl.Array) or (isinstance(kind, pl.List) and kind.inner.is_float()):
            blocks.append(_dense(frame[name]))
        else:
            sparse.append((name, _values(frame[name], separator)))
    if sparse:
        blocks.append(_hashed(sparse, len(frame), width))
    if not blocks:
        return np.zeros((len(frame), 1), np.float32)
    return to_unit(np.concatenate(blocks, axis=1))


def _dense(column: pl.Series) -> Float32:
    """(I, d) unit vectors of a column of vectors; zero where missing or not finite."""
    lists = column.cast(pl.List(pl.Float32))
    width = int(np.max(lists.list.len().fill_null(0).to_numpy(), initial=0))
    whole = (lists.list.len() == width).fill_null(value=False).to_numpy()
    out = np.zeros((len(column), width), np.float32)
    out[whole] = lists.filter(pl.Series(whole)).explode().to_numpy().reshape(-1, width)
    out[~np.isfinite(out).all(axis=1)] = 0.0
    return to_unit(out)


def _values(column: pl.Series, separator: str | None) -> pl.DataFrame:
    """Distinct (row, value) pairs of a column."""
    kind, rows = column.dtype, pl.Series("row", np.arange(len(column), dtype=np.int32))
    if isinstance(kind, pl.List):
        lists = column.cast(pl.List(pl.String))
    elif kind == pl.String and separator is not None:
        lists = column.str.split(separator).list.eval(pl.element().str.strip_chars())
    elif is_number(kind):
        numbers = column.cast(pl.Float64).fill_nan(None)
        places = numbers.rank("min") / max(numbers.count(), 1) * BUCKETS
        lists = places.ceil().cast(pl.Int32).cast(pl.String).to_frame().select(
            pl.concat_list(pl.all())
        ).to_series()  # fmt: skip
    elif kind in (pl.String, pl.Boolean, pl.Categorical):
        lists = _texts(column.cast(pl.String))
    else:
        raise ConfigError(
            f"column {column.name!r} holds {kind}, which is not supported as content; "
            f"name columns of text, lists, numbers or vectors"
        )
    pairs = pl.DataFrame({"row": rows, "value": lists}).explode("value").drop_nulls()
    return pairs.filter(pl.col("value") != "").unique(maintain_order=True)


def _texts(column: pl.Series) -> pl.Series:
    """Lists of a text's values: its parts if they are categories, else itself if it is one, else
    its words in lower case."""
    some = column.drop_nulls()
    for separator in SEPARATORS:
        parts = some.str.split(separator)
        few = parts.explode().n_unique() <= min(FEW, some.n_unique())
        if len(some) and np.max(parts.list.len().to_numpy(), initial=0) > 1 and few:
            return column.str.split(separator).list.eval(pl.element().str.strip_chars())
    if some.n_unique() <= max(50, min(FEW, len(some) // 2)):
        return column.to_frame().select(pl.concat_list(pl.all())).to_series()
    return column.str.to_lowercase().str.extract_all(WORD.pattern)


def _hashed(sparse: list[tuple[str, pl.DataFrame]], items: int, width: int) -> Float32:
    """(I, ≤ width) the columns' unit idf vectors, concatenated if they fit, otherwise hashed.

    sparse: name and (row, value) pairs of each column.
    """
    tables: list[pl.DataFrame] = []
    for name, pairs in sparse:
        weighed = pairs.join(pairs.group_by("value").len("df"), on="value")
        idf = (1 + items / pl.col("df")).log()
        length = (idf**2).sum().over("row").sqrt()
        word = pl.lit(f"{name}=") + pl.col("value")
        tables.append(weighed.select("row", word=word, weight=idf / length))
    table = pl.concat(tables)
    words = table["word"].unique().sort()
    if len(words) <= width:
        place, sign = np.arange(len(words)), np.ones(len(words))
    else:
        mixed = words.hash(seed=1).to_numpy()
        place, sign = (mixed % width).astype(np.int64), np.where(mixed >> 40 & 1, 1.0, -1.0)
    number = pl.DataFrame({"word": words, "place": place, "sign": sign})
    table = table.join(number, on="word").sort("row", "word")  # a fixed order of summation
    out = np.zeros((items, max(1, min(width, len(words)))), np.float32)
    weight = (table["weight"] * table["sign"]).to_numpy().astype(np.float32)
    np.add.at(out, (table["row"].to_numpy(), table["place"].to_numpy()), weight)
    return out
