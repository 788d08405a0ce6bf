"""Demographic: popular items among users with the same attributes."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from tamis.cascade import FitContext, Queries, Recalled
from tamis.data import Dataset, Labels, Table, bucketed, codes_in
from tamis.recall._common.channel import need_positives
from tamis.recall._common.following import FollowingChannel
from tamis.recall._common.item_columns import column_of
from tamis.recall._common.popularity import liked_events, log_decayed_sums
from tamis.recall._common.postings import ListSelection, Postings, best_of_lists
from tamis.runtime import Int32, grown
from tamis.schema import ComponentConfig, ConfigError

_MOST_VALUES = 100
"""A column with more distinct values is used only if `columns` names it."""


class DemographicConfig(ComponentConfig):
    """Options of the demographic channel."""

    columns: tuple[str, ...] = ()
    """Columns of the users, the most informative first: if too few users share the values of all
    columns, the last one is dropped, and so on. Empty: all columns with 2 to 100 distinct values,
    those with the fewest first."""
    boundaries: dict[str, tuple[float, ...]] = Field(default={})
    """Ascending numbers that divide a numeric column into bands: {age = [18, 25, 35, 50]}."""
    min_users: Annotated[int, Field(ge=1)] = 30
    """Minimum number of users with a like in a group."""
    half_life: Annotated[float, Field(gt=0)] = 90.0
    """Days after which an event counts half; inf: all events count the same."""


class Demographic(FollowingChannel):
    """Popular items among the users with the same values of `columns`.

    `score(i) = Σ r · 2^(-(end - t) / half_life)` over the likes of the group's users, as in `hot`.
    If a group has fewer than `min_users` users, the group without the last column is used instead,
    and so on. Users whose value of the first column is shared by too few others get nothing;
    neither do unknown users.

    When to use: for registered users with a short history or none.
    Cost: fit: one pass over the events per column. Recall: reads about k items. Memory: 12 bytes
    per group and item liked in it.
    Source: Pazzani 1999, A Framework for Collaborative, Content-Based and Demographic Filtering.
    """

    name = "demographic"
    Config = DemographicConfig
    config: DemographicConfig

    def _fit(self, data: Dataset, context: FitContext) -> dict[str, Any]:
        need_positives(data, self.name)
        columns = self.config.columns or _guessed(self.name, data.users)
        bands = self.config.boundaries
        for name in set(bands) - set(columns):
            raise ConfigError(
                f"channel {self.name!r}: boundaries names {name!r}, which is not one of its "
                f"columns ({', '.join(columns)}); add it to `columns`"
            )
        user, item, value, age = liked_events(data)
        active = np.bincount(user, minlength=len(data.users)) > 0
        steps, group = dict[str, NDArray[Any]](), np.zeros(len(data.users), np.int64)
        of_user = np.full(len(data.users), -1, np.int32)
        before, parts = 0, list[tuple[NDArray[Any], ...]]()
        for step, name in enumerate(columns):
            labels = self._values(data.users, name)
            keys, group = _finer(group, labels.single(), len(labels.names))
            big = _big(group, active, self.config.min_users)
            number = np.where(group >= 0, big[group], -1)
            mine = number[user] >= 0
            pairs, at = np.unique(
                number[user[mine]] * len(data.items) + item[mine], return_inverse=True
            )
            halvings = age[mine] / self.config.half_life
            key = log_decayed_sums(at.astype(np.int32), value[mine], halvings, len(pairs))
            lists, items = np.divmod(pairs, max(len(data.items), 1))
            parts.append((lists + before, items, key))
            of_user = np.where(number >= 0, number + before, of_user).astype(np.int32)
            steps[f"names{step}"], steps[f"keys{step}"] = labels.names, keys
            steps[f"lists{step}"] = np.where(big >= 0, big + before, -1).astype(np.int32)
            before += int(big.max(initial=-1)) + 1
        lists, items, key = (np.concatenate(part) for part in zip(*parts, strict=True))
        real = np.isfinite(key)
        postings = Postings.of(lists[real], items[real], key[real], before)
        self._arrays = {**postings.arrays(), "of_user": of_user, **steps}
        return {"columns": list(columns), "groups": before, "reading": {"columns": list(columns)}}

    def _values(self, users: Table, name: str) -> Labels:
        """The values of users in a column."""
        column = column_of(self.name, users, name)
        return bucketed(column, self.config.boundaries.get(name, ()))

    def _of_users(self, users: Table, rows: Int32) -> dict[str, NDArray[Any]] | None:
        reading, arrays = self._reading, self._arrays
        if reading is None:
            return None
        part, group = users.part(rows), np.zeros(len(rows), np.int64)
        found = np.full(len(rows), -1, np.int32)
        for step, name in enumerate(reading["columns"]):
            names, keys = arrays[f"names{step}"], arrays[f"keys{step}"]
            code = codes_in(names, self._values(part, name))
            both = np.where((group >= 0) & (code >= 0), group * max(len(names), 1) + code, -1)
            at = np.minimum(np.searchsorted(keys, both), max(len(keys) - 1, 0))
            group = np.where(keys[at] == both, at, -1) if len(keys) else np.full(len(rows), -1)
            lists = np.append(arrays[f"lists{step}"], np.int32(-1))[group]
            found = np.where(lists >= 0, lists, found).astype(np.int32)
        of_user = grown(arrays["of_user"], len(users), -1)
        of_user[rows] = found
        return {"of_user": of_user}

    def _recall(self, queries: Queries, k: int) -> Recalled:
        group = np.full(len(queries), -1, np.int32)
        known = (queries.user >= 0) & (queries.user < len(self._arrays["of_user"]))
        group[known] = self._arrays["of_user"][queries.user[known]]
        postings = Postings.within(self._arrays)
        return best_of_lists(postings, ListSelection.one(group), queries, k, self._n_items)


def _guessed(channel: str, users: Table) -> tuple[str, ...]:
    """Columns with 2 to 100 distinct values, those with the fewest first."""
    plain = [
        column
        for column in users.frame
        if column.dtype.is_integer() or column.dtype in (pl.String, pl.Boolean, pl.Categorical)
    ]
    counts = {column.name: column.drop_nulls().n_unique() for column in plain}
    fit = [name for name, count in counts.items() if 2 <= count <= _MOST_VALUES]
    if not fit:
        raise ConfigError(
            f"channel {channel!r}: no users' column has 2 to {_MOST_VALUES} values "
            f"(columns: {', '.join(users.frame.columns) or 'none'}); name them in `columns`, with "
            f"`boundaries` for numbers, or leave the channel out"
        )
    return tuple(sorted(fit, key=lambda name: counts[name]))


def _finer(
    group: NDArray[np.int64], code: NDArray[np.int32], values: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Groups split by one more column: the keys (groups,) of the new ones, `group · values + code`,
    ascending, and (users,) the number of each user's key; -1 if any value is missing."""
    both = np.where((group >= 0) & (code >= 0), group * max(values, 1) + code, -1)
    names, number = np.unique(both, return_inverse=True)
    if len(names) and names[0] == -1:
        return names[1:], number - 1
    return names, number


def _big(group: NDArray[np.int64], active: NDArray[np.bool_], least: int) -> NDArray[np.int64]:
    """(groups,) each group's number among those with at least `least` active users, or -1."""
    sizes = np.bincount(group[active & (group >= 0)], minlength=int(group.max(initial=-1)) + 1)
    enough = sizes >= least
    return np.where(enough, np.cumsum(enough) - 1, -1)
