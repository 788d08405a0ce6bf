"""Users and items as inputs of a model with a user side and an item side."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.data import Dataset
from tamis.features import (
    FeatureSpace,
    GuessOptions,
    IdHistory,
    Layout,
    LayoutBuilder,
    OfflineStatistics,
    TowerFeatures,
    guess_feature,
    histories_per_behaviour,
    tower_features,
)
from tamis.recall._common.moving_inputs import ItemMoments, MovingInputs
from tamis.schema import (
    ConfigError,
    Feature,
    ProjectConfig,
    Side,
    TableConfig,
    TamisWarning,
    VarLenSparseFeat,
)

PAD, FIRST = 0, 2
"""Within a table: the padding row, and the first row of a known id; row 1 is for unseen ids."""
_READABLE = GuessOptions(dates=False, transform="quantile", max_len=8, max_values=1000)
"""Towers embed ids: free text and dates are left out; numbers become quantiles, vectors stay."""
_WINDOWS = ("7d", "30d", "all")
"""Windows of statistics where no project declares any."""

ReadStatistics = Literal["none", "user", "item", "both"]
"""The sides whose statistics are inputs."""


@dataclass(frozen=True, eq=False)
class SideInputs:
    """Encoded inputs of all users and items, without histories, which are gathered per batch."""

    user: Layout
    """Columns of the user side: user id, attributes, and moving inputs."""
    item: Layout
    """Columns of the item side: item id, attributes, statistics."""
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
    space: FeatureSpace
    """Encodes the attributes, the context, histories of attributes, and statistics."""
    offset: int
    """Row of the fused table at which the tables of `space` start."""
    moving: MovingInputs | None = None
    """The user side's inputs that change with time; their columns follow those of `user_ids` and
    `user_dense`. None: there are none."""
    moments: ItemMoments | None = None
    """The items' statistics, whose columns follow those of `item_dense`; None: no inputs."""
    liked: int | None = None
    """Length of the declared history of the liked items; None: it is not declared."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays of inputs by name."""
        return {
            "user_ids": self.user_ids,
            "user_dense": self.user_dense,
            "item_ids": self.item_ids,
            "item_dense": self.item_dense,
        }


def divided(layout: Layout, ids: int, dense: int) -> tuple[Layout, Layout]:
    """A layout's fixed columns, the first `ids` and `dense`, and its other ones, both from 0."""
    parts: list[Layout] = []
    for later in (False, True):
        builder = LayoutBuilder(list(layout.tables))
        for c in layout.ids:
            if (c.first >= ids) == later:
                pooling = c.pooling if c.ragged else ""
                builder.add_ids(c.name, c.side, c.table, width=c.width, pooling=pooling)
        for d in layout.dense:
            if (d.first >= dense) == later:
                builder.add_dense(d.name, d.side, d.width, moving=d.moving)
        parts.append(builder.build())
    return parts[0], parts[1]


class _Chosen(NamedTuple):
    """What the two sides read."""

    user_id: bool
    history: str
    """Name of the table of the histories' items."""
    liked: int | None
    histories: Sequence[VarLenSparseFeat]
    """Histories of the items' ids besides that of the liked ones."""
    statistics: ReadStatistics


def side_inputs(
    data: Dataset,
    declared: Sequence[Feature],
    use_user_id: bool | None,
    shared: bool,
    *,
    config: ProjectConfig | None = None,
    roles: TableConfig | None = None,
    statistics: ReadStatistics = "none",
    per_behaviour: bool | None = False,
    ordered: bool = True,
) -> SideInputs:
    """Encodes the users' and the items' table, and prepares what changes with time.

    Args:
        declared: features of the project. If empty: all columns from which `infer_features` makes a
            feature.
        use_user_id: whether the user side has an embedding per user; None: if it is declared.
        shared: whether the histories' items use the embeddings of the item side.
        config: of the project; None: without one.
        roles: of the items' columns: category and author; None: none.
        statistics: whose statistics are inputs.
        per_behaviour: whether every behaviour gets histories, as `histories_per_behaviour` says;
            None: if `declared` has no history and `roles` name a category or an author.
        ordered: whether the log has an order; without one, nothing that changes with time is read.

    Raises ConfigError where histories or statistics are requested of a log without an order. A
    TamisWarning reports declared features that are not read for that reason.
    """
    found = _declared(data, declared, config)
    names = () if roles is None else (roles.category, roles.author)
    if per_behaviour is None:
        past = any(isinstance(f, VarLenSparseFeat) and f.history for f in declared)
        per_behaviour = ordered and not past and any(names)
    if not ordered:
        _check_without_order(found, statistics, per_behaviour)
    features = [*found.attributes, *(found.moving if ordered else ())]
    histories = list(found.histories) if ordered else []
    if per_behaviour and ordered:
        for f in histories_per_behaviour(data, found.attributes, names):
            (histories if f.source == "item_id" else features).append(f)
    read: ReadStatistics = statistics if ordered else "none"
    windows = () if read == "none" else (_WINDOWS if config is None else config.windows)
    space = FeatureSpace.fit(data, features, config=config, windows=windows, groups=(), towers=True)
    chosen = _Chosen(
        user_id=found.user_id if use_user_id is None else use_user_id,
        history="item" if shared else "history",
        liked=None if found.liked is None else found.liked.max_len,
        histories=histories,
        statistics=read,
    )
    return _encoded(data, space, chosen)


def _check_without_order(
    found: TowerFeatures, statistics: ReadStatistics, per_behaviour: bool
) -> None:
    """Refuses and reports what only means something as of a moment."""
    options = {"statistics": statistics != "none", "histories": per_behaviour}
    for name, wanted in options.items():
        if wanted:
            raise ConfigError(
                f"{name}: the examples of this log have no order (most users' likes share one "
                f"time), so nothing is known before a moment; leave {name} out, or give the "
                "events' times"
            )
    unread = [f.name for f in (*found.histories, *found.moving)]
    if unread:
        warnings.warn(
            f"the features {', '.join(unread)} are not read by the towers: the examples of this "
            "log have no order, so nothing is known before a moment; give the events' times",
            TamisWarning,
            stacklevel=2,
        )


def _encoded(data: Dataset, space: FeatureSpace, chosen: _Chosen) -> SideInputs:
    """The inputs of both sides, over the model's own tables of ids and those of `space`."""
    n_users, n_items = len(data.users), len(data.items)
    users, items = LayoutBuilder(), LayoutBuilder()
    sizes = {"item": n_items, chosen.history: n_items, "user": n_users if chosen.user_id else 0}
    for name, size in sizes.items():
        if size or name != "user":
            users.add_table(name, size + FIRST)
    offset = users.build().n_rows
    for table in space.layout.tables:
        users.add_table(_named(table.name), table.size)
    items.tables = users.tables
    tables = users.build().table
    if chosen.user_id:
        users.add_ids("user", Side.USER, "user")
    items.add_ids("item", Side.ITEM, "item")
    _append(users, space.user_layout, chosen.statistics in ("user", "both"))
    _append(items, space.item_layout, chosen.statistics in ("item", "both"))
    for f in chosen.histories:
        users.add_ids(_named(f.name), Side.USER, chosen.history, width=f.max_len, pooling=f.pooling)
    start = tables[chosen.history].start
    lookups = tuple(IdHistory.of(f, data, start, FIRST) for f in chosen.histories)
    moving, moments = _over_time(data, space, offset, lookups, chosen.statistics)
    user_ids, user_dense = _attributes(space, Side.USER, offset)
    item_ids, item_dense = _attributes(space, Side.ITEM, offset)
    user_dense[-1] = 0
    if chosen.user_id:
        rows = tables["user"].start + FIRST + np.arange(n_users + 1)
        rows[-1] = tables["user"].start + PAD
        user_ids = np.column_stack([rows, user_ids])
    return SideInputs(
        user=users.build(),
        item=items.build(),
        history=chosen.history,
        user_ids=user_ids.astype(np.int32),
        user_dense=user_dense,
        item_ids=np.column_stack([FIRST + np.arange(n_items), item_ids[:-1]]).astype(np.int32),
        item_dense=item_dense[:-1],
        values=_values(space),
        space=space,
        offset=offset,
        moving=moving,
        moments=moments,
        liked=chosen.liked,
    )


def _over_time(
    data: Dataset,
    space: FeatureSpace,
    offset: int,
    histories: tuple[IdHistory, ...],
    read: ReadStatistics,
) -> tuple[MovingInputs | None, ItemMoments | None]:
    """The inputs that change with time of the user side and of the item side, if there are any."""
    recipes = space.recipes
    statistics = None if recipes is None else OfflineStatistics(data, recipes)
    of_users = statistics if read in ("user", "both") else None
    moments = None
    if statistics is not None and read in ("item", "both"):
        times = data.events.time[data.positive]
        moments = ItemMoments.of(space, statistics, times, data.end)
    width = space.user_layout.id_width - space.attributes(Side.USER).ids.shape[1]
    if not width and not histories and of_users is None:
        return None, moments
    return MovingInputs(space, offset, histories, of_users), moments


def _append(builder: LayoutBuilder, layout: Layout, statistics: bool) -> None:
    """Appends the columns of a space's layout; of numbers that change with time if `statistics`."""
    for c in layout.ids:
        pooling = c.pooling if c.ragged else ""
        builder.add_ids(_named(c.name), c.side, _named(c.table), width=c.width, pooling=pooling)
    for d in layout.dense:
        if statistics or not d.moving:
            builder.add_dense(_named(d.name), d.side, d.width, moving=d.moving)


def _named(name: str) -> str:
    """The name of a feature's table or columns beside those of the model itself."""
    return f"feature:{name}" if name in ("item", "history", "user") else name


def _attributes(
    space: FeatureSpace, side: Side, offset: int
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """A table's ids int32 (n + 1, w) and numbers float32 (n + 1, d), last of an unknown row."""
    block = space.attributes(side)
    return block.ids + np.int32(offset), np.array(block.dense)


def _values(space: FeatureSpace) -> dict[str, list[str]]:
    """The ids of each vocabulary, in the order of their rows."""
    found = space.vocabularies.items()
    return {_named(name): v.ids.to_list() for name, v in found if v.ids is not None}


def infer_features(frame: pl.DataFrame) -> list[Feature]:
    """Features inferred from a table's columns by `guess_feature`; no free text, no dates."""
    guesses = (guess_feature(column, options=_READABLE) for column in frame)
    return [feature for feature in guesses if feature is not None]


def _declared(
    data: Dataset, declared: Sequence[Feature], config: ProjectConfig | None
) -> TowerFeatures:
    """The declared features, or those of both tables, which may have columns of one name."""
    if declared:
        return tower_features(data, declared, config)
    found: list[Feature] = []
    for side, table in ((Side.USER, data.users), (Side.ITEM, data.items)):
        for f in infer_features(table.frame):
            update = {"name": f"{side}:{f.name}", "column": f.source, "side": side}
            found.append(f.model_copy(update=update))
    return TowerFeatures(False, None, (), tuple(found))
