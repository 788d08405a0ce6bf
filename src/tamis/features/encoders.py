"""Encoders of single features: numbers and lists of ids, fitted on training data only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Self, cast

import numpy as np
import polars as pl

from tamis.features.vocabulary import FEW, FIRST, PADDING, Vocabulary, distinct
from tamis.runtime import Float32, Float64, Int32
from tamis.schema import ConfigError, DataError, DenseFeat, VarLenSparseFeat


def numbers(values: pl.Series, width: int = 1) -> Float64:
    """The column as float64 (N, width); null becomes NaN, infinities are kept.

    Dates become milliseconds since 1970. Raises DataError for text that is not a number and for
    vectors of another width.
    """
    if width > 1 or values.dtype.is_nested():
        return _vectors(values, width)
    if isinstance(values.dtype, pl.Object | pl.Duration | pl.Time):
        raise DataError(
            f"column {values.name!r} holds {values.dtype}, not numbers; convert it, for example "
            "durations by .dt.total_seconds()"
        )
    if values.dtype.is_temporal():
        values = values.cast(pl.Datetime("ms")).cast(pl.Int64)
    cast = values.cast(pl.Float64, strict=False)
    wrong = cast.is_null() & values.is_not_null()
    if values.dtype == pl.String:
        wrong &= values.str.strip_chars() != ""
    if wrong.any():
        raise DataError(
            f"column {values.name!r} should hold numbers but has {values.filter(wrong)[0]!r} "
            f"in row {wrong.arg_true()[0]}; declare it as a SparseFeat or correct the value"
        )
    return cast.fill_null(float("nan")).to_numpy().reshape(-1, 1).copy()


def _vectors(values: pl.Series, width: int) -> Float64:
    """A column of lists as float64 (N, width); a null list becomes a row of NaN."""
    if not isinstance(values.dtype, pl.List | pl.Array):
        raise DataError(
            f"column {values.name!r} is {values.dtype}, but a DenseFeat of width {width} "
            "needs a list of numbers in each row; give width=1 or a list column"
        )
    lists = values.cast(pl.List(pl.Float64))
    out = np.full((len(values), width), np.nan)
    present = lists.is_not_null().to_numpy()
    lengths = lists.list.len().fill_null(width).to_numpy()
    if (lengths != width).any():
        row = int(np.flatnonzero(lengths != width)[0])
        raise DataError(
            f"column {values.name!r}, row {row}: {int(lengths[row])} numbers where the feature "
            f"declares width={width}; set width to the length of the vectors"
        )
    flat = lists.drop_nulls().explode().fill_null(float("nan")).to_numpy()
    out[present] = flat.reshape(-1, width)
    return out


@dataclass(frozen=True)
class DenseEncoder:
    """Encodes numbers as scaled numbers with a missing indicator, or as the id of a bucket.

    standard `(x − mean) / std`; minmax `(x − min) / (max − min)`; log1p `sign(x)·log(1 + |x|)`,
    then standard; none: x itself. Null, NaN and ±inf are missing: they take the training mean
    (0 after standard) and indicator 1. A constant column becomes 0. Values outside the training
    range are not clipped. quantile, bucket: code 2 + number of boundaries <= x; missing is code 0.
    """

    transform: str
    width: int
    centre: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    neutral: tuple[float, ...] = ()
    """Scaled value of a missing number."""
    boundaries: tuple[float, ...] = ()
    present: float = 0.0
    """Share of the training rows that had a finite value."""
    infinite: int = 0
    """Number of infinite training values, which are taken as missing."""

    @property
    def is_id(self) -> bool:
        """True where numbers are encoded as ids of buckets."""
        return self.transform in ("quantile", "bucket")

    @property
    def size(self) -> int:
        """Number of rows of the buckets' embedding table."""
        return FIRST + len(self.boundaries) + 1

    @classmethod
    def fit(cls, feature: DenseFeat, values: pl.Series) -> DenseEncoder:
        """Fits scale or boundaries on training values.

        Raises DataError for text that is not a number, ConfigError for boundaries that do not
        ascend and for buckets of vectors.
        """
        raw = numbers(values, feature.width)
        blank = cls(
            feature.transform,
            feature.width,
            present=float(np.isfinite(raw).all(axis=1).mean()) if len(raw) else 0.0,
            infinite=int(np.isinf(raw).sum()),
        )
        if blank.is_id:
            return replace(blank, boundaries=_boundaries(feature, raw))
        centre, scale, neutral = _scaling(
            feature.transform, _before_scaling(feature.transform, raw)
        )
        return replace(blank, centre=centre, scale=scale, neutral=neutral)

    def encode(self, values: pl.Series) -> Float32:
        """(N, width + 1) the scaled numbers, then the indicator of a missing value."""
        return self.encode_numbers(numbers(values, self.width))

    def encode_numbers(self, raw: Float64) -> Float32:
        """(N, width + 1) the same of numbers (N, width)."""
        raw = _before_scaling(self.transform, raw)
        finite = np.isfinite(raw)
        scaled = (raw - np.array(self.centre)) / np.array(self.scale)
        out = np.empty((len(raw), self.width + 1), np.float32)
        out[:, :-1] = np.where(finite, scaled, np.array(self.neutral))
        out[:, -1] = ~finite.all(axis=1)
        return out

    def encode_ids(self, values: pl.Series) -> Int32:
        """(N, 1) codes of the buckets."""
        raw = numbers(values, self.width)[:, 0]
        codes = np.searchsorted(np.array(self.boundaries), raw, side="right") + FIRST
        return np.where(np.isfinite(raw), codes, PADDING).astype(np.int32)[:, None]


def _before_scaling(transform: str, raw: Float64) -> Float64:
    return np.sign(raw) * np.log1p(np.abs(raw)) if transform == "log1p" else raw


def _boundaries(feature: DenseFeat, raw: Float64) -> tuple[float, ...]:
    if feature.width > 1:
        raise ConfigError(
            f"feature {feature.name!r}: transform {feature.transform!r} takes one number per row, "
            f"not width={feature.width}"
        )
    if feature.transform == "bucket":
        given = feature.boundaries
        if not given or any(b <= a for a, b in pairwise(given)):
            raise ConfigError(
                f"feature {feature.name!r}: transform 'bucket' needs ascending boundaries, "
                f"not {given}; for example boundaries=(18, 25, 35)"
            )
        return given
    finite = raw[np.isfinite(raw)]
    if not len(finite):
        return ()
    inner = np.arange(1, feature.buckets) / feature.buckets
    return tuple(np.unique(np.quantile(finite, inner)).tolist())


def _scaling(transform: str, raw: Float64) -> tuple[tuple[float, ...], ...]:
    """Centre, scale and neutral value of each number of the vector."""
    known = np.where(np.isfinite(raw), raw, np.nan)
    some = np.isfinite(raw).any(axis=0) if len(raw) else np.zeros(raw.shape[1], np.bool_)
    safe = np.where(some, known, 0.0) if len(raw) else np.zeros((1, raw.shape[1]))
    mean = np.nanmean(safe, axis=0)
    if transform == "none":
        centre, scale = np.zeros_like(mean), np.ones_like(mean)
    elif transform == "minmax":
        centre = np.nanmin(safe, axis=0)
        scale = np.nanmax(safe, axis=0) - centre
    else:
        centre, scale = mean, np.nanstd(safe, axis=0)
    # The standard deviation of a constant column is rounding noise.
    scale = np.where(scale > 1e-9 * np.maximum(1.0, np.abs(mean)), scale, 1.0)
    return tuple(centre.tolist()), tuple(scale.tolist()), tuple(((mean - centre) / scale).tolist())


@dataclass(frozen=True, eq=False)
class VarLenEncoder:
    """Encodes several ids per row as (N, max_len) codes: the first `max_len`, padded by 0."""

    max_len: int
    separator: str | None
    vocabulary: Vocabulary
    ngrams: tuple[int, int] | None = None
    """Lengths of the n-grams that texts are split into; None: texts are split by `separator`."""

    @classmethod
    def fit(cls, feature: VarLenSparseFeat, values: pl.Series) -> Self:
        """Fits the vocabulary. Raises DataError for text without a separator."""
        flat = split(values, feature.separator, feature.ngrams).explode()
        hashed = feature.vocabulary == "hash"
        vocabulary = (
            Vocabulary.hashed(feature.buckets)
            if hashed
            else Vocabulary.fit(flat, feature.min_count)
        )
        return cls(feature.max_len, feature.separator, vocabulary, feature.ngrams)

    def encode(self, values: pl.Series) -> Int32:
        """(N, max_len) codes. Raises DataError for text without a separator."""
        if len(values) <= FEW and self.ngrams is None:
            if values.dtype == pl.List(pl.String):
                return self._encode_few(values.to_list())
            if values.dtype == pl.String and self.separator:
                split_by = self.separator
                return self._encode_few([t and t.split(split_by) for t in values.to_list()])
        if values.dtype == pl.String:
            unique, place = distinct(values)
            return self._encode(split(unique, self.separator, self.ngrams))[place]
        return self._encode(split(values, self.separator, self.ngrams))

    def _encode_few(self, rows: Sequence[Sequence[str | None] | str | None]) -> Int32:
        """The codes of a few rows, each a list of ids, which are cleaned as by `split`."""
        out = np.zeros((len(rows), self.max_len), np.int32)
        for row, given in zip(out, rows, strict=True):
            ids = [text.strip() for text in given or () if text is not None]
            ids = [text for text in ids if text][: self.max_len]
            row[: len(ids)] = self.vocabulary.encode(pl.Series("id", ids, pl.String))
        return out

    def _encode(self, lists: pl.Series) -> Int32:
        lists = lists.list.head(self.max_len)
        lengths = lists.list.len().fill_null(0).to_numpy().astype(np.int64)
        out = np.zeros((len(lists), self.max_len), np.int32)
        rows = np.repeat(np.arange(len(lists)), lengths)
        places = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        full = lists.filter(lists.list.len() > 0)
        if len(rows):
            out[rows, places] = self.vocabulary.encode(full.explode())
        return out


def split(
    values: pl.Series, separator: str | None, ngrams: tuple[int, int] | None = None
) -> pl.Series:
    """The column as lists of ids; nulls, NaN and empty texts within the lists are dropped.

    With `ngrams`, the ids are the n-grams of the column's texts, of these lengths. Raises DataError
    for text without a separator, and for lists that should be split into n-grams.
    """
    if ngrams is not None:
        return _ngrams(values, ngrams)
    if isinstance(values.dtype, pl.List | pl.Array):
        lists = values.cast(pl.List(values.dtype.inner))
    elif separator:
        lists = values.cast(pl.String).str.split(separator)
    elif values.dtype == pl.Null:
        lists = values.cast(pl.List(pl.String))
    else:
        raise DataError(
            f"column {values.name!r} is {values.dtype}, not lists; give the VarLenSparseFeat a "
            'separator (separator="|") or a list column'
        )
    if lists.dtype in (pl.List(pl.Float64), pl.List(pl.Float32)):
        lists = lists.list.eval(pl.element().fill_nan(None))
    if lists.dtype == pl.List(pl.String):
        lists = lists.list.eval(pl.element().str.strip_chars())
        lists = lists.list.eval(pl.element().filter(pl.element() != ""))
    return lists.list.drop_nulls()


def _ngrams(values: pl.Series, lengths: tuple[int, int]) -> pl.Series:
    if values.dtype.is_nested() or isinstance(values.dtype, pl.Object | pl.Binary):
        raise DataError(
            f"column {values.name!r} is {values.dtype}, not text that can be split into n-grams; "
            "remove `ngrams` from the feature"
        )
    from tamis.text import ngram_lists  # imports numba

    return ngram_lists(values, lengths)


def state(encoder: DenseEncoder) -> dict[str, Any]:
    """The dense encoder as a dictionary for JSON."""
    return dict(vars(encoder))


def from_state(saved: dict[str, Any]) -> DenseEncoder:
    """The dense encoder that `state` described."""
    return DenseEncoder(**untupled(saved))


def untupled(saved: dict[str, Any]) -> dict[str, Any]:
    """A copy of a dictionary of JSON, with tuples instead of lists."""
    return {k: tuple(cast("list[Any]", v)) if isinstance(v, list) else v for k, v in saved.items()}
