"""Rules: lists that an editor or a merchandiser declares."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import polars as pl
from numba import njit
from numpy.typing import NDArray
from pydantic import Field

from tamis.cascade import FitContext, Queries, Recalled
from tamis.data import Condition, Dataset, Labels
from tamis.recall._common.channel import BaseChannel, nothing
from tamis.recall._common.popularity import (
    ALWAYS,
    DAY_MS,
    behaviours_named,
    births,
    column_of,
    last_event,
    log_worth,
    role_of,
    times_of,
)
from tamis.recall._common.postings import Postings, listed
from tamis.runtime import in_blocks, scratch
from tamis.schema import ComponentConfig, ConfigError, suggest

_QUERIES_PER_BLOCK = 256
STATISTICS = ("popularity", "likes", "impressions", "like_rate")
"""Of each item at the fit; names for `where` and `sort` beside the columns of the items' table."""


class Rule(ComponentConfig):
    """One list: which items, for whom, in which order."""

    name: str
    """For messages."""
    where: tuple[Condition, ...] = ()
    """All must hold: [{column = "brand", op = "in", value = ["Acme"]}, …]."""
    max_age: Annotated[float, Field(gt=0)] | None = None
    """Only items whose `time_column` lies at most so many days before the query's time."""
    time_column: str = ""
    """Column of that time (published, restocked …); "" = the one of birth that [items] declares."""
    same: str = ""
    """Only items with the value that the item of the user's last event has in this column; users
    without such an event get nothing of the rule. "" = a list for everybody."""
    behaviours: tuple[str, ...] = ()
    """Behaviours of that last event; () = all positive ones."""
    sort: str = "popularity"
    """Column or statistic, and `asc` or `desc` (the default): "published desc", "price asc"."""
    limit: Annotated[int, Field(ge=1)] = 100
    """Most items the rule brings."""


class RulesConfig(ComponentConfig):
    """Options of the rules channel."""

    rule: tuple[Rule, ...] = ()
    """[[cascade.channels.rules.rule]]: name, where, max_age, time_column, same, behaviours, sort,
    limit; at least one. The first rule's items come first."""
    separator: str = ""
    """Splits text columns of `same` that hold several values; "" = as [items] declares."""
    half_life: Annotated[float, Field(gt=0)] = 30.0
    """Days after which an event counts half in the statistic `popularity`."""


class Rules(BaseChannel):
    """Lists by rule over the items' fields and statistics, one rule after the other.

    A rule is a conjunction of conditions, an age, and a value shared with the user's last item:
    *new in your category* is `same = "category"`, `max_age = 14`, `sort = "published desc"`; *back
    in stock* is `where = [{column = "in_stock", op = "==", value = true}]`, `max_age = 7`,
    `time_column = "restocked"`; *same brand as the last purchase* is `same = "brand"`, `behaviours
    = ["purchase"]`. Statistics: popularity (time-decayed likes), likes, impressions, like_rate
    (likes ÷ impressions). Items without a value of `sort` come last; items not yet published at the
    query's time never. `score = 1 / place` in the whole list.

    When to use: for what the business wants shown and the log cannot teach: campaigns, returns,
    new lines.
    Cost: fit one sort of the items per rule; recall walks the lists to k; memory 12 bytes per rule
    and item (and value).
    Source: rule-based recall; no model.
    """

    name = "rules"
    Config = RulesConfig
    config: RulesConfig

    def _fit(self, data: Dataset, context: FitContext) -> dict[str, Any]:
        rules = self.config.rule
        if not rules:
            raise ConfigError(
                f"channel {self.name!r} has no rule: add a [[cascade.channels.{self.name}.rule]], "
                f'like name = "new", max_age = 14, sort = "published desc"'
            )
        self._arrays["born"] = births(self.name, data, context)
        frame = self._with_statistics(data)
        parts: list[tuple[NDArray[Any], ...]] = []
        before = 0
        for number, rule in enumerate(rules):
            items = self._items(rule, frame)
            key = -self._places(rule, frame)
            lists, item, values = self._by_value(number, rule, data, context, items)
            parts.append((lists + before, item, key[item]))
            self._arrays[f"first{number}"] = np.array([before], np.int64)
            before += values
            if rule.max_age is not None:
                self._arrays[f"time{number}"] = self._times(rule, data, context)
            self._arrays[f"counted{number}"] = behaviours_named(
                self._asker(rule), data, rule.behaviours
            )
        lists, item, key = (np.concatenate(part) for part in zip(*parts, strict=True))
        self._arrays |= Postings.of(lists, item, key, before).arrays()
        return {"rules": [rule.name for rule in rules]}

    def _asker(self, rule: Rule) -> str:
        return f"{self.name}: rule {rule.name}"

    def _with_statistics(self, data: Dataset) -> pl.DataFrame:
        """The items' frame and, where it has no column of that name, the statistics."""
        n, events, config = len(data.items), data.events, self.config
        likes = np.bincount(events.item[data.positive], minlength=n)
        shown = np.bincount(events.item[~data.seen], minlength=n)
        columns: dict[str, NDArray[Any]] = {
            "popularity": np.exp2(log_worth(data, config.half_life)),
            "likes": likes,
            "impressions": shown,
            "like_rate": likes / np.maximum(shown, 1),
        }
        table = data.items.frame
        if not table.width:
            table = pl.DataFrame({"popularity": columns["popularity"]})
        return table.with_columns(
            pl.Series(name, values)
            for name, values in columns.items()
            if name not in data.items.frame.columns
        )

    def _items(self, rule: Rule, frame: pl.DataFrame) -> NDArray[np.intp]:
        """Rows for which all conditions hold."""
        keep = np.ones(frame.height, np.bool_)
        for condition in rule.where:
            keep &= condition.holds(frame, f"channel {self._asker(rule)!r}")
        return np.flatnonzero(keep)

    def _places(self, rule: Rule, frame: pl.DataFrame) -> NDArray[np.float64]:
        """(items,) each item's place by `sort`; those without a value last."""
        name, _, way = rule.sort.strip().rpartition(" ")
        if way not in ("asc", "desc") or not name:
            name, way = rule.sort.strip(), "desc"
        if name not in frame.columns:
            raise ConfigError(
                f"channel {self._asker(rule)!r}: sort = {rule.sort!r}: {name!r} is neither a "
                f"column of the items' table nor a statistic.{suggest(name, frame.columns)} "
                f"There are: {', '.join(frame.columns)}"
            )
        column = frame[name]
        if column.dtype.is_float():
            column = column.fill_nan(None)
        order = column.arg_sort(descending=way == "desc", nulls_last=True).to_numpy()
        place = np.empty(len(order))
        place[order] = np.arange(len(order))
        return place

    def _by_value(
        self, number: int, rule: Rule, data: Dataset, context: FitContext, items: NDArray[np.intp]
    ) -> tuple[NDArray[Any], NDArray[Any], int]:
        """(list, item) pairs of the rule and how many lists: one, or one per value of `same`."""
        if not rule.same:
            return np.zeros(len(items), np.int64), items, 1
        column_of(self._asker(rule), data.items, rule.same)
        split = self.config.separator
        if not split and context.items is not None and rule.same == context.items.category:
            split = context.items.category_separator or ""
        labels = Labels.of_items(data.items, rule.same, split or None)
        self._arrays[f"same{number}"] = labels.single()
        kept = np.isin(labels.row, items)
        return labels.code[kept].astype(np.int64), labels.row[kept], max(len(labels.names), 1)

    def _times(self, rule: Rule, data: Dataset, context: FitContext) -> NDArray[np.int64]:
        asker = self._asker(rule)
        cure = 'declare [items] published = "COLUMN", or set the rule\'s `time_column`'
        name = role_of(asker, context.items, "published", rule.time_column, cure)
        declared = context.items.published if context.items else None
        return times_of(asker, data.items, name, declared)

    def _recall(self, queries: Queries, k: int) -> Recalled:
        found = nothing(len(queries), k)
        arrays, count = self._arrays, np.zeros(len(queries), np.int64)
        for number, rule in enumerate(self.config.rule):
            lists = self._lists(number, rule, queries)
            time = arrays.get(f"time{number}", np.zeros(0, np.int64))
            age = 0.0 if rule.max_age is None else rule.max_age * DAY_MS
            _take_all(self, lists, (arrays["born"], time, age), queries, rule.limit, count, found)
        return found

    def _lists(self, number: int, rule: Rule, queries: Queries) -> NDArray[np.int64]:
        """(Q,) the posting list of a rule for each query, -1 = none."""
        arrays = self._arrays
        first = int(arrays[f"first{number}"][0])
        if not rule.same:
            return np.full(len(queries), first, np.int64)
        last = last_event(queries.history, arrays[f"counted{number}"], self._n_items)
        lists = np.full(len(queries), -1, np.int64)
        some = last >= 0
        lists[some] = arrays[f"same{number}"][queries.history.item[last[some]]]
        return np.where(lists >= 0, lists + first, -1)

    def because(self, queries: Queries, item: int) -> int | None:
        """The item of the last event whose value the item shares, of the first such rule."""
        for number, rule in enumerate(self.config.rule):
            at = int(self._lists(number, rule, queries)[0])
            indptr = self._arrays["posting_indptr"]
            if rule.same and at >= 0:
                members = self._arrays["posting_item"][indptr[at] : indptr[at + 1]]
                counted = self._arrays[f"counted{number}"]
                source = int(last_event(queries.history, counted, self._n_items)[0])
                past = int(queries.history.item[source])
                if past != item and (members == item).any():
                    return past
        return None


def _take_all(
    channel: Rules,
    lists: NDArray[np.int64],
    times: tuple[NDArray[np.int64], NDArray[np.int64], float],
    queries: Queries,
    limit: int,
    count: NDArray[np.int64],
    found: Recalled,
) -> None:
    """Appends each query's next items of its list to what earlier rules found."""
    arrays = channel._arrays

    def block(begin: int, end: int) -> None:
        _take(
            (begin, end),
            (arrays["posting_indptr"], arrays["posting_item"], lists),
            times,
            queries.time,
            (queries.exclude.indptr, queries.exclude.values),
            limit,
            scratch("rules taken", channel._n_items, np.bool_),
            count,
            found.item,
            found.score,
        )

    in_blocks(block, len(queries), _QUERIES_PER_BLOCK)


@njit(cache=True, nogil=True)
def _take(span, postings, times, asked, exclude, limit, taken, count, out_item, out_score):
    indptr, item, lists = postings
    born, time, age = times
    for q in range(span[0], span[1]):
        if lists[q] < 0:
            continue
        for place in range(count[q]):
            taken[out_item[q, place]] = True
        brought = 0
        for at in range(indptr[lists[q]], indptr[lists[q] + 1]):
            if brought == limit or count[q] == out_item.shape[1]:
                break
            i = item[at]
            if taken[i] or (len(born) and born[i] >= asked[q]):
                continue
            if len(time) and (time[i] == ALWAYS or time[i] >= asked[q] or asked[q] - time[i] > age):
                continue
            if listed(exclude[1], exclude[0][q], exclude[0][q + 1], i):
                continue
            out_item[q, count[q]] = i
            out_score[q, count[q]] = 1.0 / (count[q] + 1)
            count[q] += 1
            brought += 1
        for place in range(count[q] - brought):
            taken[out_item[q, place]] = False
