"""The source of each feature's values: a table, the log's columns of context, or its time."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from tamis.data import Dataset, Texts
from tamis.features._calendar import CONTEXTS
from tamis.features._place import GEOHASH, cell_values
from tamis.schema import ConfigError, Feature, ProjectConfig, Side, SparseFeat, VarLenSparseFeat


class Sources:
    """The source of each feature's values: the users' table, the items', or the request's time."""

    def __init__(
        self, data: Dataset, features: Sequence[Feature], config: ProjectConfig | None
    ) -> None:
        self.data = data
        self.features = {f.name: f for f in features}
        self.user_ids, self.item_ids = id_columns(config)
        context = data.events.context
        self.context: Mapping[str, Texts] = {} if context is None else context.columns
        self.has_holidays = config is not None and config.holidays is not None
        self.has_place = context is not None and context.latitude is not None
        self.user_ids -= set(data.users.frame.columns)
        self.item_ids -= set(data.items.frame.columns)
        self.sides = {f.name: self._side(f) for f in features}

    def item_column(self, feature: Feature) -> str:
        """The items' column that a history feature reads."""
        return history_column(self.features, feature)

    def _side(self, feature: Feature) -> Side:
        """The side of a feature. Raises ConfigError where no table, or both, hold its column."""
        if is_history(feature):
            self._check_history(feature)
            return Side.USER
        source = feature.source
        found = {
            Side.USER: source in self.user_ids or source in self.data.users.frame.columns,
            Side.ITEM: source in self.item_ids or source in self.data.items.frame.columns,
            Side.CONTEXT: source in self.context or (source == GEOHASH and self.has_place),
        }
        sides = [side for side, there in found.items() if there]
        if feature.side is None and len(sides) > 1:
            places = {Side.USER: "the users' table", Side.ITEM: "the items' table"}
            where = " and in ".join(places.get(side, "the request's context") for side in sides)
            choices = " or ".join(f'side = "{side}"' for side in sides)
            raise ConfigError(
                f"feature {feature.name!r}: column {source!r} is in {where}; choose one with "
                f"{choices}"
            )
        if source in CONTEXTS and (not sides or feature.side is Side.CONTEXT):
            sides = [Side.CONTEXT]
        side = feature.side or (sides[0] if sides else None)
        if side is None or side not in sides:
            raise ConfigError(self._unknown(feature))
        if side is Side.CONTEXT and source == "holiday" and not self.has_holidays:
            raise ConfigError(
                f"feature {feature.name!r}: no holidays are declared; write holidays = "
                '"CN" (a country) or holidays = ["2026-10-01"] (dates) at the top of tamis.toml'
            )
        if side is Side.CONTEXT and not isinstance(feature, SparseFeat):
            of = "the request's time" if source in CONTEXTS else "the request"
            raise ConfigError(
                f"feature {feature.name!r}: {source!r} of {of} is an id; declare it as a SparseFeat"
            )
        return side

    def _unknown(self, feature: Feature) -> str:
        names = [*self.user_ids, *self.data.users.frame.columns, *self.item_ids]
        names += [*self.data.items.frame.columns, *self.context, *CONTEXTS]
        names += [GEOHASH] if self.has_place else []
        close = difflib.get_close_matches(feature.source, names, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(names)}"
        side = f" on the {feature.side} side" if feature.side else ""
        return f"feature {feature.name!r}: no column {feature.source!r}{side}; {hint}"

    def _check_history(self, feature: Feature) -> None:
        assert isinstance(feature, VarLenSparseFeat)
        names = [b.name for b in self.data.behaviours]
        for behaviour in feature.history:
            if behaviour not in names:
                raise ConfigError(
                    f"feature {feature.name!r}: history of {behaviour!r}, but the behaviours are "
                    f"{', '.join(names)}"
                )
        column = self.item_column(feature)
        if column not in self.item_ids and column not in self.data.items.frame.columns:
            raise ConfigError(
                f"feature {feature.name!r}: the items have no column {column!r}; they have "
                f"{', '.join(['item_id', *self.data.items.frame.columns])}"
            )

    def training_values(self, feature: Feature) -> pl.Series | None:
        """The values on which a feature is fitted, or None where it shares another's table.

        Ids of users and items occur once per event, so that `min_count` counts events.
        """
        events = self.data.events
        if is_history(feature):
            if getattr(feature, "shares", None):
                return None
            return as_lists(feature, self._seen_ids(self.item_column(feature)))
        if self.sides[feature.name] is Side.CONTEXT:
            if feature.source in self.context:
                return self.context[feature.source].values
            if feature.source == GEOHASH:
                return cell_values(self.data, getattr(feature, "precision", None))
            return pl.Series(feature.source, np.arange(CONTEXTS[feature.source]))
        if self.sides[feature.name] is Side.USER:
            if feature.source in self.user_ids:
                return self.data.users.ids.gather(events.user[events.user >= 0])
            return self.data.users.frame[feature.source]
        return self._seen_ids(feature.source)

    def _seen_ids(self, column: str) -> pl.Series:
        """The item ids of the events, or a column of the items' table."""
        events = self.data.events
        if column in self.item_ids:
            return self.data.items.ids.gather(events.item[events.item >= 0])
        return self.data.items.frame[column]

    def row_values(self, feature: Feature) -> pl.Series:
        """The table's column, and a last null row for an unknown user or item."""
        is_user = not is_history(feature) and self.sides[feature.name] is Side.USER
        table = self.data.users if is_user else self.data.items
        column = self.item_column(feature) if is_history(feature) else feature.source
        ids = self.user_ids if is_user else self.item_ids
        values = table.ids if column in ids else table.frame[column]
        return pl.concat([values, pl.Series(values.name, [None], dtype=values.dtype)])

    def is_row_id(self, feature: Feature) -> bool:
        """Whether the feature is the id of the user or item itself.

        An unknown user or item is then "unseen" rather than missing.
        """
        column = self.item_column(feature) if is_history(feature) else feature.source
        return column in self.user_ids | self.item_ids


def id_columns(config: ProjectConfig | None) -> tuple[set[str], set[str]]:
    """Names by which features read the ids of the users, and those of the items."""
    users, items = {"user_id"}, {"item_id"}
    if config is not None:
        items.add(config.items.id)
        users.add(config.users.id if config.users else config.events.user)
    return users, items


def is_history(feature: Feature) -> bool:
    """Whether the feature's ids are those of the user's events."""
    return feature.kind == "varlen" and bool(feature.history)


def history_column(features: Mapping[str, Feature], feature: Feature) -> str:
    """The items' column that a history feature reads; a name that is no column means the id."""
    if feature.column is not None:
        return feature.column
    owner = features.get(getattr(feature, "shares", None) or "")
    return owner.source if owner is not None else "item_id"


def as_lists(feature: Feature, values: pl.Series) -> pl.Series:
    """Values as a VarLenSparseFeat reads them, of a column that may hold one id per row."""
    if isinstance(values.dtype, pl.List | pl.Array) or _splits(feature):
        return values
    return values.cast(pl.String).to_frame("v").select(pl.concat_list("v")).to_series()


def _splits(feature: Feature) -> bool:
    """Whether the feature splits texts."""
    return isinstance(feature, VarLenSparseFeat) and bool(feature.separator or feature.ngrams)
