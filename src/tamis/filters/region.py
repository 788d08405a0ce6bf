"""Removes items that may not be shown in the user's region."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tamis.cascade import Candidates, FitContext, Queries
from tamis.data import Dataset, Labels, bucketed, codes_of, spread
from tamis.filters._base import BaseFilter, column_of
from tamis.runtime import Bool
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
        column_of(data.items, self.config.column, self.name)
        allowed = Labels.of_items(data.items, self.config.column, self.config.separator or None)
        users = column_of(data.users, self.config.user_column, self.name, "user_column")
        theirs = bucketed(users, ())
        # -2: a known region that no item names, so no restricted item may be shown there
        number = codes_of(allowed.names, theirs.names.tolist())
        number = np.append(np.where(number < 0, -2, number), -1).astype(np.int32)
        return {
            "indptr": allowed.indptr,
            "region": allowed.code,
            "of_user": number[theirs.single()],
        }

    def keep(self, queries: Queries, candidates: Candidates) -> Bool:
        """(n,) True where the candidate may be shown in its user's region."""
        arrays = self.arrays
        indptr = arrays["indptr"]
        self._check_items(candidates, len(indptr) - 1)
        home = np.full(len(queries), -1, np.int32)
        known = queries.user >= 0
        home[known] = arrays["of_user"][queries.user[known]]
        mine = home[candidates.query]
        keep = np.diff(indptr)[candidates.item] == 0
        place, region = spread(indptr, arrays["region"], candidates.item)
        keep[place[region == mine[place]]] = True
        if self.config.unknown == "keep":
            keep |= mine == -1
        return keep
