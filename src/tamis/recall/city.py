"""City: the most popular items of a city."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tamis.cascade import FitContext, Queries, Recalled
from tamis.data import Dataset, Labels, bucketed, codes_of
from tamis.recall._common.channel import BaseChannel
from tamis.recall._common.history_events import last_event
from tamis.recall._common.item_columns import column_of, publication_times, role_of
from tamis.recall._common.popularity import log_popularity, missing_last
from tamis.recall._common.postings import ListSelection, Postings, best_of_lists
from tamis.schema import ComponentConfig


class CityConfig(ComponentConfig):
    """Options of the city channel."""

    column: str = ""
    """The items' column of the city. Empty: the one that [items] declares."""
    separator: str = ""
    """Separator of a text column with several cities ("Paris|Lyon"). Empty: each text is one city.
    """
    user_column: str = ""
    """The users' column of the city. Empty: the one that [users] declares, if any."""
    half_life: Annotated[float, Field(gt=0)] = 30.0
    """Days after which an event, or an item's publication, counts half; inf: all count the same."""
    new_item_weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight of an item's publication, in events of weight 1; 0: publication does not count."""


class City(BaseChannel):
    """Items of the same city, by time-decayed popularity.

    `score(i) = new_item_weight · 2^(-age / half_life) + Σ r · 2^(-(end - t) / half_life)`: the sum
    is over the likes of all users, as in `hot`; age is the item's age in days at the end of the
    log; items without likes and publication time rank last. The city is that of the request; if it
    names none, that of the user; if that is unknown, that of the item of the user's last positive
    event. Upper and lower case are not distinguished; without a known city, nothing is returned.

    When to use: local services, events, news and jobs, if cities are known and coordinates are not.
    Cost: fit: one sort of the items. Recall: reads about k items. Memory: 12 bytes per item and
    city.
    Source: list recall by an attribute; time-decayed counts as in `hot`.
    """

    name = "city"
    Config = CityConfig
    config: CityConfig
    reads = ("city",)

    def _fit(self, data: Dataset, context: FitContext) -> dict[str, Any]:
        column = role_of(self.name, context.items, "city", self.config.column)
        column_of(self.name, data.items, column)
        labels = Labels.of_items(data.items, column, self.config.separator or None)
        published = publication_times(self.name, data, context)
        popularity = missing_last(
            log_popularity(data, self.config.half_life, published, self.config.new_item_weight)
        )
        postings = Postings.of(labels.code, labels.row, popularity[labels.row], len(labels.names))
        self._arrays = {
            **postings.arrays(),
            "names": labels.names,
            "of_item": labels.single(),
            "of_user": self._of_users(data, context, labels.names),
            "published": published,
            "positive": np.array([b.positive for b in data.behaviours], dtype=np.bool_),
        }
        return {}

    def _of_users(
        self, data: Dataset, context: FitContext, names: NDArray[np.str_]
    ) -> NDArray[np.int32]:
        """(users,) each user's city by its number among `names`; -1 if unknown."""
        column = self.config.user_column or (context.users.city if context.users else None)
        if not column:
            return np.full(len(data.users), -1, np.int32)
        theirs = bucketed(column_of(self.name, data.users, column), ())
        number = codes_of(names, theirs.names.tolist())
        return np.append(number, np.int32(-1))[theirs.single()]

    def _recall(self, queries: Queries, k: int) -> Recalled:
        city, _ = self._where(queries)
        postings = Postings.within(self._arrays)
        return best_of_lists(
            postings, ListSelection.one(city), queries, k, self._n_items, self._arrays["published"]
        )

    def because(self, queries: Queries, item: int) -> int | None:
        """The item of the user's last positive event, if the city was taken from it."""
        source = int(self._where(queries)[1][0])
        return source if source >= 0 and source != item else None

    def _where(self, queries: Queries) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """(Q,) each query's city (-1 if unknown), and the item it was taken from (-1 if none)."""
        arrays, n = self._arrays, len(queries)
        given = [""] * n if queries.context is None else [c or "" for c in queries.context.city]
        city = codes_of(arrays["names"], given)
        missing = np.array([not name for name in given], np.bool_)
        own = np.full(n, -1, np.int32)
        known = queries.user >= 0
        own[known] = arrays["of_user"][queries.user[known]]
        city = np.where(missing, own, city)
        missing &= own < 0
        last = last_event(queries.history, arrays["positive"], self._n_items)
        source = np.full(n, -1, np.int64)
        from_history = missing & (last >= 0)
        source[from_history] = queries.history.item[last[from_history]]
        city[from_history] = arrays["of_item"][source[from_history]]
        return city, source
