"""Feature space of a plain data frame, without a project."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.data import cleaned, columns_of
from tamis.features.encoders import numbers, split
from tamis.features.encoding import Encoders, LayoutBuilder, column_of
from tamis.features.layout import Layout
from tamis.features.rows import Block, Rows
from tamis.runtime import Float32
from tamis.schema import DataError, DenseFeat, Feature, Side, SparseFeat, feature_tuple

if TYPE_CHECKING:
    import pandas as pd


class FrameSpace:
    """Encodes the declared features of a data frame as rows of model inputs.

    Fit on the training frame only. A feature without `side` belongs to the user when its name
    begins with "user", to the item when it begins with "item", otherwise to the context.
    """

    def __init__(self, encoders: Encoders) -> None:
        self._encoders = encoders
        self.layout: Layout = self._lay_out()

    @property
    def features(self) -> tuple[Feature, ...]:
        return self._encoders.features

    @classmethod
    def fit(cls, frame: pl.DataFrame | pd.DataFrame, features: Sequence[Feature]) -> FrameSpace:
        """Fits vocabularies and scales on the training frame.

        Raises DataError for an empty frame, a missing column or one of the wrong type, and
        ConfigError for features that contradict each other.
        """
        features = feature_tuple(features)
        table = columns_of(frame, [f.source for f in features])
        if not len(table):
            raise DataError("the training frame is empty; features are fitted on at least one row")
        return cls(Encoders.fit(features, lambda f: _cleaned(table, f)))

    def rows(
        self,
        frame: pl.DataFrame | pd.DataFrame,
        labels: Sequence[str] = (),
        weights: str | NDArray[np.floating[Any]] | None = None,
    ) -> Rows:
        """The rows of the frame as model inputs, in their order.

        `labels` names label columns (null becomes NaN). `weights` is the name of a column or an
        array (n,). An empty frame gives zero rows. Raises DataError for a missing column, one of
        the wrong type, or weights of another shape.
        """
        named = [weights] if isinstance(weights, str) else []
        wanted = [*(f.source for f in self.features), *labels, *named]
        table = columns_of(frame, wanted)
        ids, dense = self._encoders.encode(
            self.layout, self.features, lambda f: _values(table, f), len(table)
        )
        return Rows(
            layout=self.layout,
            blocks=[Block(ids, dense)],
            n=len(table),
            labels=_columns(table, labels) if labels else None,
            weights=_weights(table, weights),
        )

    def side_rows(self, frame: pl.DataFrame | pd.DataFrame, sides: Collection[Side]) -> Rows:
        """The rows of a frame of one side, such as a table of users or of items.

        Only the columns of features of these sides are read; all other features are missing.
        Raises DataError where one of these columns is missing.
        """
        of = {c.name: c.side for c in (*self.layout.ids, *self.layout.dense)}
        wanted = {f.source for f in self.features if of[f.name] in sides}
        table = columns_of(frame, sorted(wanted))
        for name in sorted(wanted - set(table.columns)):
            raise DataError(
                f"the frame has no column {name!r}, which a feature of this side reads; it has "
                f"{', '.join(table.columns)}"
            )
        others = {f.source: f for f in self.features if f.source not in wanted}
        return self.rows(
            table.select(sorted(wanted)).with_columns(
                pl.lit(None, _type_of(f)).alias(source) for source, f in others.items()
            )
        )

    def coverage(self) -> pl.DataFrame:
        """One row per feature: kind, share of training values present, codes, infinite numbers."""
        return self._encoders.coverage()

    def save(self, directory: Path) -> None:
        """Writes the encoders and `layout.json`."""
        self._encoders.save(directory)
        (directory / "layout.json").write_text(json.dumps(self.layout.to_dict(), indent=1))

    @classmethod
    def load(cls, directory: Path) -> FrameSpace:
        """Reads what `save` wrote."""
        return cls(Encoders.load(directory))

    def _lay_out(self) -> Layout:
        builder = LayoutBuilder()
        self._encoders.add_tables(builder)
        for feature in self.features:
            self._encoders.add_columns(builder, feature, feature.side or _side(feature.name))
        return builder.build()


def _type_of(feature: Feature) -> pl.DataType:
    """The type of a column that the feature can read."""
    if isinstance(feature, DenseFeat):
        return pl.Float64() if feature.width == 1 else pl.List(pl.Float64)
    if isinstance(feature, SparseFeat) or feature.separator or feature.ngrams:
        return pl.String()
    return pl.List(pl.String)


def _side(name: str) -> Side:
    if name.startswith("user"):
        return Side.USER
    return Side.ITEM if name.startswith("item") else Side.CONTEXT


def _cleaned(table: pl.DataFrame, feature: Feature) -> pl.Series:
    """The feature's column; texts for a missing value (`NULL`, `NA`, blanks) are null."""
    values = column_of(table, feature)
    return cleaned(values).values if values.dtype == pl.String else values


def _values(table: pl.DataFrame, feature: Feature) -> pl.Series:
    """The feature's column; of a history longer than `max_len` its last ids, as in a project."""
    values = _cleaned(table, feature)
    if isinstance(feature, DenseFeat | SparseFeat) or not feature.history:
        return values
    return split(values, feature.separator).list.tail(feature.max_len)


def _columns(table: pl.DataFrame, names: Sequence[str]) -> Float32:
    features = [DenseFeat(name=name) for name in names]
    parts = [numbers(_cleaned(table, f)) for f in features]
    return np.concatenate(parts, axis=1).astype(np.float32)


def _weights(
    table: pl.DataFrame, weights: str | NDArray[np.floating[Any]] | None
) -> Float32 | None:
    if weights is None:
        return None
    if isinstance(weights, str):
        return np.ascontiguousarray(_columns(table, [weights])[:, 0])
    given = np.asarray(weights, np.float32)
    if given.shape != (len(table),):
        raise DataError(
            f"weights have shape {given.shape}, but the frame has {len(table)} rows; give one "
            "weight per row"
        )
    return given
