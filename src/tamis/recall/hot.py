"""Hot: what most people liked lately. The answer for strangers, and the bar for the others."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tamis.cascade import FitContext, Queries, Recalled
from tamis.data import Dataset, Labels, bucketed, codes_of, spread
from tamis.recall._common.channel import BaseChannel, need_positives
from tamis.recall._common.interactions import interest_of_behaviour
from tamis.recall._common.popularity import (
    column_of,
    counted_events,
    liked,
    log_sums,
    log_worth,
    role_of,
)
from tamis.recall._common.postings import Chosen, Postings, walk
from tamis.schema import ComponentConfig


class HotConfig(ComponentConfig):
    """Options of the hot channel."""

    half_life: Annotated[float, Field(gt=0)] = 30.0
    """Days after which an event counts half; inf = every event counts alike."""
    by: Literal["", "category", "city", "audience"] = ""
    """"" = one list for all; else a list per category of the items (the query gets those that the
    user has liked, by their share), per city or per audience bucket: what users of the same city,
    or with the same value of a users' `column`, like."""
    column: str = ""
    """With `by`: the column of the category (items), the city or the bucket (users); "" = the one
    that [items] or [users] declares; a bucket has to be named."""
    separator: str = ""
    """Splits a text column of several categories ("Action|Comedy"); "" = as [items] declares."""
    boundaries: tuple[float, ...] = ()
    """Ascending numbers that cut a numeric column into bands (ages: [18, 25, 35, 50])."""
    fall_back: bool = False
    """Users of no known category, city or bucket get the list for all; otherwise nothing."""


class Hot(BaseChannel):
    """Time-decayed popularity: `score(i) = Σ r · 2^(-(end - t) / half_life)`.

    The sum is over the positive events of i (by city and audience: of the group's users); `end` is
    the data's end, r the behaviour's weight. By category, an item's score is multiplied by the
    share of the user's interest that lies in the category (an item of several counts where it is
    best). The request's own city goes before the user's. Items without a positive event are not
    returned; excluded items are walked past, so a list is short only when the catalogue (or the
    group) is.

    When to use: always, as the fallback for strangers; by category, city or audience where tastes
    differ between them and histories are short.
    Cost: fit one pass over the events; recall walks k items, microseconds; memory 12 bytes an item
    and group it is liked in.
    Source: time-decayed counts; the baseline "decay popularity" in Ji et al. 2020, A Re-visit of
    the Popularity Baseline in Recommender Systems.
    """

    name = "hot"
    Config = HotConfig
    config: HotConfig

    def __init__(self, config: Any = None, **options: Any) -> None:
        super().__init__(config, **options)
        if self.config.by == "city":
            self.reads = ("city",)

    def _fit(self, data: Dataset, context: FitContext) -> dict[str, Any]:
        need_positives(data, self.name)
        pair_list, pair_item, key, lists = self._grouped(data, context)
        overall = log_worth(data, self.config.half_life)
        hot = np.flatnonzero(np.isfinite(overall))
        postings = Postings.of(
            np.concatenate([pair_list, np.full(len(hot), lists)]),
            np.concatenate([pair_item, hot]),
            np.concatenate([key, overall[hot]]),
            lists + 1,
        )
        self._arrays |= postings.arrays()
        self._arrays["interest"] = interest_of_behaviour(data.behaviours)
        return {"end": data.end, "lists": lists}

    def _grouped(
        self, data: Dataset, context: FitContext
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float64], int]:
        """(list, item, key) of every group's items and the number of groups."""
        if self.config.by == "":
            none = np.zeros(0, np.int64)
            return none, none, np.zeros(0), 0
        if self.config.by == "category":
            return self._by_category(data, context)
        return self._by_users(data, context)

    def _by_category(self, data: Dataset, context: FitContext) -> Any:
        column = role_of(self.name, context.items, "category", self.config.column)
        column_of(self.name, data.items, column)
        declared = context.items.category_separator if context.items else None
        labels = Labels.of_items(data.items, column, self.config.separator or declared)
        overall = log_worth(data, self.config.half_life)[labels.row]
        self._arrays |= {"label_indptr": labels.indptr, "label": labels.code}
        hot = np.isfinite(overall)
        return labels.code[hot], labels.row[hot], overall[hot], len(labels.names)

    def _by_users(self, data: Dataset, context: FitContext) -> Any:
        if self.config.by == "city":
            cure = 'declare [users] city = "COLUMN", or set the channel\'s `column`'
        else:
            cure = 'set `column` to the users\' column of the bucket, like column = "gender"'
        table = context.users if self.config.by == "city" else None
        column = role_of(self.name, table, self.config.by, self.config.column, cure)
        labels = bucketed(column_of(self.name, data.users, column), self.config.boundaries)
        group = labels.single()
        self._arrays |= {"group": group, "names": labels.names}
        item, value, age = liked(data)
        of_event = group[data.events.user[data.positive]]
        known = of_event >= 0
        pairs, at = np.unique(
            of_event[known].astype(np.int64) * len(data.items) + item[known], return_inverse=True
        )
        halvings = age[known] / self.config.half_life
        key = log_sums(at.astype(np.int32), value[known], halvings, len(pairs))
        hot = np.isfinite(key)
        lists, item = np.divmod(pairs[hot], len(data.items))
        return lists, item, key[hot], len(labels.names)

    def _recall(self, queries: Queries, k: int) -> Recalled:
        chosen = self._chosen(queries)
        overall = int((self._facts or {})["lists"])
        if self.config.by == "" or self.config.fall_back:
            chosen = chosen.otherwise(overall)
        return walk(Postings.within(self._arrays), chosen, queries, k, self._n_items)

    def _chosen(self, queries: Queries) -> Chosen:
        if self.config.by == "":
            return Chosen.one(np.full(len(queries), -1))
        if self.config.by == "category":
            return self._liked_categories(queries)
        user = queries.user
        group = np.full(len(queries), -1, np.int32)
        group[user >= 0] = self._arrays["group"][user[user >= 0]]
        if self.config.by == "city" and queries.context is not None:
            said = [city or "" for city in queries.context.city]
            here = codes_of(self._arrays["names"], said)
            # a city that is named but unknown is still another city than the user's own
            group = np.where(np.array([bool(city) for city in said]), here, group)
        return Chosen.one(group)

    def _liked_categories(self, queries: Queries) -> Chosen:
        """Each liked category with its share of the user's interest."""
        interest, history = self._arrays["interest"], queries.history
        query, at = counted_events(history, interest > 0, self._n_items)
        indptr = self._arrays["label_indptr"]
        owner, label = spread(indptr, self._arrays["label"], history.item[at])
        value = interest[history.behaviour[at]] / np.maximum(np.diff(indptr)[history.item[at]], 1)
        total = np.bincount(query[owner], weights=value[owner], minlength=len(queries))
        share = value[owner] / total[query[owner]]
        return Chosen.summed(query[owner], label, share, len(queries))

    def because(self, queries: Queries, item: int) -> int | None:
        """By category: the last liked item that shares a category; None of the other lists."""
        if self.config.by != "category":
            return None
        indptr, label = self._arrays["label_indptr"], self._arrays["label"]
        history = queries.history
        _, at = counted_events(history, self._arrays["interest"] > 0, self._n_items)
        owner, theirs = spread(indptr, label, history.item[at])
        shared = np.isin(theirs, label[indptr[item] : indptr[item + 1]])
        past = history.item[at[owner[shared]]]
        past = past[past != item]
        return int(past[-1]) if len(past) else None
