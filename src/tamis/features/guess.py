"""Features guessed from the tables, for a project that declares none."""

from __future__ import annotations

import numpy as np
import polars as pl

from tamis.data import Dataset, Table
from tamis.schema import DenseFeat, Feature, ProjectConfig, Side, SparseFeat, VarLenSparseFeat

_SEPARATORS = ("|", ";", ",")
_FEW = 64
"""Integers with at most as many distinct values are taken as codes."""
_TWO_DAYS_MS = 2 * 86_400_000
"""What impressions must span for the hour to say more than the day."""


def default_features(data: Dataset, config: ProjectConfig) -> list[Feature]:
    """Ids, the tables' columns by type and number of distinct values, the positives, the hour.

    Text with few distinct values → SparseFeat; lists and separated text → VarLenSparseFeat;
    numbers → DenseFeat (log1p where skewed); titles, free text and constant columns are left out.
    The history of positives shares the items' table. The hour of the moment is taken where
    impressions span two days: a ranker trained by replays at a few cuts would learn their hours.
    """
    taken = {"item_id", "user_id"}
    features: list[Feature] = []
    features += [
        SparseFeat(name="user_id", side=Side.USER),
        SparseFeat(name="item_id", side=Side.ITEM),
    ]
    for table, side in ((data.users, Side.USER), (data.items, Side.ITEM)):
        for column in table.frame:
            if side is Side.ITEM and column.name in (config.items.title, "published"):
                continue
            if column.name in (config.items.published, *taken):
                continue
            feature = _guess(table, column, side, config)
            if feature is not None:
                features.append(feature)
                taken.add(feature.name)
    positive = tuple(b.name for b in data.behaviours if b.positive)
    if positive:
        name = next(n for n in ("liked", "positives", "history of positives") if n not in taken)
        features.append(VarLenSparseFeat(name=name, history=positive, shares="item_id", max_len=50))
    shown = data.events.time[~data.seen]
    if "hour" not in taken and len(shown) and np.ptp(shown) >= _TWO_DAYS_MS:
        features.append(SparseFeat(name="hour", side=Side.CONTEXT))
    return features


def _guess(table: Table, column: pl.Series, side: Side, config: ProjectConfig) -> Feature | None:
    name = column.name
    known = column.drop_nulls()
    if not len(known):
        return None
    if isinstance(column.dtype, pl.List | pl.Array):
        return _guess_list(known, side)
    if column.n_unique() < 2:
        return None
    if side is Side.ITEM and name == config.items.author:
        return SparseFeat(name=name, side=side)
    if side is Side.ITEM and name == config.items.category and config.items.category_separator:
        return _varlen(known, side, config.items.category_separator)
    if column.dtype.is_numeric():
        return _guess_number(known, side)
    if column.dtype == pl.Boolean:
        return SparseFeat(name=name, side=side)
    if column.dtype.is_temporal():
        return DenseFeat(name=name, side=side)
    text = known.cast(pl.String)
    for separator in _SEPARATORS:
        if text.str.contains(separator, literal=True).sum() >= 0.05 * len(text):
            parts = text.str.split(separator).explode()
            # Sentences contain commas too; categories come back again and again.
            if parts.n_unique() <= max(2, len(parts) // 5):
                return _varlen(text, side, separator)
    if text.n_unique() <= max(2, len(table) // 5):
        return SparseFeat(name=name, side=side)
    return None


def _guess_list(known: pl.Series, side: Side) -> Feature | None:
    inner = getattr(known.dtype, "inner", None)
    lists = known.cast(pl.List(inner)) if inner is not None else known
    if inner is not None and inner.is_float():
        lengths = lists.list.len()
        if lengths.min() != lengths.max() or not lengths.max():
            return None
        return DenseFeat(name=known.name, side=side, width=int(lengths[0]))
    return _varlen(lists, side, None)


def _varlen(values: pl.Series, side: Side, separator: str | None) -> Feature:
    lists = values.str.split(separator) if separator else values
    most = int(lists.list.len().quantile(0.99, interpolation="higher") or 1)
    return VarLenSparseFeat(
        name=values.name, side=side, separator=separator, max_len=min(max(most, 1), 32)
    )


def _guess_number(known: pl.Series, side: Side) -> Feature:
    if known.dtype.is_integer() and known.n_unique() <= _FEW:
        return SparseFeat(name=known.name, side=side)
    values = known.cast(pl.Float64).to_numpy()
    values = values[np.isfinite(values)]
    skewed = len(values) > 0 and values.min() >= 0 and values.max() > 20 * max(np.median(values), 1)
    return DenseFeat(name=known.name, side=side, transform="log1p" if skewed else "standard")
