"""Declared features as a model with a user side and an item side reads them.

Such a model has tables of its own for the ids of users and items, one row per row of the data set's
tables. Features of these ids, and histories of items' ids, read those tables; all other features
are encoded by a `FeatureSpace`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tamis.data import Dataset
from tamis.features._lists import History
from tamis.features._lookup import HistoryLookup
from tamis.features._sources import Sources, is_history
from tamis.runtime import Int32
from tamis.schema import Feature, ProjectConfig, Side, SparseFeat, VarLenSparseFeat

LATEST = 50
"""Events of a history that is made without being declared."""


@dataclass(frozen=True)
class TowerFeatures:
    """The features of a model with two sides."""

    user_id: bool
    """Whether the user's id is among them."""
    liked: VarLenSparseFeat | None
    """The history of the items' ids over exactly the positive behaviours, pooled by the mean, which
    such models read in any case; None if it is not declared."""
    histories: tuple[VarLenSparseFeat, ...]
    """Other histories of the items' ids."""
    attributes: tuple[Feature, ...]
    """Attributes of users and items."""
    moving: tuple[Feature, ...] = ()
    """Features whose values change with time: context, and histories of attributes of items."""


def tower_features(
    data: Dataset, features: Sequence[Feature], config: ProjectConfig | None
) -> TowerFeatures:
    """Sorts declared features; those that share the table of an id of rows get one of their own.

    Raises ConfigError where a column or a behaviour does not exist.
    """
    sources = Sources(data, features, config)
    ids = {f.name for f in features if sources.is_row_id(f) and not is_history(f)}
    positive = {b.name for b in data.behaviours if b.positive}
    liked: VarLenSparseFeat | None = None
    histories: list[VarLenSparseFeat] = []
    attributes: list[Feature] = []
    moving: list[Feature] = []
    for f in features:
        if f.name in ids:
            continue
        if isinstance(f, VarLenSparseFeat) and is_history(f) and sources.is_row_id(f):
            if liked is None and set(f.history) == positive and f.pooling == "mean":
                liked = f
            else:
                histories.append(f)
            continue
        if isinstance(f, SparseFeat | VarLenSparseFeat) and f.shares in ids:
            f = f.model_copy(update={"shares": None})
        moves = is_history(f) or sources.sides[f.name] is Side.CONTEXT
        (moving if moves else attributes).append(f)
    user_id = any(sources.sides[name] is Side.USER for name in ids)
    return TowerFeatures(user_id, liked, tuple(histories), tuple(attributes), tuple(moving))


def histories_per_behaviour(
    data: Dataset, attributes: Sequence[Feature], names: Sequence[str | None]
) -> list[VarLenSparseFeat]:
    """Histories of each behaviour of the log but impressions: ids, and attributes of the items.

    Args:
        attributes: features of the items.
        names: columns whose features in `attributes` become histories, too; None and columns
            without a feature of ids are left out.
    """
    seen = np.bincount(data.events.behaviour, minlength=len(data.behaviours)) > 0
    kinds = [
        b.name for b, there in zip(data.behaviours, seen, strict=True) if there and not b.impression
    ]
    columns = data.items.frame.columns
    found = [f for f in attributes if f.source in names and f.source in columns]
    found = [f for f in found if f.side in (None, Side.ITEM)]
    owners = [f for f in found if isinstance(f, SparseFeat | VarLenSparseFeat)]
    out: list[VarLenSparseFeat] = []
    positive = {b.name for b in data.behaviours if b.positive}
    for kind in kinds:
        if {kind} != positive:  # towers read the history of all positives in any case
            out.append(_history(kind, "item_id", None))
        out += [_history(kind, f.source, f.shares or f.name) for f in owners]
    return out


def _history(behaviour: str, column: str, shares: str | None) -> VarLenSparseFeat:
    """The history of a column of the items over one behaviour."""
    return VarLenSparseFeat(
        name=f"{column} of {behaviour}",
        history=(behaviour,),
        column=column,
        shares=shares,
        max_len=LATEST,
    )


@dataclass(frozen=True, eq=False)
class IdHistory:
    """A history of the items' ids as rows of a model's own table of items."""

    lookup: HistoryLookup

    @classmethod
    def of(cls, feature: VarLenSparseFeat, data: Dataset, start: int, first: int) -> IdHistory:
        """`start` is the table's padding row, `start + first` the row of item 0."""
        wanted = [b.name in feature.history for b in data.behaviours]
        return cls.stored(
            {"name": feature.name, "wanted": wanted, "max_len": feature.max_len},
            len(data.items),
            start,
            first,
        )

    @classmethod
    def stored(cls, saved: dict[str, object], n_items: int, start: int, first: int) -> IdHistory:
        """The history that `to_dict` describes."""
        codes = np.arange(n_items + 1, dtype=np.int32)[:, None] + np.int32(start + first)
        codes[-1] = start + 1  # an unknown item
        wanted = np.array(saved["wanted"], np.bool_)
        return cls(
            HistoryLookup(str(saved["name"]), wanted, codes, start, int(str(saved["max_len"])))
        )

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        it = self.lookup
        return {"name": it.name, "wanted": it.wanted.tolist(), "max_len": it.max_len}

    @property
    def width(self) -> int:
        """Number of id columns."""
        return self.lookup.max_len

    def write(self, history: History, out: Int32) -> None:
        """Writes the rows of the last items, oldest first, into `out` (Q, width)."""
        self.lookup.write(history, out)
