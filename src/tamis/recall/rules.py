"""Rules: lists declared by conditions on the items' columns and statistics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field, field_validator

from tamis.cascade import FitContext, Queries, Recalled
from tamis.data import (
    Condition,
    Dataset,
    FilterExpression,
    Labels,
    item_condition,
    separators_of,
)
from tamis.recall._common.channel import BaseChannel, nothing
from tamis.recall._common.compiled_arguments import excluded
from tamis.recall._common.history_events import behaviour_mask, last_event
from tamis.recall._common.item_columns import (
    UNKNOWN_TIME,
    column_of,
    publication_times,
    role_of,
    times_of,
)
from tamis.recall._common.popularity import DAY_MS, log_popularity
from tamis.recall._common.postings import Postings, in_sorted
from tamis.runtime import in_blocks, scratch
from tamis.runtime.compiled import njit
from tamis.schema import ComponentConfig, ConfigError, suggest

_QUERIES_PER_BLOCK = 256
STATISTICS = ("popularity", "likes", "impressions", "like_rate")
"""Statistics of each item at the fit, which `where` and `sort` can name like a column."""


class Rule(ComponentConfig):
    """One list: its items, its users and its order."""

    name: str
    """Name of the rule, for messages."""
    where: tuple[Condition, ...] | str = ()
    """A condition on the items and their statistics, "price < 20 and not used", in the language of
    the page on conditions; or conditions that all must hold: [{column = "brand", op = "in",
    value = ["Acme"]}, …]. Empty: all items."""
    max_age: Annotated[float, Field(gt=0)] | None = None
    """Maximum days from `time_column` to the query's time. If omitted: items of any age."""
    time_column: str = ""
    """Column of the time for `max_age` (published, restocked …). Empty: the publication time that
    [items] declares."""
    same: str = ""
    """Column in which an item must have the value of the item of the user's last event; users
    without such an event get nothing from the rule. Empty: the same list for all users."""
    behaviours: tuple[str, ...] = ()
    """Behaviours of that last event. Empty: all positive ones."""
    sort: str = "popularity"
    """Column or statistic, and `asc` or `desc` (the default): "published desc", "price asc"."""
    limit: Annotated[int, Field(ge=1)] = 100
    """Maximum number of items returned by the rule."""

    @field_validator("where")
    @classmethod
    def _is_a_condition(cls, where: Any) -> Any:
        if isinstance(where, str) and where:
            FilterExpression.checked(where, ("item",))
        return where


class RulesConfig(ComponentConfig):
    """Options of the rules channel."""

    rule: tuple[Rule, ...] = ()
    """[[cascade.channels.rules.rule]]: name, where, max_age, time_column, same, behaviours, sort,
    limit. At least one is required; the items of the first rule come first."""
    separator: str = ""
    """Separator of text columns of `same` with several values. Empty: the one that [items] declares
    for its category."""
    half_life: Annotated[float, Field(gt=0)] = 30.0
    """Days after which an event counts half in the statistic `popularity`."""


class Rules(BaseChannel):
    """Lists by rules over the items' columns and statistics, one rule after the other.

    `score = 1 / rank` in the whole list. A rule is a conjunction of conditions, an age, and a value
    shared with the item of the user's last event: *new in your category* is `same = "category"`,
    `max_age = 14`, `sort = "published desc"`; *back in stock* is
    `where = [{column = "in_stock", op = "==", value = true}]`, `max_age = 7`,
    `time_column = "restocked"`; *same brand as the last purchase* is `same = "brand"`,
    `behaviours = ["purchase"]`. Statistics: popularity (time-decayed likes), likes, impressions,
    like_rate (likes ÷ impressions). Items without a value of `sort` rank last; items published at
    or after the query's time are not returned.

    When to use: for business requirements that cannot be learnt from a log: campaigns, items back
    in stock, new product lines.
    Cost: fit: one sort of the items per rule. Recall: reads the lists until k items are found.
    Memory: 12 bytes per rule, item and value of `same`.
    Source: rule-based recall; no paper.
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
        self._arrays["published"] = publication_times(self.name, data, context)
        frame = self._with_statistics(data)
        separators = separators_of(context.items, context.features, frame.columns)
        parts: list[tuple[NDArray[Any], ...]] = []
        before = 0
        for number, rule in enumerate(rules):
            items = self._items(rule, frame, separators)
            key = -self._places(rule, frame)
            lists, item, values = self._by_value(number, rule, data, context, items)
            parts.append((lists + before, item, key[item]))
            self._arrays[f"first{number}"] = np.array([before], np.int64)
            before += values
            if rule.max_age is not None:
                self._arrays[f"time{number}"] = self._times(rule, data, context)
            self._arrays[f"counted{number}"] = behaviour_mask(
                self._label(rule), data, rule.behaviours
            )
        lists, item, key = (np.concatenate(part) for part in zip(*parts, strict=True))
        self._arrays |= Postings.of(lists, item, key, before).arrays()
        return {"rules": [rule.name for rule in rules]}

    def _label(self, rule: Rule) -> str:
        """Channel and rule, for messages."""
        return f"{self.name}: rule {rule.name}"

    def _with_statistics(self, data: Dataset) -> pl.DataFrame:
        """The items' table with the statistics added, unless it has a column of the same name."""
        n, events, config = len(data.items), data.events, self.config
        likes = np.bincount(events.item[data.positive], minlength=n)
        shown = np.bincount(events.item[~data.seen], minlength=n)
        columns: dict[str, NDArray[Any]] = {
            "popularity": np.exp2(log_popularity(data, config.half_life)),
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

    def _items(
        self, rule: Rule, frame: pl.DataFrame, separators: Mapping[str, str]
    ) -> NDArray[np.intp]:
        """Item rows for which all conditions hold, ascending."""
        where, owner = rule.where, f"channel {self._label(rule)!r}"
        if isinstance(where, str):
            met = item_condition(where, frame, separators, owner) if where else True
            return np.flatnonzero(np.broadcast_to(met, frame.height))
        keep = np.ones(frame.height, np.bool_)
        for condition in where:
            keep &= condition.holds(frame, owner)
        return np.flatnonzero(keep)

    def _places(self, rule: Rule, frame: pl.DataFrame) -> NDArray[np.float64]:
        """(items,) each item's rank by `sort`, from 0; items without a value last."""
        name, _, way = rule.sort.strip().rpartition(" ")
        if way not in ("asc", "desc") or not name:
            name, way = rule.sort.strip(), "desc"
        if name not in frame.columns:
            raise ConfigError(
                f"channel {self._label(rule)!r}: sort = {rule.sort!r}: {name!r} is neither a "
                f"column of the items' table nor a statistic.{suggest(name, frame.columns)} "
                f"Use one of: {', '.join(frame.columns)}"
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
        """(list, item) pairs of the rule (n,) and the number of its lists: one, or one per value
        of `same`."""
        if not rule.same:
            return np.zeros(len(items), np.int64), items, 1
        column_of(self._label(rule), data.items, rule.same)
        split = self.config.separator
        if not split and context.items is not None and rule.same == context.items.category:
            split = context.items.category_separator or ""
        labels = Labels.of_items(data.items, rule.same, split or None)
        self._arrays[f"same{number}"] = labels.single()
        kept = np.isin(labels.row, items)
        return labels.code[kept].astype(np.int64), labels.row[kept], max(len(labels.names), 1)

    def _times(self, rule: Rule, data: Dataset, context: FitContext) -> NDArray[np.int64]:
        """(items,) ms of the rule's time column."""
        label = self._label(rule)
        how_to_fix = 'declare [items] published = "COLUMN", or set the rule\'s `time_column`'
        name = role_of(label, context.items, "published", rule.time_column, how_to_fix)
        declared = context.items.published if context.items else None
        return times_of(label, data.items, name, declared)

    def _recall(self, queries: Queries, k: int) -> Recalled:
        found = nothing(len(queries), k)
        arrays, count = self._arrays, np.zeros(len(queries), np.int64)
        for number, rule in enumerate(self.config.rule):
            lists = self._lists(number, rule, queries)
            times = _Times(
                published=arrays["published"],
                column=arrays.get(f"time{number}", np.zeros(0, np.int64)),
                max_age=0.0 if rule.max_age is None else rule.max_age * DAY_MS,
            )
            _append_all(self, lists, times, queries, rule.limit, count, found)
        return found

    def _lists(self, number: int, rule: Rule, queries: Queries) -> NDArray[np.int64]:
        """(Q,) the rule's posting list for each query; -1 if there is none."""
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
        """The item of the user's last event, for the first rule by whose `same` it shares a value
        with `item`."""
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


class _Times(NamedTuple):
    """What a rule requires of the items' times."""

    published: NDArray[np.int64]
    """(items,) publication time in ms, or (0,) if it is not declared."""
    column: NDArray[np.int64]
    """(items,) time of the rule's `time_column` in ms, or (0,) if it has no `max_age`."""
    max_age: float
    """ms"""


def _append_all(
    channel: Rules,
    lists: NDArray[np.int64],
    times: _Times,
    queries: Queries,
    limit: int,
    count: NDArray[np.int64],
    found: Recalled,
) -> None:
    """Appends items of each query's list (Q,) to those of earlier rules.

    count: (Q,) int64, items found so far, which it updates with `found`.
    """
    arrays = channel._arrays

    def block(begin: int, end: int) -> None:
        _append(
            begin=begin,
            end=end,
            indptr=arrays["posting_indptr"],
            item=arrays["posting_item"],
            lists=lists,
            times=times,
            request_time=queries.time,
            exclude=excluded(queries.exclude),
            limit=limit,
            taken=scratch("rules taken", channel._n_items, np.bool_),
            count=count,
            out_item=found.item,
            out_score=found.score,
        )

    in_blocks(block, len(queries), _QUERIES_PER_BLOCK)


@njit(cache=True, nogil=True)
def _append(
    begin, end, indptr, item, lists, times, request_time, exclude, limit, taken, count,
    out_item, out_score,
):  # fmt: skip
    """Queries [begin, end): appends at most `limit` items of the query's list to its output row.

    Args:
        indptr, item: CSR of the posting lists, int64 (L + 1,) and int32 (n,).
        lists: (Q,) int64 list of each query, -1 for none.
        times: _Times. request_time: (Q,) int64 ms. exclude: Excluded.
        taken: (items,) bool scratch, all False before and after.
        count: (Q,) int64, number of items in each output row, updated.
        out_item, out_score: (Q, k) int32 and float32.
    """
    published, time, age = times.published, times.column, times.max_age
    for q in range(begin, end):
        if lists[q] < 0:
            continue
        for place in range(count[q]):
            taken[out_item[q, place]] = True
        added = 0
        for at in range(indptr[lists[q]], indptr[lists[q] + 1]):
            if added == limit or count[q] == out_item.shape[1]:
                break
            i = item[at]
            now = request_time[q]
            if taken[i] or (len(published) and published[i] >= now):
                continue
            if len(time) and (time[i] == UNKNOWN_TIME or time[i] >= now or now - time[i] > age):
                continue
            if in_sorted(exclude.item, exclude.indptr[q], exclude.indptr[q + 1], i):
                continue
            out_item[q, count[q]] = i
            out_score[q, count[q]] = 1.0 / (count[q] + 1)
            count[q] += 1
            added += 1
        for place in range(count[q] - added):
            taken[out_item[q, place]] = False
