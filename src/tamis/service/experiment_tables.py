"""Users and items as the tables and the journal make them, for metrics and segments of a report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl

from tamis.data import Dataset, Labels, Table, is_number, read_dataset
from tamis.experiments import ItemValues
from tamis.journal import (
    ItemDelete,
    ItemPatch,
    ItemPut,
    Numbered,
    UserDelete,
    UserPatch,
    UserPut,
)
from tamis.runtime import Int32
from tamis.schema import ConfigError, ProjectConfig, suggest
from tamis.service.journal_data import changed_table

MOST_SEGMENTS = 12
"""Segments that are compared: more tests find less."""
QUARTERS = (0.25, 0.5, 0.75)
UNKNOWN = "(unknown)"
OTHERS = "(others)"
_KINDS: dict[str, Callable[[str, str, dict[str, Any]], Any]] = {
    "user_put": lambda user, _, cells: UserPut(user_id=user, columns=cells),
    "user_patch": lambda user, _, cells: UserPatch(user_id=user, columns=cells),
    "user_delete": lambda user, _item, _cells: UserDelete(user_id=user),
    "item_put": lambda _, item, cells: ItemPut(item_id=item, columns=cells),
    "item_patch": lambda _, item, cells: ItemPatch(item_id=item, columns=cells),
    "item_delete": lambda _user, item, _cells: ItemDelete(item_id=item),
}
_USERS = ("user_put", "user_patch", "user_delete")
_ITEMS = ("item_put", "item_patch", "item_delete")


class LiveTables:
    """The tables of a project, changed by the entries of its journal.

    entries: gives all entries of the journal, in blocks.
    """

    def __init__(
        self, config: ProjectConfig, root: Path, entries: Callable[[], Iterator[pl.DataFrame]]
    ) -> None:
        self._config, self._root, self._entries = config, root, entries
        self._of_users: list[Numbered] = []

    @cached_property
    def data(self) -> Dataset:
        """The tables, without the journal. Raises DataError where they cannot be read."""
        return read_dataset(self._config, self._root)[0]

    def items(self) -> Table:
        """The items; reads all entries for their changes."""
        found = [one for block in self._entries() for one in _changes(block, _ITEMS)]
        return changed_table(self.data.items, found, ItemPut, ItemPatch, self._config.items, {})

    def watching_users(self, entries: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        """The same entries; `users` holds their changes once all were read."""
        for block in entries:
            self._of_users += _changes(block, _USERS)
            yield block

    def users(self) -> Table:
        """The users."""
        found = [Numbered(k, entry) for k, (_, entry) in enumerate(self._of_users, start=1)]
        deleted = {e.user_id: n for n, e in found if isinstance(e, UserDelete)}
        declared = self._config.users
        return changed_table(self.data.users, found, UserPut, UserPatch, declared, deleted)


def _changes(block: pl.DataFrame, kinds: Sequence[str]) -> list[Numbered]:
    """The entries of some kinds. Their numbers are not known, and all 1."""
    block = block.filter(pl.col("kind").is_in(kinds))
    rows = block.select("kind", "user_id", "item_id", "columns").iter_rows()
    return [
        Numbered(1, _KINDS[kind](user, item, msgspec.json.decode(cells) if cells else {}))
        for kind, user, item, cells in rows
    ]


def item_values(items: Table, column: str, config: ProjectConfig) -> ItemValues:
    """The values of an item column. Raises ConfigError where the items have none of that name."""
    if column not in items:
        raise ConfigError(
            f"distinct({column}): the items have no column {column!r}; theirs are "
            f"{', '.join(items.columns) or 'none'}.{suggest(column, items.columns)}"
        )
    separator = config.items.category_separator if column == config.items.category else None
    return ItemValues(items, Labels.of_items(items, column, separator))


def user_segments(users: Table, column: str, ids: pl.Series) -> tuple[list[str], Int32]:
    """The segments of users by a column: their names, and the one of each of `ids` (n,).

    Numbers with many values are split at their quartiles; of other values the most frequent ones
    have segments of their own. Raises ConfigError where the users have no such column.
    """
    if column not in users:
        raise ConfigError(
            f"segment = {column!r}: the users have no such column; theirs are "
            f"{', '.join(users.columns) or 'none'}.{suggest(column, users.columns)}"
        )
    rows = users.rows(ids.fill_null(""))
    known = pl.Series(rows).cast(pl.Int64).replace(-1, None)
    values = users.frame[column].gather(known.fill_null(0)) if len(users) else known
    values = pl.select(pl.when(known.is_not_null()).then(values))[values.name]
    if is_number(values.dtype) and values.n_unique() > MOST_SEGMENTS:
        return _quarters(values)
    if isinstance(values.dtype, pl.List | pl.Array):
        raise ConfigError(f"segment = {column!r} holds lists: choose a column of single values")
    texts = values.cast(pl.String).fill_null(UNKNOWN)
    counts = texts.value_counts(sort=True)
    names = counts[texts.name].to_list()
    if len(names) > MOST_SEGMENTS:
        names = [*names[: MOST_SEGMENTS - 1], OTHERS]
    codes = {name: code for code, name in enumerate(names)}
    code = texts.replace_strict(codes, default=len(names) - 1, return_dtype=pl.Int32)
    return names, code.to_numpy().astype(np.int32)


def _quarters(values: pl.Series) -> tuple[list[str], Int32]:
    numbers = values.cast(pl.Float64).to_numpy()
    known = np.isfinite(numbers)
    bounds = np.unique(np.quantile(numbers[known], QUARTERS))
    code = np.where(known, np.searchsorted(bounds, numbers, side="right"), len(bounds) + 1)
    texts = [f"{bound:g}" for bound in bounds]
    between = [f"{low} to {high}" for low, high in pairwise(texts)]
    names = [f"below {texts[0]}", *between, f"{texts[-1]} or more", UNKNOWN]
    return names, code.astype(np.int32)
