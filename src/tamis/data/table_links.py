"""How the columns of tables join and depend on one another."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import polars as pl

from tamis.data import column_names as words
from tamis.data.column_profile import ColumnProfile, columns_of_table
from tamis.data.table_folder import Frames, table_stem
from tamis.data.tables import id_text

KEY = 0.9
"""Least share of distinct values of a column that can be the id of a table."""
_ROWS = 200_000
"""Rows on which dependencies between columns are measured."""
_DEPENDS = 0.97
"""Least share of a key's values with a single value of the other column."""


@dataclass(frozen=True)
class Link:
    """A column of the log whose values are found in a unique column of another table."""

    column: str
    file: str
    key: str
    held: float
    """Share of the log's distinct values that the table holds, in [0, 1]."""
    used: float
    """Share of the table's rows that the log uses, in [0, 1]."""
    text: bool
    """Whether the values are texts; whole numbers of two tables agree easily by chance."""

    @property
    def named(self) -> bool:
        """Whether both columns have the same name."""
        same = words.plain(self.column) == words.plain(self.key)
        return same and not words.tells_nothing(self.column)

    @property
    def strength(self) -> float:
        """How surely the two columns mean the same, in [0, 1]."""
        if self.named:
            return 0.5 + 0.5 * self.held
        if self.text:
            return self.held
        return self.held if self.held > 0.95 and self.used > 0.2 else 0.3 * self.held


@dataclass(eq=False)
class TableSet:
    """The tables of a folder with the properties of their columns and their joins."""

    frames: Frames
    _columns: dict[str, dict[str, ColumnProfile]] = field(
        default_factory=dict[str, dict[str, ColumnProfile]]
    )
    _ids: dict[tuple[str, str], pl.Series] = field(default_factory=dict[tuple[str, str], pl.Series])

    def columns(self, file: str) -> dict[str, ColumnProfile]:
        """The columns of a table by name."""
        if file not in self._columns:
            self._columns[file] = columns_of_table(self.frames[file])
        return self._columns[file]

    def ids(self, file: str, column: str) -> pl.Series:
        """The distinct values of a column, as ids are read."""
        if (file, column) not in self._ids:
            values = self.frames[file][column]
            self._ids[file, column] = id_text(values, file).drop_nulls().unique()
        return self._ids[file, column]

    def keys(self, file: str) -> list[str]:
        """The columns of a table that may be the id of its rows: nearly unique, few missing."""
        return [
            name
            for name, c in self.columns(file).items()
            if c.distinct and c.unique > KEY and c.missing < 0.1 and _may_be_id(c)
        ]

    def links(self, file: str, column: str) -> list[Link]:
        """The tables that hold values of a column, the surest first."""
        own = self.columns(file)[column]
        if not own.distinct or not _may_be_id(own):
            return []
        used = self.ids(file, column)
        found: list[Link] = []
        for other in self.frames:
            for key in self.keys(other) if other != file else ():
                known = self.ids(other, key)
                shared = int(used.is_in(known.implode()).sum())
                if shared:
                    text = own.is_text and bool(used.head(100).str.contains(r"\D").any())
                    found.append(
                        Link(column, other, key, shared / len(used), shared / len(known), text)
                    )
        return sorted(found, key=lambda link: -link.strength)

    def kind(self, file: str, key: str) -> float:
        """Whether a table looks like one of items (positive) or of users (negative), in [-1, 1]."""
        stem = table_stem(file).split("_")
        points = 0.0
        if _names(stem, words.ITEM_TABLES):
            points += 0.6
        if _names(stem, words.USER_TABLES):
            points -= 0.6
        points += 0.5 * (words.item_strength(key) - words.user_strength(key)) / 2
        heads = [c.head for name, c in self.columns(file).items() if name != key]
        item = sum(words.is_one_of(head, words.ITEM_ATTRIBUTES) for head in heads)
        user = sum(words.is_one_of(head, words.USER_ATTRIBUTES) for head in heads)
        if item + user:
            points += 0.5 * (item - user) / (item + user)
        return float(np.clip(points, -1.0, 1.0))


def _may_be_id(column: ColumnProfile) -> bool:
    """Whether the type and the length of the values allow an id."""
    dtype = column.values.dtype
    if dtype.is_nested() or dtype.is_temporal() or dtype == pl.Boolean or dtype == pl.Binary:
        return False
    if column.is_number:
        return column.is_whole
    return column.length <= 100 and column.words_per_value <= 12


def _names(stem: list[str], tables: list[str]) -> bool:
    """Whether the last word of a file's name, or its only known one, is a usual name of tables."""
    return any(word in tables or f"{word}s" in tables for word in (stem[-1], *stem[:1]))


def dependent_columns(frame: pl.DataFrame, key: str) -> set[str]:
    """The columns that have one value per value of `key`: attributes of what the key identifies.

    A column counts if it has a single value for nearly all values of the key that occur twice or
    more, and would not if its values were in random order.
    """
    others = [c for c in frame.columns if c != key and not frame[c].dtype.is_nested()]
    some = frame.select(key, *others).filter(pl.col(key).is_not_null())
    if some.height > _ROWS:
        step = some.height // _ROWS + 1
        some = some.filter(pl.col(key).hash(0) % step == 0)
    if not others or not some.height:
        return set()
    shuffled = some.with_columns(pl.col(others).shuffle(0))
    held, chance = (_single(part, key, others) for part in (some, shuffled))
    return {c for c in others if held[c] >= _DEPENDS and chance[c] < 0.8}


def _single(frame: pl.DataFrame, key: str, others: list[str]) -> dict[str, float]:
    """The share of the key's repeated values that have a single given value of each column."""
    counted = frame.group_by(key).agg(
        pl.len().alias("__rows__"), *(pl.col(c).drop_nulls().n_unique().alias(c) for c in others)
    )
    repeated = counted.filter(pl.col("__rows__") > 1)
    if repeated.height < 5:
        return dict.fromkeys(others, 0.0)
    shares = repeated.select((pl.col(c) <= 1).mean().alias(c) for c in others)
    return {c: float(shares[c][0]) for c in others}
