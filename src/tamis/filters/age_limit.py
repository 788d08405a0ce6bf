"""Removes items that the user is too young for."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tamis.cascade import Candidates, FitContext, Queries
from tamis.data import Dataset, Table
from tamis.filters._base import BaseFilter, numbers_of, rows_of_users, with_rows
from tamis.runtime import Bool, Int32
from tamis.schema import ComponentConfig


class AgeLimitConfig(ComponentConfig):
    """Options of the age limit filter."""

    column: str = "min_age"
    """Items' column of the minimum age in years; items without one have no limit."""
    user_column: str = "age"
    """Users' column of the age in years (of an age band: its lower end)."""
    unknown_age: Annotated[float, Field(ge=0)] = 0
    """Age in years assumed for users of unknown age and unknown users; 0 removes every item with a
    limit."""
    reason: str = "age limit"
    """The reason that the trace gives for a removed item."""


class AgeLimitFilter(BaseFilter):
    """Removes items whose minimum age is above the user's age.

    When to use: catalogues with adult items, or where law sets a minimum age.
    Cost: one comparison per candidate.
    Source: common practice.
    """

    name = "age_limit"
    Config = AgeLimitConfig
    config: AgeLimitConfig

    def _read(self, data: Dataset, context: FitContext) -> dict[str, NDArray[Any]]:
        del context
        return {"least": self._least(data.items), "age": self._ages(data.users)}

    def _least(self, items: Table) -> NDArray[np.float64]:
        """(items,) minimum age in years; -inf for items without a limit."""
        least = numbers_of(items, self.config.column, self.name)
        return np.where(np.isnan(least), -np.inf, least)

    def _ages(self, users: Table) -> NDArray[np.float64]:
        """(users,) age in years."""
        age = numbers_of(users, self.config.user_column, self.name, "user_column")
        return np.where(np.isnan(age), self.config.unknown_age, age)

    def update_items(self, items: Table, rows: Int32) -> None:
        """Takes up new and changed items, see `FollowsItems`."""
        least = with_rows(self.arrays["least"], rows, self._least(items.part(rows)), len(items))
        self._arrays = self.arrays | {"least": least}

    def update_users(self, users: Table, rows: Int32) -> None:
        """Takes up new and changed users, see `FollowsUsers`."""
        age = with_rows(self.arrays["age"], rows, self._ages(users.part(rows)), len(users))
        self._arrays = self.arrays | {"age": age}

    def keep(self, queries: Queries, candidates: Candidates) -> Bool:
        """(n,) True where the user is old enough for the candidate."""
        least, ages = self.arrays["least"], self.arrays["age"]
        self._check_items(candidates, len(least))
        age = np.full(len(queries), self.config.unknown_age)
        known, users = rows_of_users(queries, len(ages))
        age[known] = ages[users]
        return least[candidates.item] <= age[candidates.query]
