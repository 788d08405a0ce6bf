"""Category (author, brand) codes of every item, as one ragged array."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl

from tamis.data import Ragged, Table, item_categories
from tamis.runtime import Bool, Int32, Int64
from tamis.schema import ADVICE, StageError, VersionError, read_array


@dataclass(frozen=True, eq=False)
class ItemCategories:
    """Item i's category codes are `of.values[of.indptr[i] : of.indptr[i + 1]]`.

    Codes are 0 … C − 1, distinct within an item; an item without a value has an empty list.
    """

    of: Ragged

    @classmethod
    def read(cls, items: Table, column: str, separator: str | None = None) -> Self:
        """From a column of the items' table: one value, a list, or a text split by `separator`."""
        values = item_categories(items, column, separator)
        rows = pl.DataFrame({"row": np.arange(len(items), dtype=np.int64), "value": values})
        rows = rows.explode("value").drop_nulls()
        rows = rows.unique(["row", "value"], keep="first", maintain_order=True)
        code = (rows["value"].rank("dense") - 1).cast(pl.Int32).to_numpy()
        counts = np.bincount(rows["row"].to_numpy(), minlength=len(items))
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return cls(Ragged(indptr, code.astype(np.int32)))

    def primary(self) -> ItemCategories:
        """Only each item's first category."""
        sizes = np.diff(self.of.indptr)
        first = self.of.indptr[:-1][sizes > 0]
        indptr = np.concatenate([[0], np.cumsum(sizes > 0)]).astype(np.int64)
        return ItemCategories(Ragged(indptr, self.of.values[first]))

    def among(self, counted: Bool) -> ItemCategories:
        """Categories of the items where `counted` (items,) is true; the others have none."""
        sizes = np.diff(self.of.indptr)
        indptr = np.concatenate([[0], np.cumsum(sizes * counted)]).astype(np.int64)
        return ItemCategories(Ragged(indptr, self.of.values[np.repeat(counted, sizes)]))

    def ordered(self) -> ItemCategories:
        """Each item's codes ascending, as set operations want them."""
        row = np.repeat(np.arange(len(self.of)), np.diff(self.of.indptr))
        order = np.lexsort((self.of.values, row))
        return ItemCategories(Ragged(self.of.indptr, self.of.values[order]))

    def groups(self) -> Int64:
        """(items,) a number per distinct set of codes: the same set has the same number."""
        codes = self.ordered().of
        row = np.repeat(np.arange(len(codes)), np.diff(codes.indptr))
        frame = pl.DataFrame({"row": row, "code": codes.values})
        sets = frame.group_by("row", maintain_order=True).agg(pl.col("code").cast(pl.String))
        text = sets["code"].list.join(",")
        groups = np.zeros(len(codes), np.int64)  # 0 = no category
        groups[sets["row"].to_numpy()] = text.rank("dense").cast(pl.Int64).to_numpy()
        return groups

    def check(self, items: Int32, stage: str) -> None:
        """Raises StageError where a candidate is not among the fitted items."""
        if len(items) and items.max() >= len(self.of):
            raise StageError(
                f"{stage} was fitted on {len(self.of)} items and was given item row {items.max()}; "
                f"fit it on the items' table that recall uses"
            )

    def save(self, directory: Path) -> None:
        """Writes the two arrays into `directory` (created if absent)."""
        directory.mkdir(parents=True, exist_ok=True)
        np.save(directory / "category_indptr.npy", self.of.indptr)
        np.save(directory / "category_values.npy", self.of.values)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Opens what `save` wrote, memory-mapped."""
        file = directory / "category_indptr.npy"
        indptr = read_array(file, np.int64, (None,))
        values = read_array(directory / "category_values.npy", np.int32, (None,))
        if not len(indptr) or indptr[0] != 0 or indptr[-1] != len(values):
            raise VersionError(
                f"{file} is damaged: it does not divide {len(values)} categories among items. "
                f"{ADVICE}"
            )
        return cls(Ragged(indptr, values))
