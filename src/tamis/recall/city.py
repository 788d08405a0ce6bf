"""City: the most popular items of a city."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from tamis.cascade import FitContext, Queries, Recalled
from tamis.data import Dataset, Labels, Table, bucketed, codes_in, codes_of, with_names
from tamis.recall._common.following import FollowingChannel
from tamis.recall._common.history_events import last_event
from tamis.recall._common.item_columns import (
    column_of,
    publication_column,
    publication_of,
    role_of,
)
from tamis.recall._common.item_popularity import ItemPopularity
from tamis.recall._common.postings import ListSelection, Postings, best_of_lists
from tamis.runtime import Int32, grown
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


class City(FollowingChannel):
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
        c = self.config
        reading = {
            "column": role_of(self.name, context.items, "city", c.column),
            "user_column": c.user_column or (context.users.city if context.users else None),
            "published": publication_column(context),
        }
        theirs = self._cities_of_users(data.users, reading)
        labels, _ = self._cities(data.items, reading).among(theirs.names)
        published = publication_of(self.name, data.items, reading["published"])
        popularity = ItemPopularity.fit(data, published, c.half_life, c.new_item_weight)
        key, n = popularity.keys()[labels.row], len(labels.names)
        self._arrays = {
            **Postings.of(labels.code, labels.row, key, n).arrays(),
            **popularity.arrays(),
            "names": labels.names,
            "of_item": labels.single(),
            "of_user": codes_in(labels.names, theirs),
            "positive": np.array([b.positive for b in data.behaviours], dtype=np.bool_),
        }
        return {"reading": reading, **popularity.facts()}

    def _cities(self, items: Table, reading: dict[str, Any]) -> Labels:
        """The cities of items."""
        column_of(self.name, items, reading["column"])
        return Labels.of_items(items, reading["column"], self.config.separator or None)

    def _cities_of_users(self, users: Table, reading: dict[str, Any]) -> Labels:
        """The city of users; none where no column is declared."""
        if not reading["user_column"]:
            return Labels.of(pl.Series([[]] * len(users), dtype=pl.List(pl.String)))
        return bucketed(column_of(self.name, users, reading["user_column"]), ())

    def _of_items(self, items: Table, rows: Int32) -> dict[str, NDArray[Any]] | None:
        reading, c = self._reading, self.config
        if reading is None:
            return None
        part, arrays = items.part(rows), self._arrays
        popularity = ItemPopularity.within(
            arrays, self._facts or {}, c.half_life, c.new_item_weight
        )
        published = publication_of(self.name, part, reading["published"])
        popularity = popularity.replaced(rows, published, len(items))
        labels = self._cities(part, reading)
        common = self._with_names(labels.names)
        postings = Postings.within(common)
        code = codes_of(common["names"], labels.names.tolist())[labels.code]
        row = rows[labels.row]
        postings = postings.replaced(rows, code, row, popularity.keys(row))
        of_item = grown(common["of_item"], len(items), -1)
        of_item[rows] = codes_in(common["names"], labels)
        return common | postings.arrays() | popularity.arrays() | {"of_item": of_item}

    def _of_users(self, users: Table, rows: Int32) -> dict[str, NDArray[Any]] | None:
        reading = self._reading
        if reading is None:
            return None
        theirs = self._cities_of_users(users.part(rows), reading)
        common = self._with_names(theirs.names)
        of_user = grown(common["of_user"], len(users), -1)
        of_user[rows] = codes_in(common["names"], theirs)
        return common | {"of_user": of_user}

    def _with_names(self, names: NDArray[np.str_]) -> dict[str, NDArray[Any]]:
        """The arrays that number the cities, with further cities `names` (m,)."""
        arrays = self._arrays
        every, number = with_names(arrays["names"], names)
        if len(every) == len(number):
            return {k: arrays[k] for k in (*Postings.names(), "names", "of_item", "of_user")}
        postings = Postings.within(arrays).renumbered(number, len(every))
        number = np.append(number, np.int32(-1))
        of_item, of_user = (number[arrays[name]] for name in ("of_item", "of_user"))
        return {**postings.arrays(), "names": every, "of_item": of_item, "of_user": of_user}

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
        known = (queries.user >= 0) & (queries.user < len(arrays["of_user"]))
        own[known] = arrays["of_user"][queries.user[known]]
        sizes = np.append(np.diff(arrays["posting_indptr"]), 0)
        own[sizes[own] == 0] = -1  # no item is in the user's city
        city = np.where(missing, own, city)
        missing &= own < 0
        last = last_event(queries.history, arrays["positive"], self._n_items)
        source = np.full(n, -1, np.int64)
        from_history = missing & (last >= 0)
        source[from_history] = queries.history.item[last[from_history]]
        city[from_history] = arrays["of_item"][source[from_history]]
        return city, source
