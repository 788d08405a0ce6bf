"""Rules: lists declared by conditions on the items' columns and statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    Table,
    codes_in,
    item_condition,
    number_array,
    separators_of,
    with_names,
)
from tamis.recall._common.channel import nothing
from tamis.recall._common.compiled_arguments import excluded
from tamis.recall._common.following import FollowingChannel
from tamis.recall._common.history_events import behaviour_mask, last_event
from tamis.recall._common.item_columns import (
    UNKNOWN_TIME,
    column_of,
    publication_column,
    publication_of,
    role_of,
    times_of,
)
from tamis.recall._common.popularity import DAY_MS, log_popularity
from tamis.recall._common.postings import Postings, in_sorted
from tamis.runtime import Int32, grown, in_blocks, scratch
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


class Rules(FollowingChannel):
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
        statistics = self._statistics(data)
        frame = _with_columns(data.items.frame, statistics, len(data.items))
        reading = {
            "published": publication_column(context),
            "separators": dict(separators_of(context.items, context.features, frame.columns)),
            "same": [self._same_separator(rule, context) for rule in rules],
            "times": [self._time_column(rule, context) for rule in rules],
        }
        published = publication_of(self.name, data.items, reading["published"])
        self._arrays = {"published": published}
        self._arrays |= {f"statistic_{name}": values for name, values in statistics.items()}
        for number, rule in enumerate(rules):
            self._arrays[f"counted{number}"] = behaviour_mask(
                self._label(rule), data, rule.behaviours
            )
        read = self._read(data.items, frame, reading)
        firsts = np.cumsum([0, *(found.lists for found in read)])
        parts = [(r.posting + first, r.item, r.key) for r, first in zip(read, firsts, strict=False)]
        lists, item, key = (np.concatenate(part) for part in zip(*parts, strict=True))
        self._arrays |= Postings.of(lists, item, key, int(firsts[-1])).arrays()
        for number, found in enumerate(read):
            self._arrays |= found.arrays(number, int(firsts[number]))
        return {"rules": [rule.name for rule in rules], "reading": reading}

    def _read(
        self, items: Table, frame: pl.DataFrame, reading: Mapping[str, Any]
    ) -> list[_RuleItems]:
        """What each rule reads of items, whose table with the statistics is `frame`."""
        found: list[_RuleItems] = []
        for number, rule in enumerate(self.config.rule):
            met = self._met(rule, frame, reading["separators"])
            key = self._keys(rule, frame)
            declared, column = reading["published"], reading["times"][number]
            time = None
            if column is not None:
                time = times_of(self._label(rule), items, column, declared)
            if not rule.same:
                found.append(_RuleItems(np.zeros(len(met), np.int64), met, key[met], 1, None, time))
                continue
            column_of(self._label(rule), items, rule.same)
            labels = Labels.of_items(items, rule.same, reading["same"][number])
            kept = np.isin(labels.row, met)
            item = labels.row[kept]
            lists = max(len(labels.names), 1)
            found.append(
                _RuleItems(labels.code[kept].astype(np.int64), item, key[item], lists, labels, time)
            )
        return found

    def _of_items(self, items: Table, rows: Int32) -> dict[str, NDArray[Any]] | None:
        reading, arrays = self._reading, self._arrays
        if reading is None:
            return None
        n = len(items)
        if any(_is_text(items.schema, rule) for rule in self.config.rule):
            rows = np.arange(n, dtype=np.int32)  # the place of a text is that among all
        names = [name for name in STATISTICS if f"statistic_{name}" in arrays]
        statistics = {name: grown(arrays[f"statistic_{name}"], n, 0) for name in names}
        part = items.part(rows)
        frame = _with_columns(
            part.frame, {name: values[rows] for name, values in statistics.items()}, len(rows)
        )
        published = arrays["published"]
        if len(published):
            published = grown(published, n, UNKNOWN_TIME)
            published[rows] = publication_of(self.name, part, reading["published"])
        out = {f"statistic_{name}": values for name, values in statistics.items()}
        out["published"] = published
        return out | self._lists_with(self._read(part, frame, reading), items, rows)

    def _lists_with(
        self, read: Sequence[_RuleItems], items: Table, rows: Int32
    ) -> dict[str, NDArray[Any]]:
        """The lists after the items `rows` (m,) were added or changed, of which `read` is read."""
        arrays, out, before = self._arrays, dict[str, NDArray[Any]](), 0
        numbers, triples = list[NDArray[Any]](), list[tuple[NDArray[Any], ...]]()
        for number, found in enumerate(read):
            former, lists = arrays.get(f"names{number}"), found.posting
            if found.labels is None or former is None:
                numbers.append(np.array([before]))
                count = 1
            else:
                every, new = with_names(former, found.labels.names)
                theirs = np.searchsorted(every, found.labels.names)
                lists, count = theirs[lists] if len(theirs) else lists, max(len(every), 1)
                numbers.append((new if len(former) else np.zeros(1, np.int32)) + before)
                same = np.append(new, np.int32(-1))[arrays[f"same{number}"]]
                same = grown(same, len(items), -1)
                same[rows] = codes_in(every, found.labels)
                out |= {f"names{number}": every, f"same{number}": same}
            triples.append((lists + before, rows[found.item], found.key))
            out[f"first{number}"] = np.array([before], np.int64)
            if found.time is not None:
                time = grown(arrays[f"time{number}"], len(items), UNKNOWN_TIME)
                time[rows] = found.time
                out[f"time{number}"] = time
            before += count
        lists, item, key = (np.concatenate(part) for part in zip(*triples, strict=True))
        postings = Postings.within(arrays).renumbered(np.concatenate(numbers), before)
        return out | postings.replaced(rows, lists, item, key).arrays()

    def _label(self, rule: Rule) -> str:
        """Channel and rule, for messages."""
        return f"{self.name}: rule {rule.name}"

    def _statistics(self, data: Dataset) -> dict[str, NDArray[Any]]:
        """(items,) each of `STATISTICS`, unless the items' table has a column of the same name."""
        n, events, config = len(data.items), data.events, self.config
        likes = np.bincount(events.item[data.positive], minlength=n)
        shown = np.bincount(events.item[~data.seen], minlength=n)
        columns: dict[str, NDArray[Any]] = {
            "popularity": np.exp2(log_popularity(data, config.half_life)),
            "likes": likes,
            "impressions": shown,
            "like_rate": likes / np.maximum(shown, 1),
        }
        known = data.items.frame.columns
        return {name: values for name, values in columns.items() if name not in known}

    def _met(
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

    def _keys(self, rule: Rule, frame: pl.DataFrame) -> NDArray[np.float64]:
        """(items,) the order of `sort`, the largest first; -inf for items without a value."""
        name, _, way = rule.sort.strip().rpartition(" ")
        if way not in ("asc", "desc") or not name:
            name, way = rule.sort.strip(), "desc"
        if name not in frame.columns:
            raise ConfigError(
                f"channel {self._label(rule)!r}: sort = {rule.sort!r}: {name!r} is neither a "
                f"column of the items' table nor a statistic.{suggest(name, frame.columns)} "
                f"Use one of: {', '.join(frame.columns)}"
            )
        values = _sortable(frame[name])
        return np.where(np.isnan(values), -np.inf, values if way == "desc" else -values)

    def _same_separator(self, rule: Rule, context: FitContext) -> str | None:
        """Separator of the texts of the rule's `same`; None: each text is one value."""
        split = self.config.separator
        if not split and context.items is not None and rule.same == context.items.category:
            split = context.items.category_separator or ""
        return split or None

    def _time_column(self, rule: Rule, context: FitContext) -> str | None:
        """The column of the rule's `max_age`; None if it has none."""
        if rule.max_age is None:
            return None
        how_to_fix = 'declare [items] published = "COLUMN", or set the rule\'s `time_column`'
        return role_of(self._label(rule), context.items, "published", rule.time_column, how_to_fix)

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


class _RuleItems(NamedTuple):
    """What one rule reads of m items."""

    posting: NDArray[np.int64]
    """(n,) the rule's list, from 0: one, or one per value of `same`."""
    item: NDArray[np.intp]
    """(n,) positions among the m items."""
    key: NDArray[np.float64]
    """(n,) the largest is the first of its list."""
    lists: int
    """Number of the rule's lists."""
    labels: Labels | None
    """(m,) values of `same`; None without it."""
    time: NDArray[np.int64] | None
    """(m,) ms of the rule's time column; None without `max_age`."""

    def arrays(self, number: int, first: int) -> dict[str, NDArray[Any]]:
        """What rule `number`, whose lists begin with `first`, saves beside its lists."""
        found: dict[str, NDArray[Any]] = {f"first{number}": np.array([first], np.int64)}
        if self.labels is not None:
            found |= {f"same{number}": self.labels.single(), f"names{number}": self.labels.names}
        return found if self.time is None else found | {f"time{number}": self.time}


def _with_columns(frame: pl.DataFrame, columns: Mapping[str, NDArray[Any]], n: int) -> pl.DataFrame:
    """The table of n items with the statistics."""
    made = [pl.Series(name, values) for name, values in columns.items()]
    return frame.with_columns(made) if frame.width else pl.DataFrame(made, nan_to_null=False)


def _sortable(column: pl.Series) -> NDArray[np.float64]:
    """(items,) numbers in the order of a column's values, NaN where one is missing."""
    if column.dtype.is_temporal():
        column = column.to_physical()
    if column.dtype.is_numeric() or column.dtype == pl.Boolean:
        return number_array(column)
    return column.cast(pl.String).rank("dense").cast(pl.Float64).fill_null(np.nan).to_numpy()


def _is_text(schema: pl.Schema, rule: Rule) -> bool:
    """Whether a rule sorts by a column of texts."""
    name = rule.sort.strip().removesuffix(" asc").removesuffix(" desc").strip()
    return schema.get(name) in (pl.String, pl.Categorical)


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
