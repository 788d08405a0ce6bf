"""Chooses the attributes whose statistics are inputs: as declared, or by the tables."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Literal

from tamis.data import Dataset, item_categories
from tamis.features._groups import Groups
from tamis.features.group_statistics import GroupPlan
from tamis.schema import ConfigError, Feature, ProjectConfig, Side

_LEAST_ITEMS = 2.0
"""Items per value on average from which on "auto" counts by an attribute of the items: below, its
statistics repeat those of the items."""


def plan_groups(
    data: Dataset,
    features: Sequence[Feature],
    config: ProjectConfig | None,
    groups: Sequence[str] | Literal["auto"] | None,
) -> list[GroupPlan]:
    """The attributes that `groups`, or else `config`, declares or leaves to be chosen.

    Raises ConfigError for a column that the items do not have.
    """
    if groups is None:
        groups = config.groups if config is not None else ()
    if groups != "auto":
        return [_plan(data, features, config, name) for name in groups]
    columns = [config.items.author, config.items.category] if config is not None else []
    found = [c for c in columns if c is not None and c in data.items.frame.columns]
    plans = [_plan(data, features, config, name) for name in dict.fromkeys(found)]
    return [p for p in plans if _repeats(p.groups)]


def _repeats(groups: Groups) -> bool:
    """Whether an attribute has several values, most of them on several items."""
    valued = int((groups.sets[:-1] < len(groups) - 1).sum())
    return groups.size > 1 and valued >= _LEAST_ITEMS * groups.size


def _plan(
    data: Dataset, features: Sequence[Feature], config: ProjectConfig | None, name: str
) -> GroupPlan:
    columns = data.items.frame.columns
    if name not in columns:
        close = difflib.get_close_matches(name, columns, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"they have {', '.join(columns) or '-'}"
        raise ConfigError(f"groups: the items have no column {name!r}; {hint}")
    lists = item_categories(data.items, name, _separator(features, config, name))
    author = config is not None and name == config.items.author
    return GroupPlan(Groups.of(name, lists), author)


def _separator(
    features: Sequence[Feature], config: ProjectConfig | None, column: str
) -> str | None:
    """The separator of a column of the items, as the items or a feature declare it."""
    if config is not None and column == config.items.category and config.items.category_separator:
        return config.items.category_separator
    of_items = (f for f in features if f.source == column and f.side is not Side.USER)
    return next((s for f in of_items if (s := getattr(f, "separator", None))), None)
