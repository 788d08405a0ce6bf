"""Removes items that may not be shown in the user's region."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tamis.cascade import Candidates, FitContext, Queries
from tamis.data import Dataset, Labels, Table, bucketed, codes_in, spread
from tamis.filters._base import BaseFilter, column_of, rows_of_users, with_rows
from tamis.runtime import Bool, Int32
from tamis.schema import ComponentConfig


class RegionConfig(ComponentConfig):
    """Options of the region filter."""

    column: str = "regions"
    """Items' column of the regions where an item may be shown: a list, or text with `separator`.
    An item without regions may be shown everywhere."""
    separator: str = "|"
    """Splits a text column ("FR|BE")."""
    user_column: str = "region"
    """Users' column of the region that the user is in."""
    unknown: Literal["keep", "remove"] = "remove"
    """What happens to restricted items for users whose region is unknown."""
    reason: str = "not in the user's region"
    """The reason that the trace gives for a removed item."""


class RegionFilter(BaseFilter):
    """Removes items whose allowed regions do not include the user's. Case does not matter.

    When to use: rights or delivery depend on the region of the user.
    Cost: grows with the number of regions per candidate.
    Source: common practice.
    """

    name = "region"
    Config = RegionConfig
    config: RegionConfig

    def _read(self, data: Dataset, context: FitContext) -> dict[str, NDArray[Any]]:
        del context
        theirs = self._regions(data.users)
        allowed, _ = self._allowed(data.items).among(theirs.names)
        return {**allowed.arrays("region"), "of_user": codes_in(allowed.names, theirs)}

    def _allowed(self, items: Table) -> Labels:
        """The regions where items may be shown."""
        column_of(items, self.config.column, self.name)
        return Labels.of_items(items, self.config.column, self.config.separator or None)

    def _regions(self, users: Table) -> Labels:
        """The region of users."""
        return bucketed(column_of(users, self.config.user_column, self.name, "user_column"), ())

    def update_items(self, items: Table, rows: Int32) -> None:
        """Takes up new and changed items, see `FollowsItems`."""
        if self._can_follow("names"):
            labels = Labels.within(self.arrays, "region")
            new, number = labels.replaced(rows, self._allowed(items.part(rows)), len(items))
            self._renumber(new, number)

    def update_users(self, users: Table, rows: Int32) -> None:
        """Takes up new and changed users, see `FollowsUsers`."""
        if self._can_follow("names"):
            theirs = self._regions(users.part(rows))
            new, number = Labels.within(self.arrays, "region").among(theirs.names)
            self._renumber(new, number)
            home = with_rows(self.arrays["of_user"], rows, codes_in(new.names, theirs), len(users))
            self._arrays = self.arrays | {"of_user": home}

    def _renumber(self, labels: Labels, number: Int32) -> None:
        """Takes over labels, and their new codes for the users: number (former codes,)."""
        home = np.append(number, np.int32(-1))[self.arrays["of_user"]]
        self._arrays = self.arrays | labels.arrays("region") | {"of_user": home}

    def keep(self, queries: Queries, candidates: Candidates) -> Bool:
        """(n,) True where the candidate may be shown in its user's region."""
        arrays = self.arrays
        indptr = arrays["indptr"]
        self._check_items(candidates, len(indptr) - 1)
        home = np.full(len(queries), -1, np.int32)
        known, users = rows_of_users(queries, len(arrays["of_user"]))
        home[known] = arrays["of_user"][users]
        mine = home[candidates.query]
        keep = np.diff(indptr)[candidates.item] == 0
        place, region = spread(indptr, arrays["region"], candidates.item)
        keep[place[region == mine[place]]] = True
        if self.config.unknown == "keep":
            keep |= mine == -1
        return keep
