"""Context of requests, in the log and of queries: place, city, and columns such as the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.runtime import Bool, Float32, Float64

CITY = "city"
"""Name under which the city of the request is a column of context."""


@dataclass(frozen=True, eq=False)
class Texts:
    """A column of n texts with few distinct values, as codes."""

    names: pl.Series
    """(L,) the distinct texts."""
    code: NDArray[np.integer[Any]]
    """(n,) 0 = missing, k = the k-th of `names`, counted from 1."""

    @classmethod
    def of(cls, values: pl.Series) -> Texts:
        """The texts `values` (n,); null is missing. The codes take 1, 2 or 4 bytes each."""
        names = values.drop_nulls().unique().sort()
        kind = np.min_scalar_type(len(names)) if len(names) < 65_536 else np.dtype(np.int32)
        codes = pl.DataFrame({"text": names, "code": np.arange(1, len(names) + 1)})
        joined = pl.DataFrame({"text": values}).join(
            codes, on="text", how="left", maintain_order="left"
        )
        return cls(names, joined["code"].fill_null(0).to_numpy().astype(kind))

    @classmethod
    def one(cls, name: str, text: str | None) -> Texts:
        """The column `name` of a single request."""
        if text is None:
            return cls(pl.Series(name, [], pl.String), np.zeros(1, np.uint8))
        return cls(pl.Series(name, [text], pl.String), np.ones(1, np.uint8))

    def __len__(self) -> int:
        return len(self.code)

    def take(self, where: Any) -> Texts:
        """The rows selected by a mask, positions or a slice."""
        return Texts(self.names, self.code[where])

    @property
    def choices(self) -> pl.Series:
        """(L + 1,) the text of each code; the first is null."""
        return pl.concat([pl.Series(self.names.name, [None], dtype=pl.String), self.names])

    @property
    def values(self) -> pl.Series:
        """(n,) the texts; null where missing."""
        return self.choices.gather(self.code)

    @staticmethod
    def join(parts: Sequence[Texts]) -> Texts:
        """The rows of several columns, one after another."""
        names = parts[0].names
        if all(part.names is names for part in parts):
            return Texts(names, np.concatenate([part.code for part in parts]))
        return Texts.of(pl.concat([part.values.rename(names.name) for part in parts]))


@dataclass(frozen=True, eq=False)
class Context:
    """Context of Q requests: place, city, declared interests and columns."""

    latitude: Float64
    """(Q,) degrees in [-90, 90]; NaN where the request gives no place."""
    longitude: Float64
    """(Q,) degrees in [-180, 180]; NaN where the request gives no place."""
    city: tuple[str | None, ...]
    """(Q,) the request's city, as the items' city column spells it."""
    interests: tuple[tuple[str, ...], ...]
    """(Q,) declared interests: categories or keywords of the items."""
    columns: Mapping[str, Texts] = field(default_factory=dict[str, Texts])
    """The columns of context that the project declares, each (Q,); one that is absent is missing
    in all requests."""
    values: tuple[Mapping[str, Any], ...] | None = None
    """(Q,) further values of each request, which conditions read; None: no request has any."""

    def __len__(self) -> int:
        return len(self.latitude)

    def take(self, index: Sequence[int] | slice) -> Context:
        """Context of the requests at `index`."""
        whole = isinstance(index, slice)
        rows = index if isinstance(index, slice) else np.asarray(index, np.int64)
        return Context(
            self.latitude[rows],
            self.longitude[rows],
            self.city[index] if whole else tuple(self.city[q] for q in index),
            self.interests[index] if whole else tuple(self.interests[q] for q in index),
            {name: texts.take(rows) for name, texts in self.columns.items()},
            None if self.values is None else _taken(self.values, index),
        )

    @classmethod
    def unknown(cls, n: int) -> Context:
        """Context of n requests that give none."""
        return cls(np.full(n, np.nan), np.full(n, np.nan), (None,) * n, ((),) * n)

    @staticmethod
    def join(parts: Sequence[Context]) -> Context:
        """The contexts of several batches, which have the same columns, one after another."""
        return Context(
            np.concatenate([part.latitude for part in parts]),
            np.concatenate([part.longitude for part in parts]),
            tuple(city for part in parts for city in part.city),
            tuple(words for part in parts for words in part.interests),
            {name: Texts.join([part.columns[name] for part in parts]) for name in parts[0].columns},
            _joined_values(parts),
        )


def _joined_values(parts: Sequence[Context]) -> tuple[Mapping[str, Any], ...] | None:
    if all(part.values is None for part in parts):
        return None
    none: Mapping[str, Any] = {}
    return tuple(v for part in parts for v in part.values or (none,) * len(part))


def _taken(
    values: tuple[Mapping[str, Any], ...], index: Sequence[int] | slice
) -> tuple[Mapping[str, Any], ...]:
    return values[index] if isinstance(index, slice) else tuple(values[q] for q in index)


@dataclass(frozen=True, eq=False)
class EventContext:
    """What the log says about the request of each of its n events."""

    columns: Mapping[str, Texts]
    """The declared columns of context, each (n,), and the city under the name `CITY`."""
    latitude: Float32 | None = None
    """(n,) degrees, NaN where unknown; None where the log has no such column."""
    longitude: Float32 | None = None
    """(n,) degrees, as `latitude`."""

    def take(self, where: Any) -> EventContext:
        """The context of the events selected by a mask, positions or a slice."""
        place = (self.latitude, self.longitude)
        latitude, longitude = (None if degrees is None else degrees[where] for degrees in place)
        columns = {name: texts.take(where) for name, texts in self.columns.items()}
        return EventContext(columns, latitude, longitude)

    def known(self) -> Bool:
        """(n,) whether anything is known of the event's request."""
        parts = [texts.code > 0 for texts in self.columns.values()]
        if self.latitude is not None:
            parts.append(np.isfinite(self.latitude))
        return np.logical_or.reduce(parts)

    def changes(self, rows: NDArray[np.integer[Any]]) -> Bool:
        """(m - 1,) whether an event of `rows` (m,) has another context than the one before it."""
        changed = np.zeros(max(len(rows) - 1, 0), np.bool_)
        for texts in self.columns.values():
            code = texts.code[rows]
            changed |= code[1:] != code[:-1]
        for degrees in (self.latitude, self.longitude):
            if degrees is not None:
                value = np.nan_to_num(degrees[rows], nan=999.0)
                changed |= value[1:] != value[:-1]
        return changed

    def at(self, rows: NDArray[np.integer[Any]]) -> Context:
        """The context of Q requests: that of the events `rows` (Q,); nothing is known for -1."""
        q, known = len(rows), rows >= 0
        at = np.where(known, rows, 0)

        def degrees(values: Float32 | None) -> Float64:
            if values is None or not len(values):
                return np.full(q, np.nan)
            return np.where(known, values[at].astype(np.float64), np.nan)

        columns = {
            name: Texts(texts.names, np.where(known, texts.code[at], 0).astype(texts.code.dtype))
            if len(texts)
            else Texts(texts.names, np.zeros(q, np.uint8))
            for name, texts in self.columns.items()
        }
        city: tuple[str | None, ...] = (None,) * q
        if CITY in columns:
            choices = np.array(columns[CITY].choices.to_list(), dtype=object)
            city = tuple(choices[columns[CITY].code].tolist())
        return Context(degrees(self.latitude), degrees(self.longitude), city, ((),) * q, columns)
