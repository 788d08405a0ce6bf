"""Hot: time-decayed popularity, over all users or within a category, city or group."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tamis.cascade import FitContext, Queries, Recalled
from tamis.data import (
    Dataset,
    Events,
    Labels,
    Table,
    bucketed,
    codes_in,
    codes_of,
    spread,
    with_names,
)
from tamis.recall._common.channel import need_positives
from tamis.recall._common.following import FollowingChannel
from tamis.recall._common.history_events import counted_events
from tamis.recall._common.interactions import declared_interest
from tamis.recall._common.item_columns import column_of, role_of
from tamis.recall._common.live_postings import LivePostings
from tamis.recall._common.popularity import DAY_MS, liked_events, log_decayed_sums, log_popularity
from tamis.recall._common.postings import ListSelection, Postings, best_of_lists
from tamis.runtime import Int32, grown
from tamis.schema import ComponentConfig, Conditions, Needs


class HotConfig(ComponentConfig):
    """Options of the hot channel."""

    only_with: ClassVar[Conditions] = {
        "column": (Needs("by", none_of=("",)),),
        "separator": (Needs("by", ("category",)),),
        "boundaries": (Needs("by", none_of=("", "city")),),
        "fall_back": (Needs("by", none_of=("",)),),
    }

    half_life: Annotated[float, Field(gt=0)] = 30.0
    """Days after which an event counts half; inf: all events count the same."""
    by: Literal["", "category", "city", "audience"] = ""
    """Grouping of the lists. Empty: one list for all users. category: one list per category of the
    items; a user gets the categories of the items he liked, weighted by their share. city: one list
    per city, of what users of that city like. audience: one list per value of the users' `column`.
    """
    column: str = ""
    """With `by`: the column of the category (items), of the city or of the audience (users). Empty:
    the column that [items] or [users] declares; an audience column must be named."""
    separator: str = ""
    """Separator of a text column with several categories ("Action|Comedy"). Empty: the one that
    [items] declares."""
    boundaries: tuple[float, ...] = ()
    """Ascending numbers that divide a numeric column into bands (ages: [18, 25, 35, 50])."""
    fall_back: bool = False
    """Whether users without a known category, city or audience get the list for all users; if
    false, they get nothing."""


class Hot(FollowingChannel):
    """Time-decayed popularity: `score(i) = Σ r · 2^(-(end - t) / half_life)`.

    The sum is over the likes of item i (by city and audience: of the group's users): the events of
    positive behaviours, and of others that declare a weight above 0. `end` is the end of the log, t
    the event's time in days, r the behaviour's weight. By category,
    the score is multiplied by the category's share of the user's interest; an item of several
    categories counts once, with its largest score. The city of the request takes precedence over
    that of the user. Items without a like are not returned. Excluded items are skipped,
    so a list has fewer than k items only if the catalogue (or the group) has.

    While a version serves, likes count as they come, in the lists that the item and the user are in
    at that moment; those of a user who is deleted stay, without the user.

    When to use: always, as the fallback for cold-start users; by category, city or audience if
    tastes differ between them and histories are short.
    Cost: fit: one pass over the events. Recall: reads about k items, microseconds. A like: one
    look at the entries, 1 ms with a million. Memory: 12 bytes per item and group in which it is
    liked.
    Source: time-decayed counts; the baseline "decay popularity" in Ji et al. 2020, A Re-visit of
    the Popularity Baseline in Recommender Systems.
    """

    name = "hot"
    Config = HotConfig
    config: HotConfig

    def __init__(self, config: Any = None, **options: Any) -> None:
        super().__init__(config, **options)
        self._read: dict[str, Any] = {}
        self._live: LivePostings | None = None
        """What likes since the version have changed; None: nothing."""
        if self.config.by == "city":
            self.reads = ("city",)

    def _fit(self, data: Dataset, context: FitContext) -> dict[str, Any]:
        need_positives(data, self.name)
        self._live = None
        pair_list, pair_item, key, lists = self._grouped(data, context)
        overall = log_popularity(data, self.config.half_life)
        hot = np.flatnonzero(np.isfinite(overall))
        postings = Postings.of(
            np.concatenate([pair_list, np.full(len(hot), lists)]),
            np.concatenate([pair_item, hot]),
            np.concatenate([key, overall[hot]]),
            lists + 1,
        )
        self._arrays |= postings.arrays()
        self._arrays["interest"] = declared_interest(data.behaviours)
        return {"end": data.end, "lists": lists, "reading": self._read}

    def _grouped(
        self, data: Dataset, context: FitContext
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float64], int]:
        """(list, item, key) of each group's items, (n,) each, and the number of groups."""
        if self.config.by == "":
            none = np.zeros(0, np.int64)
            return none, none, np.zeros(0), 0
        if self.config.by == "category":
            return self._by_category(data, context)
        return self._by_users(data, context)

    def _by_category(self, data: Dataset, context: FitContext) -> Any:
        """(list, item, key) of the items by category, and the number of categories."""
        column = role_of(self.name, context.items, "category", self.config.column)
        column_of(self.name, data.items, column)
        declared = context.items.category_separator if context.items else None
        separator = self.config.separator or declared
        self._read = {"column": column, "separator": separator}
        labels = Labels.of_items(data.items, column, separator)
        likes = log_popularity(data, self.config.half_life)
        self._arrays |= {
            "label_indptr": labels.indptr,
            "label": labels.code,
            "names": labels.names,
            "likes": likes,
        }
        overall = likes[labels.row]
        hot = np.isfinite(overall)
        return labels.code[hot], labels.row[hot], overall[hot], len(labels.names)

    def _by_users(self, data: Dataset, context: FitContext) -> Any:
        """(list, item, key) of the items by the city or audience of the users who like them."""
        if self.config.by == "city":
            how_to_fix = 'declare [users] city = "COLUMN", or set the channel\'s `column`'
        else:
            how_to_fix = 'set `column` to a column of the users, like column = "gender"'
        table = context.users if self.config.by == "city" else None
        column = role_of(self.name, table, self.config.by, self.config.column, how_to_fix)
        self._read = {"column": column}
        labels = self._groups(data.users, column)
        group = labels.single()
        self._arrays |= {"group": group, "names": labels.names}
        user, item, value, age = liked_events(data)
        of_event = group[user]
        known = of_event >= 0
        pairs, at = np.unique(
            of_event[known].astype(np.int64) * len(data.items) + item[known], return_inverse=True
        )
        halvings = age[known] / self.config.half_life
        key = log_decayed_sums(at.astype(np.int32), value[known], halvings, len(pairs))
        hot = np.isfinite(key)
        lists, item = np.divmod(pairs[hot], len(data.items))
        return lists, item, key[hot], len(labels.names)

    def _groups(self, users: Table, column: str) -> Labels:
        """The city or audience of users."""
        return bucketed(column_of(self.name, users, column), self.config.boundaries)

    def _of_items(self, items: Table, rows: Int32) -> dict[str, NDArray[Any]] | None:
        """New items have no like and are not in a list; those of a history lead to their
        category."""
        reading = self._reading if self.config.by == "category" else None
        if reading is None:
            return None
        arrays, part = self._arrays, items.part(rows)
        changed = Labels.of_items(part, reading["column"], reading["separator"])
        before = Labels(arrays["names"], arrays["label_indptr"], arrays["label"])
        labels, number = before.replaced(rows, changed, len(items))
        likes, overall = grown(arrays["likes"], len(items), -np.inf), len(labels.names)
        code = codes_of(labels.names, changed.names.tolist())[changed.code]
        lists = np.concatenate([code, np.full(len(rows), overall)])
        row = np.concatenate([rows[changed.row], rows])
        liked = np.isfinite(likes[row])
        postings = self._with_lists(number, overall)
        postings = postings.replaced(rows, lists[liked], row[liked], likes[row[liked]])
        if self._live is not None:
            key = self._live.keys(row, overall)
            moved = np.isfinite(key)
            self._live = self._live.replaced(rows, lists[moved], row[moved], key[moved])
        self._facts = {**(self._facts or {}), "lists": overall}
        return {
            **postings.arrays(),
            "label_indptr": labels.indptr,
            "label": labels.code,
            "names": labels.names,
            "likes": likes,
        }

    def _of_users(self, users: Table, rows: Int32) -> dict[str, NDArray[Any]] | None:
        reading = self._reading if self.config.by in ("city", "audience") else None
        if reading is None:
            return None
        theirs = self._groups(users.part(rows), reading["column"])
        names, number = with_names(self._arrays["names"], theirs.names)
        group = np.append(number, np.int32(-1))[self._arrays["group"]]
        group = grown(group, len(users), -1)
        group[rows] = codes_in(names, theirs)
        postings = self._with_lists(number, len(names))
        self._facts = {**(self._facts or {}), "lists": len(names)}
        return {**postings.arrays(), "group": group, "names": names}

    def _with_lists(self, number: Int32, n: int) -> Postings:
        """The lists of n groups, group g of the former ones being number[g], and of all users."""
        number = np.append(number, np.int32(n))
        if self._live is not None:
            self._live = self._live.renumbered(number, n + 1)
        return Postings.within(self._arrays).renumbered(number, n + 1)

    def count_events(self, events: Events) -> None:
        """Counts likes as they come, see `CountsEvents`."""
        facts, worth = self._facts or {}, self._arrays["interest"][events.behaviour]
        liked = np.flatnonzero(worth > 0)
        if not len(liked):
            return
        at, lists = self._lists_of(events.take(liked))
        halvings = (events.time[liked] - facts["end"]) / DAY_MS / self.config.half_life
        key = np.log2(worth[liked].astype(np.float64)) + halvings
        live = self._live or LivePostings.empty(int(facts["lists"]) + 1)
        self._live = live.with_likes(
            Postings.within(self._arrays), lists, events.item[liked][at], key[at]
        )

    def _lists_of(self, likes: Events) -> tuple[NDArray[Any], NDArray[Any]]:
        """The lists in which likes count, as pairs of a like's position and a list; the list for
        all users last."""
        n, overall = len(likes), int((self._facts or {})["lists"])
        at, lists = np.zeros(0, np.int64), np.zeros(0, np.int64)
        if self.config.by == "category":
            indptr = self._arrays["label_indptr"]
            known = np.flatnonzero(likes.item < len(indptr) - 1)
            which, lists = spread(indptr, self._arrays["label"], likes.item[known])
            at = known[which]
        elif self.config.by:
            group = self._arrays["group"]
            at = np.flatnonzero(likes.user < len(group))
            at = at[group[likes.user[at]] >= 0]
            lists = group[likes.user[at]]
        return np.append(at, np.arange(n)), np.append(lists, np.full(n, overall))

    def appended(self) -> dict[str, NDArray[Any]]:
        """The entries that likes have changed, and the names of their lists."""
        if self._live is None:
            return {}
        names = {"names": self._arrays["names"]} if self.config.by else {}
        return names | self._live.arrays()

    def restore(self, appended: Mapping[str, NDArray[Any]]) -> None:
        """Takes the entries that `appended` returned."""
        self._live = None
        if not appended:
            return
        live = LivePostings.of(appended)
        if self.config.by:  # a name that nobody has any more keeps its list
            self._add_names(appended["names"])
            names = self._arrays["names"]
            number = np.append(np.searchsorted(names, appended["names"]), len(names))
            live = live.renumbered(number, len(names) + 1)
        self._live = live

    def _add_names(self, more: NDArray[np.str_]) -> None:
        """Empty lists of the names that are not there yet."""
        names, number = with_names(self._arrays["names"], more)
        of = "label" if self.config.by == "category" else "group"
        code = np.append(number, np.int32(-1))[self._arrays[of]]
        lists = self._with_lists(number, len(names)).arrays()
        self._replace({**lists, "names": names, of: code}, lists=len(names))

    def _recall(self, queries: Queries, k: int) -> Recalled:
        chosen = self._chosen(queries)
        overall = int((self._facts or {})["lists"])
        if self.config.by == "" or self.config.fall_back:
            chosen = chosen.otherwise(overall)
        postings, live = Postings.within(self._arrays), self._live
        if live is None:
            return best_of_lists(postings, chosen, queries, k, self._n_items)
        items = max(self._n_items, len(live.moved))
        return best_of_lists(postings, chosen, queries, k, items, live=live.compiled())

    def _chosen(self, queries: Queries) -> ListSelection:
        """The lists of each query; none if its category, city or audience is unknown."""
        if self.config.by == "":
            return ListSelection.one(np.full(len(queries), -1))
        if self.config.by == "category":
            return self._liked_categories(queries)
        group = np.full(len(queries), -1, np.int32)
        known = (queries.user >= 0) & (queries.user < len(self._arrays["group"]))
        group[known] = self._arrays["group"][queries.user[known]]
        if self.config.by == "city" and queries.context is not None:
            given = [city or "" for city in queries.context.city]
            here = codes_of(self._arrays["names"], given)
            # an unknown city in the request still means that the user is not in his own city
            group = np.where(np.array([bool(city) for city in given]), here, group)
        return ListSelection.one(group)

    def _liked_categories(self, queries: Queries) -> ListSelection:
        """Each query's liked categories, weighted by their share of the user's interest."""
        interest, history = self._arrays["interest"], queries.history
        query, at = counted_events(history, interest > 0, self._n_items)
        indptr = self._arrays["label_indptr"]
        owner, label = spread(indptr, self._arrays["label"], history.item[at])
        value = interest[history.behaviour[at]] / np.maximum(np.diff(indptr)[history.item[at]], 1)
        total = np.bincount(query[owner], weights=value[owner], minlength=len(queries))
        share = value[owner] / total[query[owner]]
        return ListSelection.summed(query[owner], label, share, len(queries))

    def because(self, queries: Queries, item: int) -> int | None:
        """By category: the last liked item that shares a category with `item`; otherwise None."""
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
