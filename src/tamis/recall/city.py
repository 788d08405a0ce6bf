"""City: the best of the place where one is."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tamis.cascade import FitContext, Queries, Recalled
from tamis.data import Dataset, Labels, bucketed, codes_of
from tamis.recall._common.channel import BaseChannel
from tamis.recall._common.popularity import (
    births,
    column_of,
    floored,
    last_event,
    log_worth,
    role_of,
)
from tamis.recall._common.postings import Chosen, Postings, walk
from tamis.schema import ComponentConfig


class CityConfig(ComponentConfig):
    """Options of the city channel."""

    column: str = ""
    """The items' column of the city; "" = the one that [items] declares."""
    separator: str = ""
    """Splits a text column of several cities ("Paris|Lyon"); "" = each text is one city."""
    user_column: str = ""
    """The users' column of the city; "" = the one that [users] declares, if any."""
    half_life: Annotated[float, Field(gt=0)] = 30.0
    """Days after which an event, or an item's birth, counts half; inf = all count alike."""
    newborn: Annotated[float, Field(ge=0)] = 1.0
    """What being published counts, in events of weight 1."""


class City(BaseChannel):
    """Items of the same city, best first.

    The city is the request's; where it names none, the user's; where that is not known either, the
    city of the item of the user's last positive event. `score(i) = newborn · 2^(-age / half_life) +
    Σ r · 2^(-(end - t) / half_life)`: time-decayed likes by anyone, birth counting like one of
    them; items without either come last. Capitals do not matter; users of no known city get
    nothing.

    When to use: local services, events, news, jobs, when cities are known and coordinates are not.
    Cost: fit one sort of the items; recall walks k items; memory 12 bytes an item and city.
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
        born = births(self.name, data, context)
        worth = floored(log_worth(data, self.config.half_life, born, self.config.newborn))
        postings = Postings.of(labels.code, labels.row, worth[labels.row], len(labels.names))
        self._arrays = {
            **postings.arrays(),
            "names": labels.names,
            "of_item": labels.single(),
            "of_user": self._of_users(data, context, labels.names),
            "born": born,
            "positive": np.array([b.positive for b in data.behaviours], dtype=np.bool_),
        }
        return {}

    def _of_users(
        self, data: Dataset, context: FitContext, names: NDArray[np.str_]
    ) -> NDArray[np.int32]:
        """(users,) the city of each, in the items' numbers; -1 = unknown."""
        column = self.config.user_column or (context.users.city if context.users else None)
        if not column:
            return np.full(len(data.users), -1, np.int32)
        theirs = bucketed(column_of(self.name, data.users, column), ())
        number = codes_of(names, theirs.names.tolist())
        return np.append(number, np.int32(-1))[theirs.single()]

    def _recall(self, queries: Queries, k: int) -> Recalled:
        city, _ = self._where(queries)
        postings = Postings.within(self._arrays)
        return walk(postings, Chosen.one(city), queries, k, self._n_items, self._arrays["born"])

    def because(self, queries: Queries, item: int) -> int | None:
        """The item of the user's last positive event, where the city is that one's."""
        source = int(self._where(queries)[1][0])
        return source if source >= 0 and source != item else None

    def _where(self, queries: Queries) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """(Q,) each query's city, -1 = unknown, and the item whose city it is (-1 = none)."""
        arrays, n = self._arrays, len(queries)
        said = [""] * n if queries.context is None else [c or "" for c in queries.context.city]
        city = codes_of(arrays["names"], said)
        open_ = np.array([not name for name in said], np.bool_)
        own = np.full(n, -1, np.int32)
        known = queries.user >= 0
        own[known] = arrays["of_user"][queries.user[known]]
        city = np.where(open_, own, city)
        open_ &= own < 0
        last = last_event(queries.history, arrays["positive"], self._n_items)
        source = np.full(n, -1, np.int64)
        old = open_ & (last >= 0)
        source[old] = queries.history.item[last[old]]
        city[old] = arrays["of_item"][source[old]]
        return city, source
