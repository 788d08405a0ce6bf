"""Which attributes the two towers see, and their rows of the one fused table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.data import Dataset
from tamis.features import Encoders, GuessOptions, Layout, LayoutBuilder, guess_feature
from tamis.schema import Feature, Side, VarLenSparseFeat

PAD, FIRST = 0, 2
"""Within a table: the padding row, and the first row of a known id (1 = unseen)."""
_READABLE = GuessOptions(
    vectors=False, dates=False, transform="quantile", max_len=8, max_values=1000
)
"""Towers embed ids: text of many values, vectors and dates are left out, numbers are quantiles."""


@dataclass(frozen=True, eq=False)
class TowerInputs:
    """Every user's and every item's inputs, encoded once; the history is gathered per batch."""

    user: Layout
    """The profile's columns: user id and attributes, without the history."""
    item: Layout
    history: str
    """Table of the history's items."""
    user_ids: NDArray[np.int32]
    """(U + 1, w) fused rows; the last line is a user who is not in the table: all missing."""
    user_dense: NDArray[np.float32]
    item_ids: NDArray[np.int32]
    """(I, w) fused rows."""
    item_dense: NDArray[np.float32]
    values: dict[str, list[str]]
    """Per table of a feature: the ids of its rows from `FIRST` on."""


def tower_inputs(
    data: Dataset, declared: Sequence[Feature], use_user_id: bool, shared: bool
) -> TowerInputs:
    """Encodes both tables.

    declared: features of the project; those that are columns of the tables are used. Empty = all
    columns of which `guess_feature` makes one. shared: the history's items use the item tower's own
    embeddings.
    """
    sides = {Side.USER: data.users.frame, Side.ITEM: data.items.frame}
    chosen = {side: _chosen(frame, side, declared) for side, frame in sides.items()}
    features = [f for side in sides for f in chosen[side]]
    n_users, n_items = len(data.users), len(data.items)
    users, items = LayoutBuilder(), LayoutBuilder()
    users.add_table("item", n_items + FIRST)
    if not shared:
        users.add_table("history", n_items + FIRST)
    if use_user_id:
        users.add_table("user", n_users + FIRST)
        users.add_ids("user", Side.USER, "user")
    encoders = None
    if features:
        encoders = Encoders.fit(features, lambda f: _column(sides[_side(f)], f))
        encoders.add_tables(users)
    items.tables = users.tables
    items.add_ids("item", Side.ITEM, "item")
    for builder, side in ((users, Side.USER), (items, Side.ITEM)):
        for feature in chosen[side] if encoders is not None else ():
            assert encoders is not None
            encoders.add_columns(builder, feature, side)
    layouts = {Side.USER: users.build(), Side.ITEM: items.build()}
    encoded = {
        side: _encoded(encoders, layouts[side], chosen[side], sides[side], n)
        for side, n in ((Side.USER, n_users), (Side.ITEM, n_items))
    }
    user_ids, user_dense = encoded[Side.USER]
    item_ids, item_dense = encoded[Side.ITEM]
    if use_user_id:
        start = layouts[Side.USER].table["user"].start
        user_ids = np.column_stack([start + FIRST + np.arange(n_users), user_ids])
    stranger = [c.table for c in layouts[Side.USER].ids for _ in range(c.width)]
    pads = [layouts[Side.USER].table[table].start for table in stranger]
    return TowerInputs(
        user=layouts[Side.USER],
        item=layouts[Side.ITEM],
        history="item" if shared else "history",
        user_ids=np.vstack([user_ids, np.array([pads])]).astype(np.int32),
        user_dense=np.vstack([user_dense, np.zeros((1, user_dense.shape[1]), np.float32)]),
        item_ids=np.column_stack([FIRST + np.arange(n_items), item_ids]).astype(np.int32),
        item_dense=item_dense,
        values=_values(encoders),
    )


def _values(encoders: Encoders | None) -> dict[str, list[str]]:
    vocabularies = {} if encoders is None else encoders.vocabularies
    return {name: v.ids.to_list() for name, v in vocabularies.items() if v.ids is not None}


def _chosen(frame: pl.DataFrame, side: Side, declared: Sequence[Feature]) -> list[Feature]:
    """The side's features under names of their own: both tables may have a `category`."""
    usable = [
        f
        for f in declared
        if f.source in frame.columns
        and f.side in (None, side)
        and not (isinstance(f, VarLenSparseFeat) and f.history)
    ]
    guesses = (guess_feature(column, options=_READABLE) for column in frame)
    features = usable if declared else [f for f in guesses if f is not None]
    names = {f.name for f in features}
    renamed: list[Feature] = []
    for f in features:
        update: dict[str, object] = {"name": f"{side}:{f.name}", "column": f.source, "side": side}
        shares = getattr(f, "shares", None)
        if shares is not None:
            update["shares"] = f"{side}:{shares}" if shares in names else None
        renamed.append(f.model_copy(update=update))
    return renamed


def _side(feature: Feature) -> Side:
    return feature.side or Side.USER


def _column(frame: pl.DataFrame, feature: Feature) -> pl.Series:
    return frame[feature.source]


def _encoded(
    encoders: Encoders | None,
    layout: Layout,
    features: list[Feature],
    frame: pl.DataFrame,
    n: int,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    if encoders is None or not features:
        return np.zeros((n, 0), np.int32), np.zeros((n, 0), np.float32)
    return encoders.encode(layout, features, lambda f: _column(frame, f), n)
