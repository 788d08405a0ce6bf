"""Category (author, brand) codes of every item, as one ragged array."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.data import Ragged, Table, item_categories
from tamis.runtime import Bool, Int32
from tamis.schema import ADVICE, StageError, VersionError, read_array

log = logging.getLogger("tamis.rerank")

NO_NAMES = np.zeros(0, np.str_)
"""Names of categories that an earlier release saved without them."""


@dataclass(frozen=True, eq=False)
class ItemCategories:
    """Item i's category codes are `of.values[of.indptr[i] : of.indptr[i + 1]]`.

    Codes are 0 … C − 1, distinct within an item; an item without a value has an empty list.
    """

    of: Ragged
    names: NDArray[np.str_]
    """(C,) the name of each code, in no order."""

    @classmethod
    def read(
        cls,
        items: Table,
        column: str,
        separator: str | None = None,
        sets: Sequence[Sequence[str]] = (),
    ) -> Self:
        """From a column of the items' table: one value, a list, or a text split by `separator`.

        sets: values that have one code together; other values have then none.
        """
        values = item_categories(items, column, separator)
        rows = pl.DataFrame({"row": np.arange(len(items), dtype=np.int64), "value": values})
        rows = rows.explode("value").drop_nulls()
        if sets:
            name_of = {value: str(k) for k, group in enumerate(sets) for value in group}
            names = rows["value"].cast(pl.String)
            rows = rows.with_columns(
                value=names.replace_strict(name_of, default=None, return_dtype=pl.String)
            ).drop_nulls()
        rows = rows.unique(["row", "value"], keep="first", maintain_order=True)
        code = (rows["value"].rank("dense") - 1).cast(pl.Int32).to_numpy()
        counts = np.bincount(rows["row"].to_numpy(), minlength=len(items))
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        names = rows["value"].cast(pl.String).unique().sort().to_list()
        return cls(Ragged(indptr, code.astype(np.int32)), np.array(names, np.str_))

    def primary(self) -> ItemCategories:
        """Only each item's first category."""
        sizes = np.diff(self.of.indptr)
        first = self.of.indptr[:-1][sizes > 0]
        indptr = np.concatenate([[0], np.cumsum(sizes > 0)]).astype(np.int64)
        return ItemCategories(Ragged(indptr, self.of.values[first]), self.names)

    def among(self, counted: Bool) -> ItemCategories:
        """Categories of the items where `counted` (items,) is true; the others have none."""
        sizes = np.diff(self.of.indptr)
        indptr = np.concatenate([[0], np.cumsum(sizes * counted)]).astype(np.int64)
        kept = Ragged(indptr, self.of.values[np.repeat(counted, sizes)])
        return ItemCategories(kept, self.names)

    def ordered(self) -> ItemCategories:
        """Each item's codes ascending, as set operations want them."""
        row = np.repeat(np.arange(len(self.of)), np.diff(self.of.indptr))
        order = np.lexsort((self.of.values, row))
        return ItemCategories(Ragged(self.of.indptr, self.of.values[order]), self.names)

    def replaced(self, rows: Int32, categories: ItemCategories, n: int) -> ItemCategories:
        """The categories of n items after `rows` (m,), ascending, were added or changed.

        Codes stay; new names get the next ones. The codes of the changed items are ascending.
        """
        order = np.argsort(self.names)
        at = np.searchsorted(self.names, categories.names, sorter=order)
        at = order[np.minimum(at, len(order) - 1)] if len(order) else at
        known = self.names[at] == categories.names if len(order) else np.zeros(len(at), np.bool_)
        code = np.where(known, at, len(self.names) + np.cumsum(~known) - 1).astype(np.int32)
        names = np.concatenate([self.names, categories.names[~known]])
        lists = Ragged(categories.of.indptr, code[categories.of.values])
        lists = ItemCategories(lists, names).ordered().of
        return ItemCategories(self.of.replaced(rows, lists, n), names)

    def check(self, last: int, stage: str) -> None:
        """Raises StageError where a candidate is not among the fitted items.

        last: the candidates' largest item row; -1 without candidates.
        """
        if last >= len(self.of):
            raise StageError(
                f"{stage} was fitted on {len(self.of)} items and was given item row {last}; "
                f"fit it on the items' table that recall uses"
            )

    def save(self, directory: Path) -> None:
        """Writes the two arrays into `directory` (created if absent)."""
        directory.mkdir(parents=True, exist_ok=True)
        np.save(directory / "category_indptr.npy", self.of.indptr)
        np.save(directory / "category_values.npy", self.of.values)
        np.save(directory / "category_names.npy", self.names)

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
        file = directory / "category_names.npy"
        names = NO_NAMES
        if file.is_file():  # earlier releases wrote none
            names = read_array(file, None, (None,))
            known = len(names) > int(values.max(initial=-1)) and len(np.unique(names)) == len(names)
            if names.dtype.kind != "U" or not known:
                raise VersionError(f"{file} is damaged: it does not name the categories. {ADVICE}")
        return cls(Ragged(indptr, values), names)


def can_follow(categories: ItemCategories, stage: str) -> bool:
    """Whether new items can be taken up; logs where a version of an earlier release has no names
    of the categories."""
    if len(categories.names) or not len(categories.of.values):
        return True
    log.warning(
        "re-rank `%s` cannot take up new items: its version was written by an earlier release. "
        "Train again",
        stage,
    )
    return False
