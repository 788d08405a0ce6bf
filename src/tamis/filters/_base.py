"""Base classes of filters, and the reading of their columns and behaviours."""

from __future__ import annotations

import json
import logging
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.cascade import Candidates, FitContext, Queries
from tamis.data import Dataset, Ragged, Table, is_number, number_array
from tamis.runtime import Bool, Int32, grown
from tamis.schema import (
    ADVICE,
    Component,
    ConfigError,
    NotFittedError,
    StageError,
    VersionError,
    described,
    read_described,
    read_json,
    suggest,
)

log = logging.getLogger("tamis.filters")

_LIST = "filter.json"


class BaseFilter(Component, ABC):
    """A filter whose fitted state is a dictionary of arrays, each saved as `NAME.npy`.

    `filter.json` lists the arrays with their types and shapes.
    """

    reason: str

    def __init__(self, config: Any = None, **options: Any) -> None:
        super().__init__(config, **options)
        self.reason = self.config.reason
        self._arrays: dict[str, NDArray[Any]] | None = None
        self._facts: dict[str, Any] = {}
        """Plain values (JSON) that are saved with the arrays."""

    def fit(self, data: Dataset, context: FitContext | None = None) -> Self:
        """Reads what the filter needs from the tables, the events or the declared behaviours."""
        self._arrays = self._read(data, context or FitContext())
        return self

    @abstractmethod
    def _read(self, data: Dataset, context: FitContext) -> dict[str, NDArray[Any]]:
        """The fitted arrays by name."""

    def excluded(self, queries: Queries) -> Ragged | None:
        """None: the removed items may be a large part of the catalogue, so they are not listed."""
        del queries
        return None

    @abstractmethod
    def keep(self, queries: Queries, candidates: Candidates) -> Bool:
        """(n,) True where the candidate stays."""

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """The fitted arrays. Raises NotFittedError before `fit`."""
        if self._arrays is None:
            raise NotFittedError(
                f"filter `{self.name}` is used before fit(data): call fit or load it first"
            )
        return self._arrays

    def save(self, directory: Path) -> None:
        """Writes each array as `NAME.npy`, and `filter.json`, into `directory` (made if absent)."""
        arrays = self.arrays
        directory.mkdir(parents=True, exist_ok=True)
        for name, array in arrays.items():
            np.save(directory / f"{name}.npy", array)
        about = {"arrays": described(arrays), "facts": self._facts}
        (directory / _LIST).write_text(json.dumps(about, indent=1), "utf-8")

    @classmethod
    def load(cls, directory: Path, config: Any) -> Self:
        """Opens what `save` wrote, memory-mapped.

        Raises VersionError if a file is missing or damaged.
        """
        loaded = cls(config)
        directory = Path(directory)
        if (directory / _LIST).is_file():
            about = read_json(directory / _LIST, arrays=dict)
            listed = about["arrays"]
            if "facts" in about:  # earlier releases lack them
                loaded._facts = read_json(directory / _LIST, facts=dict)["facts"]
        else:  # earlier releases wrote no list
            listed = sorted(file.stem for file in directory.glob("*.npy"))
        if not listed:
            raise VersionError(
                f"{directory} holds no state of the filter `{loaded.name}`. {ADVICE}"
            )
        loaded._arrays = read_described(directory, listed)
        return loaded

    def _can_follow(self, *arrays: str) -> bool:
        """Whether the filter holds what it needs to take up changes; logs where it does not.

        Versions of earlier releases lack it: their filters do not know new rows.
        """
        missing = [name for name in arrays if name not in self.arrays]
        if missing:
            log.warning(
                "filter `%s` cannot take up new users and items: its version was written by an "
                "earlier release, without %s. Train again",
                self.name,
                ", ".join(missing),
            )
        return not missing

    def _check_items(self, candidates: Candidates, n_items: int) -> None:
        """Raises StageError where a candidate is not a row of the items that `fit` read."""
        if len(candidates) and candidates.item.max() >= n_items:
            raise StageError(
                f"filter `{self.name}` was fitted on {n_items} items and was given item row "
                f"{candidates.item.max()}; fit it on the items' table that recall uses"
            )


class ItemMaskFilter(BaseFilter):
    """A filter that depends on the item alone; a subclass gives the mask in `_allowed`."""

    def _read(self, data: Dataset, context: FitContext) -> dict[str, NDArray[Any]]:
        return {"mask": self._allowed(data.items)}

    @abstractmethod
    def _allowed(self, items: Table) -> Bool:
        """(items,) True where the item may be shown; each row by its own columns alone."""

    def update_items(self, items: Table, rows: Int32) -> None:
        """Takes up new and changed items, see `FollowsItems`."""
        mask = with_rows(self.arrays["mask"], rows, self._allowed(items.part(rows)), len(items))
        self._arrays = {"mask": mask}

    def keep(self, queries: Queries, candidates: Candidates) -> Bool:
        """(n,) True where the candidate stays."""
        del queries
        mask = self.arrays["mask"]
        self._check_items(candidates, len(mask))
        return mask[candidates.item]


def with_rows(array: NDArray[Any], rows: Int32, values: NDArray[Any], n: int) -> NDArray[Any]:
    """(n,) as `grown`, with `values` (m,) at `rows` (m,)."""
    out = grown(array, n, 0)
    out[rows] = values
    return out


def rows_of_users(queries: Queries, users: int) -> tuple[Bool, Int32]:
    """(Q,) whether the query's user is one of the `users` rows, and (q,) the rows of those."""
    known = (queries.user >= 0) & (queries.user < users)
    return known, queries.user[known]


def column_of(table: Table, column: str, name: str, option: str = "column") -> pl.Series:
    """A column of a table. Raises ConfigError that lists the existing columns."""
    columns = table.frame.columns
    if column not in columns:
        raise ConfigError(
            f"filter `{name}`: column {column!r} is not in the {table.name}' table (its columns: "
            f"{', '.join(columns) or 'none'}); set `{option}` to one of them."
            f"{suggest(column, columns)}"
        )
    return table.frame[column]


def numbers_of(table: Table, column: str, name: str, option: str = "column") -> NDArray[np.float64]:
    """(rows,) a numeric or boolean column, NaN where missing. Raises ConfigError for text."""
    values = column_of(table, column, name, option)
    if not (is_number(values.dtype) or values.dtype == pl.Boolean):
        raise ConfigError(
            f"filter `{name}`: column {column!r} of the {table.name} holds {values.dtype}, like "
            f"{values.drop_nulls().head(1).to_list()}; it must hold numbers"
        )
    return number_array(values)


def codes_named(data: Dataset, names: tuple[str, ...], name: str) -> Bool:
    """(behaviours,) True where the behaviour is one of `names`. Raises ConfigError for others."""
    known = [b.name for b in data.behaviours]
    for behaviour in names:
        if behaviour not in known:
            raise ConfigError(
                f"filter `{name}`: behaviour {behaviour!r} is not declared "
                f"(declared: {', '.join(known)}); correct `behaviours`.{suggest(behaviour, known)}"
            )
    return np.array([b in names for b in known], dtype=np.bool_)
