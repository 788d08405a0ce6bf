"""Chooses the attributes whose statistics are inputs: as declared, or by the tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import polars as pl

from tamis.data import Dataset, is_number
from tamis.features._groups import Groups, Reading
from tamis.features.encoders import numbers
from tamis.features.encoding import Encoders
from tamis.features.group_names import USER, group_name
from tamis.features.group_statistics import GroupPlan
from tamis.features.pair_statistics import PairPlan
from tamis.features.vocabulary import FIRST
from tamis.schema import ConfigError, DenseFeat, Feature, ProjectConfig, Side, SparseFeat

FEW = 10
"""Most values of an attribute of the users that "auto" counts by."""
MOST = 32
"""Most values of any attribute of the users: each item has counters for each value."""
AUTO_USERS = 3
"""Most attributes of the users that "auto" counts by."""
BANDS = 5
"""Bands of equal numbers of users that a column of numbers is divided into."""
_LEAST_ITEMS = 2.0
"""Items per value on average from which on "auto" counts by an attribute of the items: below, its
statistics repeat those of the items."""


class StatisticsPlan(NamedTuple):
    """The attributes by which events are counted."""

    groups: Sequence[GroupPlan] = ()
    pairs: Sequence[PairPlan] = ()


def plan_groups(
    data: Dataset,
    encoders: Encoders,
    config: ProjectConfig | None,
    groups: Sequence[str] | Literal["auto"] | None,
) -> StatisticsPlan:
    """The attributes that `groups`, or else `config`, declares or leaves to be chosen.

    Raises ConfigError for a column that the tables do not have, or one of the users that has
    several values per user or more than MOST.
    """
    if groups is None:
        groups = config.groups if config is not None else ()
    choice = _Choice(data, encoders, config)
    if groups == "auto":
        return choice.auto()
    plan = [choice.declared(name) for name in dict.fromkeys(groups)]
    return StatisticsPlan(
        [p for p in plan if isinstance(p, GroupPlan)], [p for p in plan if isinstance(p, PairPlan)]
    )


class _Choice:
    """The tables and features among which attributes are chosen."""

    def __init__(self, data: Dataset, encoders: Encoders, config: ProjectConfig | None) -> None:
        self.data = data
        self.items = data.items
        self.users = data.users
        self.encoders = encoders
        self.config = config

    def auto(self) -> StatisticsPlan:
        """Author and category of the items, the user's own events by category, and the first
        attributes of the users with few values."""
        declared = self.config.items if self.config is not None else None
        columns = [declared.author, declared.category] if declared is not None else []
        found = [c for c in dict.fromkeys(columns) if c is not None and c in self.items.frame]
        groups = [p for p in (self._group(c) for c in found) if _repeats(p.groups)]
        own = [p.groups for p in groups if declared and p.groups.name == declared.category]
        pairs = [PairPlan("user", g) for g in self._audiences()] + [PairPlan("own", g) for g in own]
        return StatisticsPlan(groups, pairs)

    def declared(self, name: str) -> GroupPlan | PairPlan:
        """One name of `groups`."""
        kind, column = group_name(self.data, name)
        if kind == "item":
            return self._group(column)
        if kind == "own":
            return PairPlan("own", self._group(column).groups)
        return PairPlan("user", self._audience(name, column))

    def _group(self, column: str) -> GroupPlan:
        reading = Reading(self._separator(column))
        lists = reading.lists(self.items, column)
        author = self.config is not None and column == self.config.items.author
        return GroupPlan(Groups.of(column, lists, reading), author)

    def _separator(self, column: str) -> str | None:
        """The separator of a column of the items, as the items or a feature declare it."""
        declared = self.config.items if self.config is not None else None
        if declared is not None and column == declared.category and declared.category_separator:
            return declared.category_separator
        return getattr(self._feature(column, Side.ITEM), "separator", None)

    def _feature(self, column: str, side: Side) -> Feature | None:
        """The declared feature of a column of one side's table."""
        found = (f for f in self.encoders.features if f.source == column)
        return next((f for f in found if f.side in (None, side)), None)

    def _audiences(self) -> list[Groups]:
        """The first attributes of the users that are ids of few values."""
        found: list[Groups] = []
        for feature in self.encoders.features:
            column = feature.source
            of_user = feature.side in (None, Side.USER) and column in self.users.frame.columns
            if not isinstance(feature, SparseFeat) or not of_user or len(found) == AUTO_USERS:
                continue
            if 2 <= self.users.frame[column].drop_nulls().n_unique() <= FEW:
                found.append(self._audience(f"{USER}{column}", column))
        return found

    def _audience(self, name: str, column: str) -> Groups:
        """An attribute of the users: its values, or bands of its numbers."""
        values, feature = self.users.frame[column], self._feature(column, Side.USER)
        if isinstance(values.dtype, pl.List | pl.Array) or getattr(feature, "separator", None):
            raise ConfigError(
                f"groups: {name!r} has several values per user; name a column with one value"
            )
        many = is_number(values.dtype) and values.drop_nulls().n_unique() > MOST
        if isinstance(feature, DenseFeat) and self.encoders.is_id(feature):
            reading = Reading(boundaries=self.encoders.boundaries(feature), first=FIRST)
        elif isinstance(feature, DenseFeat) or (feature is None and many):
            reading = _bands(values)
        else:
            reading = Reading()
        groups = Groups.of(column, reading.lists(self.users, column), reading)
        if groups.size > MOST:
            raise ConfigError(
                f"groups: {name!r} has {groups.size} values, at most {MOST} are counted; name a "
                "column with fewer values, or a dense feature, of which bands are counted"
            )
        return groups


def _repeats(groups: Groups) -> bool:
    """Whether an attribute has several values, most of them on several items."""
    valued = int((groups.sets[:-1] < len(groups) - 1).sum())
    return groups.size > 1 and valued >= _LEAST_ITEMS * groups.size


def _bands(values: pl.Series) -> Reading:
    """BANDS bands of equal numbers of users."""
    number = numbers(values)[:, 0].astype(np.float64)
    known = number[np.isfinite(number)]
    if not len(known):
        return Reading(boundaries=())
    return Reading(boundaries=tuple(np.quantile(known, np.arange(1, BANDS) / BANDS).tolist()))
