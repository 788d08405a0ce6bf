"""Users' and items' attributes as inputs of a model with a user side and an item side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.data import Dataset
from tamis.features import Encoders, GuessOptions, Layout, LayoutBuilder, guess_feature
from tamis.schema import Feature, Side, SparseFeat, VarLenSparseFeat

PAD, FIRST = 0, 2
"""Within a table: the padding row, and the first row of a known id; row 1 is for unseen ids."""
_READABLE = GuessOptions(
    vectors=False, dates=False, transform="quantile", max_len=8, max_values=1000
)
"""Towers embed ids: free text, vectors and dates are left out; numbers become quantiles."""


@dataclass(frozen=True, eq=False)
class SideInputs:
    """Encoded inputs of all users and items, without histories, which are gathered per batch."""

    user: Layout
    """Columns of the user side: user id and attributes."""
    item: Layout
    """Columns of the item side: item id and attributes."""
    history: str
    """Name of the embedding table of the history's items."""
    user_ids: NDArray[np.int32]
    """(U + 1, w) rows of the fused table; the last line is for unknown users: all padding."""
    user_dense: NDArray[np.float32]
    """(U + 1, d) numbers; the last line is zero."""
    item_ids: NDArray[np.int32]
    """(I, w) rows of the fused table."""
    item_dense: NDArray[np.float32]
    """(I, d) numbers."""
    values: dict[str, list[str]]
    """By the table of a feature: the ids of its rows, from `FIRST` on."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The four arrays of inputs by name."""
        return {
            "user_ids": self.user_ids,
            "user_dense": self.user_dense,
            "item_ids": self.item_ids,
            "item_dense": self.item_dense,
        }


def side_inputs(
    data: Dataset, declared: Sequence[Feature], use_user_id: bool, shared: bool
) -> SideInputs:
    """Encodes the users' and the items' table.

    Args:
        declared: features of the project; those that are columns of the tables are used. If empty:
            all columns from which `infer_features` makes a feature.
        use_user_id: whether the user side has an embedding per user.
        shared: whether the history's items use the embeddings of the item side.
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
    tables = [c.table for c in layouts[Side.USER].ids for _ in range(c.width)]
    pads = [layouts[Side.USER].table[table].start for table in tables]
    return SideInputs(
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
    """The ids of each vocabulary, in the order of their rows."""
    vocabularies = {} if encoders is None else encoders.vocabularies
    return {name: v.ids.to_list() for name, v in vocabularies.items() if v.ids is not None}


def infer_features(frame: pl.DataFrame) -> list[Feature]:
    """Features inferred from a table's columns by `guess_feature`; no free text, no vectors."""
    guesses = (guess_feature(column, options=_READABLE) for column in frame)
    return [feature for feature in guesses if feature is not None]


def _chosen(frame: pl.DataFrame, side: Side, declared: Sequence[Feature]) -> list[Feature]:
    """The side's features, renamed to `side:name`: both tables may have a column `category`."""
    usable = [
        f
        for f in declared
        if f.source in frame.columns
        and f.side in (None, side)
        and not (isinstance(f, VarLenSparseFeat) and f.history)
    ]
    features = usable if declared else infer_features(frame)
    names = {f.name for f in features}
    renamed: list[Feature] = []
    for f in features:
        update: dict[str, object] = {"name": f"{side}:{f.name}", "column": f.source, "side": side}
        if isinstance(f, SparseFeat | VarLenSparseFeat) and f.shares is not None:
            update["shares"] = f"{side}:{f.shares}" if f.shares in names else None
        renamed.append(f.model_copy(update=update))
    return renamed


def _side(feature: Feature) -> Side:
    """The side of a feature; users if it declares none."""
    return feature.side or Side.USER


def _column(frame: pl.DataFrame, feature: Feature) -> pl.Series:
    """The feature's column of a table."""
    return frame[feature.source]


def _encoded(
    encoders: Encoders | None,
    layout: Layout,
    features: list[Feature],
    frame: pl.DataFrame,
    n: int,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """A table's ids int32 (n, w) and numbers float32 (n, d)."""
    if encoders is None or not features:
        return np.zeros((n, 0), np.int32), np.zeros((n, 0), np.float32)
    return encoders.encode(layout, features, lambda f: _column(frame, f), n)
