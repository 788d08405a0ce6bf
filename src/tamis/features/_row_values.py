"""Codes and numbers of rows of the tables: of all at the fit, and of those that come later."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import polars as pl

from tamis.data import Table, item_categories
from tamis.features._fitted import item_order, user_order
from tamis.features._sources import as_lists, history_column, is_history
from tamis.features.encoders import numbers
from tamis.features.encoding import Encoders
from tamis.features.layout import Layout
from tamis.features.vocabulary import UNSEEN, Vocabulary
from tamis.runtime import Bool, Float32, Int32, Int64
from tamis.schema import DenseFeat, Feature, Side, VarLenSparseFeat

_MOST = 32
"""Most values of an item that count in a history feature, or as its categories."""


def values_of(table: Table, feature: Feature) -> pl.Series:
    """(m,) the values of a feature in rows of a table; what is no column of it is the id."""
    return table.frame[feature.source] if feature.source in table else table.ids


def attributes_of(
    encoders: Encoders,
    sides: Mapping[str, Side],
    layout: Layout,
    side: Side,
    table: Table,
    rows: Int32,
) -> tuple[Int32, Float32]:
    """(m, w) fused-table rows and (m, d) numbers of the rows (m,) of a table."""
    part, order = table.part(rows), user_order if side is Side.USER else item_order
    chosen = [f for f in order(encoders.features, sides) if sides[f.name] is side]
    chosen = [f for f in chosen if not is_history(f)]

    def column(feature: Feature) -> pl.Series:
        return values_of(part, feature)

    ids, dense = encoders.encode(layout, chosen, column, len(rows))
    forget_ids(encoders, layout, chosen, lambda f: f.source not in part, ids, table.is_again(rows))
    return ids, dense


def forget_ids(
    encoders: Encoders,
    layout: Layout,
    chosen: Sequence[Feature],
    is_row_id: Callable[[Feature], bool],
    ids: Int32,
    where: Bool | Int64,
) -> None:
    """Makes the ids of users or items themselves unseen in the rows `where` of `ids` (n, w)."""
    at = 0
    for feature in (f for f in chosen if encoders.is_id(f)):
        if is_row_id(feature):
            ids[where, at] = layout.table[encoders.table_of(feature)].start + UNSEEN
        at += feature.max_len if isinstance(feature, VarLenSparseFeat) else 1


def history_codes(
    encoders: Encoders, features: Mapping[str, Feature], feature: Feature, part: Table
) -> Int32:
    """(m, w) codes of items in a history feature, 0 where an item has fewer."""
    column = history_column(features, feature)
    values = part.frame[column] if column in part else part.ids
    codes = history_values(encoders, features, feature, values)
    if column not in part:
        codes[part.is_again(np.arange(len(part))), 0] = UNSEEN
    return codes


def history_values(
    encoders: Encoders, features: Mapping[str, Feature], feature: Feature, values: pl.Series
) -> Int32:
    """(n, 32) codes of values of the items' column that a history feature reads; 0 = none."""
    assert isinstance(feature, VarLenSparseFeat)
    owner = features.get(feature.shares or "", feature)
    read = feature.model_copy(
        update={
            "separator": feature.separator or getattr(owner, "separator", None),
            "ngrams": getattr(owner, "ngrams", None),
            "max_len": _MOST,
        }
    )
    return encoders.codes(read, as_lists(read, values))


def seen_codes(codes: Int32) -> Int32:
    """(n, w) codes without those of unseen values, which are not one and the same value."""
    return np.where(codes == UNSEEN, np.int32(0), codes)


def category_codes(
    items: Table, column: str, separator: str | None, vocabulary: Vocabulary
) -> Int32:
    """(N, w) codes of the categories of items, 0 where an item has fewer."""
    feature = VarLenSparseFeat(name=column, max_len=_MOST)
    own = Encoders([feature], {column: vocabulary}, {}, {})
    return seen_codes(own.codes(feature, item_categories(items, column, separator)))


def scaled_numbers(encoders: Encoders, feature: DenseFeat, values: pl.Series) -> Float32:
    """(n,) the scaled numbers of a feature, NaN where missing."""
    scaled = encoders.numbers(feature, values)[:, 0]
    scaled[~np.isfinite(numbers(values)[:, 0])] = np.nan
    return scaled
