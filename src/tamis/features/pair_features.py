"""Features of a pair of user and candidate: the user's positives, recall's ranks, the position.

Candidates are grouped by query (`bounds`). The kernels visit the queries in turn: the positives of
each are counted once into an array that all its candidates read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.features._gathering_kernels import select_behaviours
from tamis.features._lists import History
from tamis.features._pair_kernels import (
    affinity,
    distance,
    rank_inputs,
    scaled,
    standardise_within,
)
from tamis.features.own_items import OwnItemFeatures
from tamis.features.vocabulary import Vocabulary
from tamis.runtime import Bool, Float32, Int32, Int64


def items_of(history: History, wanted: Bool) -> tuple[Int64, Int32]:
    """The items of the events of behaviours `wanted` (B,): bounds (Q + 1,) and items."""
    out = np.empty(len(history.item), np.int32)
    bounds = np.zeros(len(history) + 1, np.int64)
    n = select_behaviours(
        bounds=history.indptr,
        item=history.item,
        behaviour=history.behaviour,
        wanted=wanted,
        out_item=out,
        out_bounds=bounds,
    )
    return bounds, out[:n]


@dataclass(frozen=True)
class RecallColumn:
    """A column of recall, `rank:CHANNEL` or `score:CHANNEL`, and its scale."""

    name: str
    mean: float = 0.0
    std: float = 1.0
    limit: float = 1.0
    """Of a rank: the worst rank seen in training + 1, which stands for "not found"."""

    @cached_property
    def is_rank(self) -> bool:
        """True for a column of ranks, False for one of scores."""
        return self.name.startswith("rank:")

    @cached_property
    def names(self) -> list[str]:
        """Names of the inputs made of the column."""
        channel = self.name.partition(":")[2]
        if self.is_rank:
            return [f"found:{channel}", f"top:{channel}", f"log rank:{channel}"]
        return [f"score:{channel}", f"score in query:{channel}"]

    @classmethod
    def fit(cls, name: str, values: NDArray[Any]) -> RecallColumn:
        """Fits the scale on `values` (n,): ranks from 1, 0 = not found; or scores, NaN likewise."""
        if name.startswith("rank:"):
            return cls(name, limit=float(values.max(initial=0)) + 1.0)
        known = values[np.isfinite(values)].astype(np.float64)
        if not len(known):
            return cls(name)
        return cls(name, float(known.mean()), float(known.std()) or 1.0)

    def write(self, values: NDArray[Any] | None, bounds: Int64, out: Float32) -> None:
        """Fills `out` (n, len(names)) from `values` (n,); None = the channel returned nothing.

        `bounds` (Q + 1,) groups the candidates by query.
        """
        if values is None:
            values = np.full(len(out), 0 if self.is_rank else np.nan, np.float32)
        numbers = np.ascontiguousarray(values, np.float32)
        if self.is_rank:
            rank_inputs(rank=numbers, limit=self.limit, out=out)
            return
        scaled(score=numbers, mean=self.mean, std=self.std, out=out[:, 0])
        standardise_within(bounds=bounds, score=numbers, out=out[:, 1])


POSITION = "position"
"""Column of candidates that were shown: the place in the slate, from 1; 0 = unknown."""


@dataclass(frozen=True)
class PositionInput:
    """The place at which an item was shown, as an input of training alone.

    Items at the top are clicked more often because they are at the top. A model that knows the
    place in training does not attribute this to the items. Requests do not know it: there, and
    wherever it is unknown, the input is 0, the mean of training.
    """

    mean: float
    std: float

    @property
    def names(self) -> list[str]:
        """The name of the input."""
        return ["log position"]

    @classmethod
    def fit(cls, position: NDArray[Any]) -> PositionInput | None:
        """Fits the scale on positions (n,) from 1, 0 = unknown; None if they do not differ."""
        known = np.log(position[position > 0].astype(np.float64))
        std = float(known.std()) if len(known) else 0.0
        return cls(float(known.mean()), std) if std > 0 else None

    def write(self, position: NDArray[Any] | None, out: Float32) -> None:
        """Fills `out` (n, 1) from positions (n,); None = all are unknown."""
        out[:, 0] = 0
        if position is not None:
            known = position > 0
            logs = np.log(position[known].astype(np.float64))
            out[known, 0] = (logs - self.mean) / self.std


@dataclass(frozen=True, eq=False)
class Category:
    """An attribute of items that holds ids, such as genres, brand or author."""

    name: str
    codes: Int32
    """(N + 1, w) codes of each item, 0 = none; the last row is an unknown item's."""
    base: Float32
    """(C,) share of all positives that have the code."""
    vocabulary: Vocabulary | None = None
    """The codes of a column that is no feature; None for a feature, whose codes these are."""
    separator: str | None = None
    """Divides the texts of such a column."""

    @property
    def names(self) -> list[str]:
        """Names of the three inputs that `affinity` writes."""
        return [f"{kind}:{self.name}" for kind in ("share", "recent", "lift")]


@dataclass(frozen=True, eq=False)
class Number:
    """An attribute of items that is a number, such as year or price."""

    name: str
    values: Float32
    """(N + 1,) scaled, NaN where missing; the last row is an unknown item's."""

    @property
    def names(self) -> list[str]:
        """Names of the three inputs that `distance` writes."""
        return [f"{kind}:{self.name}" for kind in ("gap", "size of gap", "recent gap")]


@dataclass(frozen=True, eq=False)
class Interest:
    """All features of a pair of user and candidate."""

    positive: Bool
    """(B,) the behaviours that are positive."""
    columns: tuple[RecallColumn, ...] = ()
    categories: tuple[Category, ...] = ()
    numbers: tuple[Number, ...] = ()
    own: OwnItemFeatures | None = None
    """Features of items that the user has acted on; None: rankers get none."""
    position: PositionInput | None = None
    """The place of shown items; None: the log does not have it."""

    @cached_property
    def names(self) -> list[str]:
        """Names of the X inputs; `found by` is the share of channels that found the candidate."""
        parts = [*self.columns, *self.categories, *self.numbers]
        parts += [part for part in (self.position, self.own) if part is not None]
        ranked = ["found by"] if any(c.is_rank for c in self.columns) else []
        return ranked + [name for part in parts for name in part.names]

    def write(
        self,
        bounds: Int64,
        item: Int32,
        history: History,
        time: Int64,
        columns: Mapping[str, NDArray[Any]],
        out: Float32,
    ) -> None:
        """Fills `out` (n, X) for the candidates `item` (n,), rows of the per-item arrays.

        Candidates of query q are [bounds[q], bounds[q + 1]); `time` (Q,) is in ms. `columns` (n,)
        are those of recall, and the position of shown items.
        """
        at = 0
        ranks = [c.name for c in self.columns if c.is_rank]
        if ranks:
            found = np.zeros(len(item), np.int32)
            for name in ranks:
                if name in columns:
                    found += columns[name] > 0
            out[:, 0] = found / len(ranks)
            at = 1
        for column in self.columns:
            width = len(column.names)
            column.write(columns.get(column.name), bounds, out[:, at : at + width])
            at += width
        liked, liked_item = items_of(history, self.positive)
        for category in self.categories:
            affinity(
                bounds=bounds,
                item=item,
                liked=liked,
                liked_item=liked_item,
                codes=category.codes,
                base=category.base,
                out=out[:, at : at + 3],
            )
            at += 3
        for number in self.numbers:
            distance(
                bounds=bounds,
                item=item,
                liked=liked,
                liked_item=liked_item,
                values=number.values,
                out=out[:, at : at + 3],
            )
            at += 3
        if self.position is not None:
            self.position.write(columns.get(POSITION), out[:, at : at + 1])
            at += 1
        if self.own is not None:
            self.own.write(bounds, item, history, time, out[:, at:])
