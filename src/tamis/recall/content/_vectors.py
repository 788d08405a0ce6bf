"""Items as vectors of their content: attributes, words and dense columns."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from tamis.data import is_number
from tamis.recall._common.mean_vector import to_unit
from tamis.runtime import Float32, Float64, Int64
from tamis.schema import ConfigError, read_json, reading, suggest

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


ABOUT, TABLE = "content.json", "content_words.arrow"
Kind = Literal["vector", "list", "split", "one", "words", "number"]


@dataclass(frozen=True)
class ContentColumn:
    """How a column of the items is read."""

    name: str
    kind: Kind
    """vector, list (of values), split (a text of several values), one (a text that is a value),
    words (of a text), number (a bucket of it)."""
    separator: str = ""
    """With split."""
    length: int = 0
    """With vector: its numbers; others count as missing."""
    bounds: tuple[float, ...] = ()
    """With number: the smallest number of each bucket above the first."""

    def values(self, column: pl.Series) -> pl.Series:
        """(I,) lists of the values of a column, as text."""
        if self.kind == "list":
            return column.cast(pl.List(pl.String))
        if self.kind == "number":
            numbers = column.cast(pl.Float64).fill_nan(None)
            known = numbers.is_not_null()
            filled = numbers.fill_null(0.0).to_numpy()
            bucket = pl.Series(np.searchsorted(self.bounds, filled, side="right")).cast(pl.String)
            return pl.select(pl.when(known).then(pl.concat_list(bucket))).to_series()
        texts = column.cast(pl.String)
        if self.kind == "split":
            return texts.str.split(self.separator).list.eval(pl.element().str.strip_chars())
        if self.kind == "words":
            return texts.str.to_lowercase().str.extract_all(WORD.pattern)
        return texts.to_frame().select(pl.concat_list(pl.all())).to_series()


@dataclass(frozen=True, eq=False)
class ContentEncoder:
    """Makes unit vectors (d,) of the items' content, by what the items of a fit hold.

    Every column contributes a vector of length 1, so all have the same weight: a column of vectors
    as it is; any other the idf log(1 + N / n_v) of its values (a category, list entries, words, a
    bucket of numbers). If the columns have more than `width` distinct values in total, each value
    is hashed to a coordinate and a sign, which leaves inner products unbiased.
    """

    columns: tuple[ContentColumn, ...]
    items: int
    """N, the number of items of the fit."""
    width: int
    """Most coordinates of the values; columns of vectors come on top."""
    words: pl.DataFrame
    """The values of the fit, as `column=value`: word, idf, place and sign of its coordinate."""

    @classmethod
    def fit(
        cls, frame: pl.DataFrame, columns: Mapping[str, str | None], width: int
    ) -> tuple[ContentEncoder, Float32]:
        """The encoder, and the vectors (I, d) of the items of the fit.

        Args:
            columns: names, and the separator of a text column's values if it is known.
            width: most coordinates of the values.

        Raises ConfigError if the frame lacks a column, or if its type is not supported.
        """
        read = tuple(_column(frame, columns, name) for name in columns)
        pairs = _pairs(frame, read)
        counts = pairs.group_by("word").len("df").sort("word")
        idf = (1 + frame.height / pl.col("df")).log()
        words = counts.select("word", idf=idf)
        few = len(words) <= width
        place, sign = _hashed(words["word"], width)
        if few:
            place, sign = np.arange(len(words)), np.ones(len(words))
        words = words.with_columns(place=pl.Series(place), sign=pl.Series(sign))
        encoder = cls(read, frame.height, width, words)
        return encoder, encoder._of(frame, pairs)

    def encode(self, frame: pl.DataFrame) -> Float32:
        """(I, d) float32 unit vectors; zero for items without a value that the encoder knows.

        A value that the items of the fit do not hold counts where values are hashed.
        """
        return self._of(frame, _pairs(frame, self.columns))

    def _of(self, frame: pl.DataFrame, pairs: pl.DataFrame) -> Float32:
        blocks = [_dense(frame[c.name], c.length) for c in self.columns if c.kind == "vector"]
        if any(c.kind != "vector" for c in self.columns):
            blocks.append(self._sparse(pairs, frame.height))
        if not blocks:
            return np.zeros((frame.height, 1), np.float32)
        return to_unit(np.concatenate(blocks, axis=1))

    def _sparse(self, pairs: pl.DataFrame, items: int) -> Float32:
        """(I, ≤ width) the columns' unit idf vectors of (row, column, word) pairs."""
        known = len(self.words)
        table = pairs.join(self.words, on="word", how="left")
        if known > self.width:
            table = self._with_new_words(table)
        table = table.drop_nulls("idf")
        length = (pl.col("idf") ** 2).sum().over("row", "column").sqrt()
        table = table.with_columns(weight=pl.col("idf") / length * pl.col("sign"))
        table = table.sort("row", "column", "word")  # a fixed order of summation
        out = np.zeros((items, max(1, min(self.width, known))), np.float32)
        weight = table["weight"].to_numpy().astype(np.float32)
        np.add.at(out, (table["row"].to_numpy(), table["place"].to_numpy()), weight)
        return out

    def _with_new_words(self, table: pl.DataFrame) -> pl.DataFrame:
        """The table with the coordinates of values that no item of the fit holds."""
        place, sign = _hashed(table["word"], self.width)
        new = pl.col("idf").is_null()
        return table.with_columns(
            idf=pl.col("idf").fill_null(float(np.log(1.0 + self.items))),
            place=pl.when(new).then(pl.Series(place)).otherwise("place"),
            sign=pl.when(new).then(pl.Series(sign)).otherwise("sign"),
        )

    def save(self, directory: Path) -> None:
        """Writes `content.json` and `content_words.arrow`."""
        saved = {
            "columns": [asdict(column) for column in self.columns],
            "items": self.items,
            "width": self.width,
        }
        (directory / ABOUT).write_text(json.dumps(saved, indent=1), "utf-8")
        self.words.write_ipc(directory / TABLE)

    @classmethod
    def load(cls, directory: Path) -> ContentEncoder | None:
        """Opens what `save` wrote; None in versions of earlier releases."""
        if not (directory / ABOUT).is_file():
            return None
        saved = read_json(directory / ABOUT, columns=list, items=int, width=int)
        with reading(directory / ABOUT):
            columns = [
                ContentColumn(**{**c, "bounds": tuple(c["bounds"])}) for c in saved["columns"]
            ]
        with reading(directory / TABLE):
            words = pl.read_ipc(directory / TABLE).select("word", "idf", "place", "sign")
        return cls(tuple(columns), saved["items"], saved["width"], words)


def _column(frame: pl.DataFrame, columns: Mapping[str, str | None], name: str) -> ContentColumn:
    """How a column is read, by its type and the values of the items of a fit."""
    if name not in frame.columns:
        raise ConfigError(
            f"columns = {list(columns)}: the items have no column {name!r}."
            f"{suggest(name, frame.columns)}"
        )
    column, separator = frame[name], columns[name]
    kind = column.dtype
    if isinstance(kind, pl.Array) or (isinstance(kind, pl.List) and kind.inner.is_float()):
        lengths = column.cast(pl.List(pl.Float32)).list.len().fill_null(0)
        return ContentColumn(name, "vector", length=int(np.max(lengths.to_numpy(), initial=0)))
    if isinstance(kind, pl.List):
        return ContentColumn(name, "list")
    if kind == pl.String and separator is not None:
        return ContentColumn(name, "split", separator)
    if is_number(kind):
        return ContentColumn(name, "number", bounds=_bounds(column))
    if kind in (pl.String, pl.Boolean, pl.Categorical):
        return _text_column(name, column.cast(pl.String))
    raise ConfigError(
        f"column {name!r} holds {kind}, which is not supported as content; "
        f"name columns of text, lists, numbers or vectors"
    )


def _bounds(column: pl.Series) -> tuple[float, ...]:
    """The smallest number of each of `BUCKETS` buckets of equal size but the first."""
    numbers = column.cast(pl.Float64).fill_nan(None).drop_nulls()
    places = (numbers.rank("min") / max(len(numbers), 1) * BUCKETS).ceil()
    frame = pl.DataFrame({"place": places, "number": numbers})
    first = frame.group_by("place").agg(pl.col("number").min()).sort("place")
    return tuple(first["number"].to_list()[1:])


def _text_column(name: str, column: pl.Series) -> ContentColumn:
    """A text's values are its parts if they are categories, else itself if it is one, else its
    words in lower case."""
    some = column.drop_nulls()
    for separator in SEPARATORS:
        parts = some.str.split(separator)
        few = parts.explode().n_unique() <= min(FEW, some.n_unique())
        if len(some) and np.max(parts.list.len().to_numpy(), initial=0) > 1 and few:
            return ContentColumn(name, "split", separator)
    if some.n_unique() <= max(50, min(FEW, len(some) // 2)):
        return ContentColumn(name, "one")
    return ContentColumn(name, "words")


def _pairs(frame: pl.DataFrame, columns: Sequence[ContentColumn]) -> pl.DataFrame:
    """Distinct (row, number of the column, word) of all columns but those of vectors; a word is
    `column=value`."""
    rows = pl.Series("row", np.arange(frame.height, dtype=np.int32))
    tables = [pl.DataFrame(schema={"row": pl.Int32, "column": pl.Int32, "word": pl.String})]
    for number, column in enumerate(columns):
        if column.kind == "vector":
            continue
        lists = column.values(frame[column.name]).alias("value")
        found = pl.DataFrame([rows, lists]).explode("value").drop_nulls()
        found = found.filter(pl.col("value") != "").unique(maintain_order=True)
        word = pl.lit(f"{column.name}=") + pl.col("value")
        tables.append(found.select("row", column=pl.lit(number, pl.Int32), word=word))
    return pl.concat(tables)


def _dense(column: pl.Series, width: int) -> Float32:
    """(I, d) unit vectors of a column of vectors; zero where missing, not finite or of another
    length."""
    lists = column.cast(pl.List(pl.Float32))
    whole = (lists.list.len() == width).fill_null(value=False).to_numpy()
    out = np.zeros((len(column), width), np.float32)
    out[whole] = lists.filter(pl.Series(whole)).explode().to_numpy().reshape(-1, width)
    out[~np.isfinite(out).all(axis=1)] = 0.0
    return to_unit(out)


def _hashed(words: pl.Series, width: int) -> tuple[Int64, Float64]:
    """(n,) the coordinate and the sign of words, hashed."""
    mixed = words.hash(seed=1).to_numpy()
    return (mixed % width).astype(np.int64), np.where(mixed >> 40 & 1, 1.0, -1.0)


def content_vectors(frame: pl.DataFrame, columns: Mapping[str, str | None], width: int) -> Float32:
    """(I, d) the vectors of the items of a fit, see `ContentEncoder`."""
    return ContentEncoder.fit(frame, columns, width)[1]
