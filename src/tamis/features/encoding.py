"""The encoders of a list of features, and the layout of the inputs they make."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from pydantic import TypeAdapter

from tamis.features.encoders import DenseEncoder, VarLenEncoder, from_state, split, state
from tamis.features.layout import DenseColumn, IdColumn, Layout, TableRange
from tamis.features.vocabulary import Vocabulary
from tamis.runtime import Float32, Int32
from tamis.schema import (
    ConfigError,
    DataError,
    DenseFeat,
    Feature,
    Side,
    SparseFeat,
    VarLenSparseFeat,
    known_options,
    read_json,
    reading,
)

_FEATURE: TypeAdapter[Feature] = TypeAdapter(Feature)
_KINDS = {"sparse": SparseFeat, "dense": DenseFeat, "varlen": VarLenSparseFeat}


def column_of(frame: pl.DataFrame, feature: Feature) -> pl.Series:
    """The feature's column. Raises DataError, with the nearest name, where the frame lacks it."""
    if feature.source in frame.columns:
        return frame[feature.source]
    close = difflib.get_close_matches(feature.source, frame.columns, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"the frame has {', '.join(frame.columns)}"
    raise DataError(
        f"column {feature.source!r} of feature {feature.name!r} is not in the frame; {hint}"
    )


def check_features(features: Sequence[Feature]) -> None:
    """Raises ConfigError for an empty list, a repeated name or a `shares` of no id feature."""
    if not features:
        raise ConfigError(
            "no features are declared; give at least one, such as SparseFeat('user_id')"
        )
    names = [f.name for f in features]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise ConfigError(f"feature name {twice[0]!r} is used twice; names must be unique")
    ids = {f.name: f for f in features if not isinstance(f, DenseFeat)}
    for f in ids.values():
        if f.shares is None:
            continue
        owner = ids.get(f.shares)
        if owner is None or owner.shares is not None:
            raise ConfigError(
                f"feature {f.name!r} shares the table of {f.shares!r}, which is not an id feature "
                f"with its own table; choose among {', '.join(n for n in ids if n != f.name)}"
            )


@dataclass
class LayoutBuilder:
    """Builds a layout: places tables, id columns and dense columns one after another."""

    tables: list[TableRange] = field(default_factory=list[TableRange])
    ids: list[IdColumn] = field(default_factory=list[IdColumn])
    dense: list[DenseColumn] = field(default_factory=list[DenseColumn])

    def add_table(self, name: str, size: int, spare: int = 0) -> None:
        """Adds an embedding table of `size` rows, of which the last `spare` are kept free."""
        start = self.tables[-1].start + self.tables[-1].size if self.tables else 0
        self.tables.append(TableRange(name, start, size, spare))

    def add_ids(
        self, name: str, side: Side, table: str, *, width: int = 1, pooling: str = ""
    ) -> None:
        """Adds `width` columns of ids; with `pooling` they are the ids of a varlen feature."""
        first = self.ids[-1].first + self.ids[-1].width if self.ids else 0
        column = IdColumn(name, side, table, first, width, pooling or "mean", ragged=bool(pooling))
        self.ids.append(column)

    def add_dense(self, name: str, side: Side, width: int = 1, *, moving: bool = False) -> None:
        """Adds `width` columns of numbers; `moving` ones change with time."""
        first = self.dense[-1].first + self.dense[-1].width if self.dense else 0
        self.dense.append(DenseColumn(name, side, first, width, moving))

    def build(self) -> Layout:
        """The layout of what was added."""
        return Layout(tuple(self.tables), tuple(self.ids), tuple(self.dense))


class Encoders:
    """The fitted encoders of a list of features.

    Features that share an embedding table share its vocabulary.
    """

    def __init__(
        self,
        features: Sequence[Feature],
        vocabularies: dict[str, Vocabulary],
        dense: dict[str, DenseEncoder],
        present: dict[str, float],
    ) -> None:
        self.features = tuple(features)
        self._vocabularies = vocabularies
        self._dense = dense
        self._present = present

    @classmethod
    def fit(
        cls, features: Sequence[Feature], column: Callable[[Feature], pl.Series | None]
    ) -> Encoders:
        """Fits on training values: `column` returns those of a feature, or None for no fit.

        Raises ConfigError for features that contradict each other, DataError for values of a wrong
        type.
        """
        check_features(features)
        vocabularies: dict[str, Vocabulary] = {}
        dense: dict[str, DenseEncoder] = {}
        present: dict[str, float] = {}
        for feature in features:
            values = column(feature)
            if values is None:
                continue
            if isinstance(feature, DenseFeat):
                dense[feature.name] = DenseEncoder.fit(feature, values)
                present[feature.name] = dense[feature.name].present
                continue
            present[feature.name] = _share_present(feature, values)
            if feature.shares is None:
                vocabularies[feature.name] = _fit_vocabulary(feature, values)
        return cls(features, vocabularies, dense, present)

    def grown(self, later: Encoders) -> Encoders:
        """These encoders for data of later.

        Ids that `later`, fitted on those data, knows and these do not get codes after the known
        ones, which keep theirs; scales and buckets stay.
        """
        vocabularies = dict(self._vocabularies)
        for name, vocabulary in later._vocabularies.items():
            vocabularies[name] = vocabularies[name].grown(vocabulary)
        dense = {
            name: replace(
                encoder, present=later._dense[name].present, infinite=later._dense[name].infinite
            )
            for name, encoder in self._dense.items()
        }
        return Encoders(self.features, vocabularies, dense, later._present)

    @property
    def vocabularies(self) -> Mapping[str, Vocabulary]:
        """The vocabulary of each table."""
        return self._vocabularies

    def table_of(self, feature: Feature) -> str:
        """Name of the embedding table that holds the feature's codes."""
        shares = None if isinstance(feature, DenseFeat) else feature.shares
        return shares or feature.name

    def is_id(self, feature: Feature) -> bool:
        """Whether the feature is encoded as ids rather than numbers."""
        return not isinstance(feature, DenseFeat) or self._dense[feature.name].is_id

    def size(self, feature: Feature) -> int:
        """Number of codes of an id feature."""
        owner = self._dense if isinstance(feature, DenseFeat) else self._vocabularies
        return owner[self.table_of(feature)].size

    def boundaries(self, feature: DenseFeat) -> tuple[float, ...]:
        """The ascending boundaries of the buckets of a feature that is encoded as ids."""
        return self._dense[feature.name].boundaries

    def add_tables(self, builder: LayoutBuilder) -> None:
        """Adds one range per table, in the order of the features that own them."""
        for feature in self.features:
            if not self.is_id(feature) or self.table_of(feature) != feature.name:
                continue
            vocabulary = self._vocabularies.get(feature.name)
            spare = 0 if vocabulary is None else vocabulary.spare
            builder.add_table(feature.name, self.size(feature), spare)

    def add_columns(self, builder: LayoutBuilder, feature: Feature, side: Side) -> None:
        """Adds the columns of a feature."""
        if isinstance(feature, DenseFeat) and not self.is_id(feature):
            builder.add_dense(feature.name, side, feature.width + 1)
        elif isinstance(feature, DenseFeat | SparseFeat):
            builder.add_ids(feature.name, side, self.table_of(feature))
        else:
            builder.add_ids(
                feature.name,
                side,
                self.table_of(feature),
                width=feature.max_len,
                pooling=feature.pooling,
            )

    def codes(self, feature: Feature, values: pl.Series) -> Int32:
        """(N, w) codes of an id feature within its table; 0 = missing."""
        if isinstance(feature, DenseFeat):
            return self._dense[feature.name].encode_ids(values)
        vocabulary = self._vocabularies[self.table_of(feature)]
        if isinstance(feature, SparseFeat):
            return vocabulary.encode(values)[:, None]
        encoder = VarLenEncoder(feature.max_len, feature.separator, vocabulary, feature.ngrams)
        return encoder.encode(values)

    def numbers(self, feature: DenseFeat, values: pl.Series) -> Float32:
        """(N, width + 1) the scaled numbers and the indicator of a missing value."""
        return self._dense[feature.name].encode(values)

    def encode(
        self,
        layout: Layout,
        features: Iterable[Feature],
        column: Callable[[Feature], pl.Series],
        n: int,
    ) -> tuple[Int32, Float32]:
        """(n, w) fused-table rows and (n, d) numbers of these features, in their order.

        `column` returns the n values of a feature.
        """
        chosen = list(features)
        widths = {c.name: c.width for c in (*layout.ids, *layout.dense)}
        ids = np.empty((n, sum(widths[f.name] for f in chosen if self.is_id(f))), np.int32)
        dense = np.empty((n, sum(widths[f.name] for f in chosen if not self.is_id(f))), np.float32)
        first_id = first_dense = 0
        for feature in chosen:
            width = widths[feature.name]
            if self.is_id(feature):
                start = layout.table[self.table_of(feature)].start
                ids[:, first_id : first_id + width] = self.codes(feature, column(feature)) + start
                first_id += width
            else:
                block = self._dense[feature.name].encode(column(feature))
                dense[:, first_dense : first_dense + width] = block
                first_dense += width
        return ids, dense

    def coverage(self) -> pl.DataFrame:
        """One row per feature: kind, share of training values present, codes, infinite numbers."""
        known = [f for f in self.features if f.name in self._present]
        sizes = {
            f.name: len(self._dense[f.name].boundaries) + 1
            if isinstance(f, DenseFeat)
            else self._vocabularies[self.table_of(f)].size - 2
            for f in known
            if self.is_id(f)
        }
        return pl.DataFrame(
            {
                "feature": [f.name for f in known],
                "kind": [f.kind for f in known],
                "present": [self._present[f.name] for f in known],
                "codes": [sizes.get(f.name) for f in known],
                "infinite": [
                    self._dense[f.name].infinite if f.name in self._dense else 0 for f in known
                ],
            },
            schema={
                "feature": pl.String,
                "kind": pl.String,
                "present": pl.Float64,
                "codes": pl.Int64,
                "infinite": pl.Int64,
            },
        )

    def save(self, directory: Path) -> None:
        """Writes `encoders.json` and one Arrow file per dictionary; no pickle."""
        directory.mkdir(parents=True, exist_ok=True)
        saved: dict[str, Any] = {
            "features": [f.model_dump(mode="json") for f in self.features],
            "vocabularies": {
                name: vocabulary.save(directory, f"vocabulary{number}")
                for number, (name, vocabulary) in enumerate(self._vocabularies.items())
            },
            "dense": {name: state(encoder) for name, encoder in self._dense.items()},
            "present": self._present,
        }
        (directory / "encoders.json").write_text(json.dumps(saved, indent=1))

    @classmethod
    def load(cls, directory: Path) -> Encoders:
        """Reads what `save` wrote. Raises VersionError if a file is missing or damaged."""
        file = directory / "encoders.json"
        saved = read_json(file, features=list, vocabularies=dict, dense=dict, present=dict)
        with reading(file):
            return cls(
                [_FEATURE.validate_python(_known(f)) for f in saved["features"]],
                {n: Vocabulary.load(directory, v) for n, v in saved["vocabularies"].items()},
                {n: from_state(d) for n, d in saved["dense"].items()},
                saved["present"],
            )


def _known(saved: dict[str, Any]) -> dict[str, Any]:
    """A stored feature without the fields that this release does not have; a warning names them."""
    return known_options(_KINDS[saved["kind"]], saved)


def _fit_vocabulary(feature: Feature, values: pl.Series) -> Vocabulary:
    if isinstance(feature, SparseFeat):
        if feature.vocabulary == "hash":
            return Vocabulary.hashed(feature.buckets)
        return Vocabulary.fit(values, feature.min_count, feature.spare)
    assert not isinstance(feature, DenseFeat)
    return VarLenEncoder.fit(feature, values).vocabulary


def _share_present(feature: Feature, values: pl.Series) -> float:
    """Share of the training values of an id feature that are not missing or empty."""
    if not len(values):
        return 0.0
    if isinstance(feature, SparseFeat):
        missing = values.is_null()
        if values.dtype == pl.String:
            missing |= values == ""
        elif values.dtype.is_float():
            missing |= values.is_nan()
        return 1.0 - int(missing.fill_null(True).sum()) / len(values)
    assert not isinstance(feature, DenseFeat)
    lengths = split(values, feature.separator, feature.ngrams).list.len().fill_null(0)
    return int((lengths > 0).sum()) / len(values)
