"""Labels of rows (categories, cities, audiences) as integer codes in ragged lists."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.data.ids import id_text
from tamis.data.numbers import is_number, number_array
from tamis.data.ragged import Ragged
from tamis.data.table import Table
from tamis.data.tables import item_categories
from tamis.runtime import Int32, Int64


@dataclass(frozen=True, eq=False)
class Labels:
    """The labels (categories, cities …) of N rows; row n's are `code[indptr[n]:indptr[n + 1]]`."""

    names: NDArray[np.str_]
    """(L,) ascending and in lower case, so that Paris and paris are one label."""
    indptr: Int64
    """(N + 1,) bounds of the rows' labels."""
    code: Int32
    """(n,) positions in `names`."""

    @classmethod
    def of(cls, lists: pl.Series) -> Labels:
        """From a series (N,) of lists of texts; empty texts are dropped, duplicates count once."""
        frame = pl.DataFrame({"row": np.arange(len(lists)), "text": lists}).explode("text")
        frame = frame.with_columns(pl.col("text").cast(pl.String).str.strip_chars())
        frame = frame.with_columns(pl.col("text").str.to_lowercase())
        frame = frame.filter(pl.col("text").is_not_null() & (pl.col("text") != "")).unique(
            ["row", "text"], maintain_order=True
        )
        names = frame["text"].unique().sort()
        codes = pl.DataFrame({"text": names, "code": np.arange(len(names), dtype=np.int32)})
        frame = frame.join(codes, on="text", how="left", maintain_order="left")
        counts = np.bincount(frame["row"].to_numpy(), minlength=len(lists))
        return cls(
            np.array(names.to_list(), dtype=np.str_),
            np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            frame["code"].to_numpy().astype(np.int32),
        )

    @classmethod
    def of_items(cls, items: Table, column: str, separator: str | None) -> Labels:
        """From a column of the items: one value per row, a list, or a text split by `separator`.

        Raises:
            ConfigError: the items have no such column.
        """
        return cls.of(item_categories(items, column, separator))

    def arrays(self, label: str = "label") -> dict[str, NDArray[Any]]:
        """The columns by the names under which stages save them; `label`: the name of `code`."""
        return {"names": self.names, "indptr": self.indptr, label: self.code}

    @classmethod
    def within(cls, arrays: Mapping[str, NDArray[Any]], label: str = "label") -> Labels:
        """The labels whose columns `arrays` holds: the inverse of `arrays`."""
        return cls(arrays["names"], arrays["indptr"], arrays[label])

    @property
    def row(self) -> Int64:
        """(n,) the row that each label belongs to."""
        return np.repeat(np.arange(len(self.indptr) - 1), np.diff(self.indptr))

    def among(self, texts: NDArray[np.str_]) -> tuple[Labels, Int32]:
        """The labels with further names, which no row has yet, and the new code of each former one.

        texts: (m,) names in lower case; those that are names already change nothing.
        """
        names, new = with_names(self.names, texts)
        code = self.code if len(names) == len(self.names) else new[self.code]
        return Labels(names, self.indptr, code), new

    def replaced(self, rows: Int32 | Int64, labels: Labels, n: int) -> tuple[Labels, Int32]:
        """The labels of n rows after `rows` (m,), ascending, were added or changed to `labels`.

        Also returns the new code of each former label: codes follow the order of the names.
        """
        mine, new = self.among(labels.names)
        theirs = np.searchsorted(mine.names, labels.names).astype(np.int32)
        lists = Ragged(labels.indptr, theirs[labels.code])
        whole = Ragged(mine.indptr, mine.code).replaced(rows, lists, n)
        return Labels(mine.names, whole.indptr, whole.values), new

    def single(self) -> Int32:
        """(N,) each row's first label, -1 for rows without one."""
        has = np.diff(self.indptr) > 0
        code = np.full(len(has), -1, np.int32)
        code[has] = self.code[self.indptr[:-1][has]]
        return code


def bucketed(column: pl.Series, boundaries: tuple[float, ...]) -> Labels:
    """A column as one label per row; numbers become the number of their bucket.

    boundaries: ascending bucket boundaries; a value equal to one belongs to the bucket above it.
    Empty: numbers are labels themselves.
    """
    if boundaries and is_number(column.dtype):
        values = number_array(column)
        band = pl.Series(np.searchsorted(boundaries, values, side="right")).cast(pl.String)
        column = band.to_frame("b").select(pl.when(pl.Series(~np.isnan(values))).then("b"))["b"]
    text = id_text(column, "the table", ())
    return Labels.of(text.reshape((-1, 1)).cast(pl.List(pl.String)))


def codes_of(names: NDArray[np.str_], texts: list[str]) -> Int32:
    """(n,) positions of `texts` in ascending `names`, -1 if not found; case is ignored."""
    if not len(names) or not texts:
        return np.full(len(texts), -1, np.int32)
    wanted = np.array([text.strip().lower() for text in texts], dtype=np.str_)
    at = np.minimum(np.searchsorted(names, wanted), len(names) - 1)
    return np.where(names[at] == wanted, at, -1).astype(np.int32)


def with_names(names: NDArray[np.str_], texts: NDArray[np.str_]) -> tuple[NDArray[np.str_], Int32]:
    """Ascending `names` with further ones (m,), and the new position of each former name."""
    at = np.minimum(np.searchsorted(names, texts), max(len(names) - 1, 0))
    if len(names) and (names[at] == texts).all():
        return names, np.arange(len(names), dtype=np.int32)
    every = np.union1d(names, texts)
    return every, np.searchsorted(every, names).astype(np.int32)


def codes_in(names: NDArray[np.str_], labels: Labels) -> Int32:
    """(N,) the position in ascending `names` of each row's first label; -1 for none or another."""
    number = codes_of(names, labels.names.tolist())
    return np.append(number, np.int32(-1))[labels.single()]


def spread(
    labels_indptr: Int64, labels: Int32, row: NDArray[Any]
) -> tuple[NDArray[np.intp], Int32]:
    """The labels of the rows `row` (n,), as pairs of a position in `row` and a label.

    Args:
        labels_indptr: (N + 1,) bounds of the labels of each row.
        labels: (m,) the labels of all rows, end to end.

    Returns:
        (p,) positions, ascending, and (p,) labels.
    """
    sizes = np.diff(labels_indptr)[row]
    owner = np.repeat(np.arange(len(row)), sizes)
    begin = np.repeat(labels_indptr[row] - np.concatenate([[0], np.cumsum(sizes)])[:-1], sizes)
    return owner, labels[begin + np.arange(len(owner))]
