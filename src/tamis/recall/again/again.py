"""Again: the items that a user comes back to, and popular items of their categories."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tamis.cascade import FitContext, Queries, Recalled
from tamis.data import VISIT_HOURS, Dataset, Labels, Ragged, Table, codes_in, codes_of, spread
from tamis.features import ItemRepeats, OwnItems
from tamis.index import best_first, offer
from tamis.recall._common.channel import nothing
from tamis.recall._common.compiled_arguments import excluded
from tamis.recall._common.following import FollowingChannel
from tamis.recall._common.history_events import behaviour_mask
from tamis.recall._common.item_columns import column_of, role_of
from tamis.recall._common.popularity import log_popularity
from tamis.recall._common.postings import ListSelection, Postings, best_of_lists, in_sorted
from tamis.recall.again._choice import (
    DUE,
    HALF_LIFE,
    REPEAT_RATE,
    Settings,
    choose,
    log_scores,
    span_of,
    trial_of,
)
from tamis.runtime import Float64, Int32, grown, in_blocks
from tamis.runtime.compiled import njit
from tamis.schema import ComponentConfig, Conditions, ConfigError, Needs, suggest

AUTO = "auto"
_QUERIES_PER_BLOCK = 256


class AgainConfig(ComponentConfig):
    """Options of the again channel."""

    only_with: ClassVar[Conditions] = {"popularity_half_life": (Needs("by", ("category",)),)}

    by: Literal["item", "category"] = "item"
    """item: only items that the user has acted on. category: after these, the most popular other
    items of their categories."""
    behaviours: tuple[str, ...] = ()
    """Behaviours whose events count. Empty: all but impressions and those of weight 0."""
    weights: dict[str, Annotated[float, Field(ge=0)]] | Literal["auto", "declared"] = AUTO
    """Weight of an event by its behaviour: {purchase = 1, view = 0.1}; behaviours that are not
    named have their declared weight, or 1. declared: those of [behaviours]. auto: these, times 0 to
    10 each, by how well the items that users came back to are ranked."""
    half_life: Annotated[float, Field(gt=0)] | Literal["auto"] = AUTO
    """Days after which an event counts half; inf: all events count the same. auto: chosen as for
    `weights`."""
    due: Annotated[float, Field(ge=0)] | Literal["auto"] = AUTO
    """Exponent of the probability that the user would have come back by now; 0: the time since the
    last visit counts by `half_life` alone. auto: chosen as for `weights`."""
    repeat_rate: Annotated[float, Field(ge=0)] | Literal["auto"] = AUTO
    """Exponent of the item's repeat rate, the share of its users who came back to it; 0: it does
    not count. auto: chosen as for `weights`."""
    visit_hours: Annotated[float, Field(gt=0)] = VISIT_HOURS
    """Events of a user on one item that are less than so many hours apart are one visit."""
    column: str = ""
    """Items' column of the category. Empty: the one that [items] declares."""
    separator: str = ""
    """Separator of a text column with several categories. Empty: the one that [items] declares."""
    popularity_half_life: Annotated[float, Field(gt=0)] = 30.0
    """With by = "category": days after which an event counts half in an item's popularity."""


class Again(FollowingChannel):
    """The user's own items by recency-weighted frequency, and whether they are due again.

    `score(i) = F · D^due · R^repeat_rate`, with
    `F = Σ_e w(e) · 2^(-age(e) / half_life)` over the user's counted events e on item i, w the
    weight of the behaviour;
    `D = Φ(ln(elapsed / gap) / σ)`, the probability that a log-normal gap between two visits would
    have ended by now: elapsed is the time since the user's last event on i, gap the geometric mean
    of the user's gaps on i, with the usual gap of the item as one more of them (itself shrunk
    towards the category's and the log's), σ the spread of ln(gap) in the log: an item that was
    bought just now is damped, one whose usual gap is over is not;
    `R` the item's repeat rate, the share of its users who came back to it, shrunk likewise.
    Without a repeated visit in the log, D = 1.

    With by = "category", the other items of the categories of the user's own items follow: by the
    sum of the own items' scores in the category, times the time-decayed popularity of the item.

    Options set to "auto" are chosen by the NDCG@10 of the items that users came back to: those of
    `FitContext.valid` if its users may be recalled their own items, else those of the last tenth
    of the log. Users without history get nothing, and so does everybody if a filter removes seen
    items: leave out `seen`, or name its `behaviours`.

    When to use: wherever users come back to the same items: groceries, food, music, places, and
    items that a shop's visitors have looked at and not bought yet.
    Cost: fit: one sort of the events, and about 100 passes over the own items of 5,000 users at
    most. Recall: reads the user's history. Memory: 8 bytes per item; with by = "category" 12 more
    per item and category.
    Source: repeat rate and log-normal gaps: Bhagat et al. 2018, Buy It Again: Modeling Repeat
    Purchase Recommendations; recency-weighted reconsumption: Benson et al. 2016, Modeling User
    Consumption Sequences; the personal frequency as a baseline that is hard to beat in next-basket
    recommendation: Hu et al. 2020, Modeling Personalized Item Frequency Information for
    Next-basket Recommendation (TIFU-KNN).
    """

    name = "again"
    Config = AgainConfig
    config: AgainConfig
    exclude_seen = False

    def _fit(self, data: Dataset, context: FitContext) -> dict[str, Any]:
        weight = self._weights(data)
        labels = self._labels(data, context)
        counted = weight > 0
        chosen, ndcg = self._choice(data, context, weight, labels)
        repeats = ItemRepeats.fit(data, counted, self.config.visit_hours, labels)
        self._arrays = {
            "counted": counted,
            "weight": chosen.weight,
            "log_gap": repeats.log_gap,
            "rate": repeats.rate,
            "priors": repeats.priors,
            "prior_names": np.zeros(0, np.str_) if labels is None else labels.names,
        }
        if self.config.by == "category":
            assert labels is not None
            likes = log_popularity(data, self.config.popularity_half_life)
            key = likes[labels.row]
            hot = np.isfinite(key)
            postings = Postings.of(labels.code[hot], labels.row[hot], key[hot], len(labels.names))
            self._arrays |= postings.arrays()
            self._arrays |= {
                "label_indptr": labels.indptr,
                "label": labels.code,
                "names": labels.names,
                "likes": likes,
            }
        column, separator = self._column(context)
        return {
            "reading": {"column": column, "separator": separator},
            "half_life": chosen.half_life,
            "due": chosen.due,
            "repeat_rate": chosen.repeat_rate,
            "weights": _named(data, chosen.weight),
            "spread": repeats.spread,
            "ndcg": None if np.isnan(ndcg) else ndcg,
            "behaviours": [b.name for b in data.behaviours],
        }

    def chosen(self, data: Dataset, context: FitContext | None = None) -> AgainConfig:
        """The config with a value for every "auto" option, as a fit on `data` would choose it."""
        context = context or FitContext()
        weight, labels = self._weights(data), self._labels(data, context)
        best, _ = self._choice(data, context, weight, labels)
        found = {"half_life": best.half_life, "due": best.due, "repeat_rate": best.repeat_rate}
        return self.config.model_copy(update={**found, "weights": _named(data, best.weight)})

    def _weights(self, data: Dataset) -> Float64:
        """(B,) weight of the events of each behaviour; 0 for those that do not count."""
        config, known = self.config, [b.name for b in data.behaviours]
        given = config.weights if isinstance(config.weights, dict) else {}
        for name in given:
            if name not in known:
                raise ConfigError(
                    f"channel {self.name!r}: weights names {name!r}, which is not declared."
                    f"{suggest(name, known)} Declared: {', '.join(known)}"
                )
        named = behaviour_mask(self.name, data, config.behaviours) if config.behaviours else None
        weight = np.zeros(len(known), np.float64)
        for code, b in enumerate(data.behaviours):
            declared = 1.0 if b.weight is None else b.weight
            if named is not None:
                declared = (declared or 1.0) * bool(named[code])
            weight[code] = 0.0 if b.impression else given.get(b.name, declared)
        if named is not None:
            weight[~named] = 0.0
        if not weight.any():
            raise ConfigError(
                f"channel {self.name!r}: no behaviour counts: all have weight 0 or are "
                f"impressions ({', '.join(known)}). Name some in `behaviours`, or give them a "
                "weight in [behaviours]"
            )
        return weight

    def _labels(self, data: Dataset, context: FitContext) -> Labels | None:
        """The items' categories; None where none is declared and none is needed."""
        return self._categories_of(data.items, *self._column(context))

    def _column(self, context: FitContext) -> tuple[str | None, str | None]:
        """The items' column of the category, None where none is declared and none is needed, and
        the separator of its values."""
        declared = context.items.category if context.items is not None else None
        if self.config.by == "item" and not (self.config.column or declared):
            return None, None
        column = role_of(self.name, context.items, "category", self.config.column)
        separator = context.items.category_separator if context.items is not None else None
        return column, self.config.separator or separator

    def _categories_of(
        self, items: Table, column: str | None, separator: str | None
    ) -> Labels | None:
        if column is None:
            return None
        column_of(self.name, items, column)
        return Labels.of_items(items, column, separator)

    def _of_items(self, items: Table, rows: Int32) -> dict[str, NDArray[Any]] | None:
        """New items have the usual gap and the repeat rate of their category."""
        reading, arrays = self._reading, self._arrays
        if reading is None:
            return None
        labels = self._categories_of(items.part(rows), reading["column"], reading["separator"])
        names, new = arrays["prior_names"], rows >= len(arrays["log_gap"])
        code = np.full(len(rows), len(names))
        if labels is not None:
            some = np.diff(labels.indptr) > 0
            code[some] = codes_in(names, labels)[some]
            code[some & (code < 0)] = len(names) + 1
        found = {name: grown(arrays[name], len(items), 0) for name in ("log_gap", "rate")}
        for column, prior in zip(found.values(), arrays["priors"], strict=True):
            column[rows[new]] = prior[code[new]]
        if self.config.by == "category" and labels is not None:
            found |= self._lists_with(labels, rows, len(items))
        return found

    def _lists_with(self, changed: Labels, rows: Int32, n: int) -> dict[str, NDArray[Any]]:
        """The lists by category of n items after `rows` (m,) were added or changed."""
        arrays = self._arrays
        before = Labels(arrays["names"], arrays["label_indptr"], arrays["label"])
        labels, number = before.replaced(rows, changed, n)
        likes, row = grown(arrays["likes"], n, -np.inf), rows[changed.row]
        code, hot = codes_of(labels.names, changed.names.tolist())[changed.code], likes[row]
        some = np.isfinite(hot)
        postings = Postings.within(arrays).renumbered(number, len(labels.names))
        postings = postings.replaced(rows, code[some], row[some], hot[some])
        return {
            **postings.arrays(),
            "label_indptr": labels.indptr,
            "label": labels.code,
            "names": labels.names,
            "likes": likes,
        }

    def _choice(
        self, data: Dataset, context: FitContext, weight: Float64, labels: Labels | None
    ) -> tuple[Settings, float]:
        """The settings to fit with and their NDCG@10: given options, and "auto" ones chosen."""
        config = self.config
        options = {
            "half_life": (config.half_life, HALF_LIFE),
            "due": (config.due, DUE),
            "repeat_rate": (config.repeat_rate, REPEAT_RATE),
        }
        start = Settings(
            **{n: d if value == AUTO else float(value) for n, (value, d) in options.items()},
            weight=weight,
        )
        free = {name for name, (value, _) in options.items() if value == AUTO}
        free |= {"weights"} if config.weights == AUTO else set()
        if not free:
            return start, float("nan")
        hours = config.visit_hours
        trial = trial_of(data, weight > 0, hours, labels, context.valid, context.seed)
        return choose(trial, start, frozenset(free), span_of(data))

    def _own(self, queries: Queries) -> tuple[OwnItems, Float64]:
        """The own items of every query, and log2 of their scores."""
        arrays, facts = self._arrays, self._facts or {}
        history = queries.history
        own = OwnItems.of(history, arrays["counted"], self._n_items, self.config.visit_hours)
        settings = Settings(
            facts["half_life"], facts["due"], facts["repeat_rate"], arrays["weight"]
        )
        return own, log_scores(own, self._repeats(), settings, queries.time)

    def _repeats(self) -> ItemRepeats:
        facts = self._facts or {}
        return ItemRepeats(self._arrays["log_gap"], self._arrays["rate"], facts["spread"])

    def _recall(self, queries: Queries, k: int) -> Recalled:
        own, key = self._own(queries)
        found = _best_own(own, key, queries.exclude, k)
        if self.config.by == "item":
            return found
        lists = self._categories(own, key, len(queries))
        known = Ragged(own.bounds, own.pairs.item)
        others = queries.excluding(Ragged.union([queries.exclude, known]))
        filled = best_of_lists(Postings.within(self._arrays), lists, others, k, self._n_items)
        return _joined(found, filled)

    def _categories(self, own: OwnItems, key: Float64, queries: int) -> ListSelection:
        """The categories of each query's own items, weighted by the sum of the items' scores."""
        query = own.query
        top = np.full(queries, -np.inf)
        np.maximum.at(top, query, key)
        # relative to the query's best, so that scores of long ago do not underflow
        some = np.flatnonzero(key > -np.inf)
        share = np.exp2(np.maximum(key[some] - top[query[some]], -60.0))
        arrays = self._arrays
        at, label = spread(arrays["label_indptr"], arrays["label"], own.pairs.item[some])
        return ListSelection.summed(query[some][at], label, share[at], queries)

    def because(self, queries: Queries, item: int) -> int | None:
        """The item itself if the user has acted on it, else his best one of its category."""
        own, key = self._own(queries)
        if item in own.pairs.item:
            return item
        if self.config.by != "category" or not len(key):
            return None
        indptr, label = self._arrays["label_indptr"], self._arrays["label"]
        owner, theirs = spread(indptr, label, own.pairs.item)
        shared = owner[np.isin(theirs, label[indptr[item] : indptr[item + 1]])]
        return int(own.pairs.item[shared[np.argmax(key[shared])]]) if len(shared) else None

    def reason(self, queries: Queries, item: int) -> str | None:
        """How often and how long ago the user acted on `item`, and the usual gap; None if never."""
        own, _ = self._own(queries)
        at = np.flatnonzero(own.pairs.item == item)
        if not len(at):
            return None
        p = int(at[0])
        event = own.event[own.pairs.start[p] : own.pairs.start[p + 1]]
        times = np.bincount(queries.history.behaviour[event])
        names = (self._facts or {})["behaviours"]
        often = [f"{names[code]} {_times(int(times[code]))}" for code in np.flatnonzero(times)]
        text = f"{', '.join(often)}; last {_duration(float(own.elapsed(queries.time)[p]))} ago"
        gap = float(self._repeats().pair_log_gaps(own)[p])
        return text if np.isnan(gap) else f"{text}, usual gap {_duration(float(np.exp(gap)))}"


def _named(data: Dataset, weight: Float64) -> dict[str, float]:
    """The weights of the behaviours by name."""
    return {b.name: float(w) for b, w in zip(data.behaviours, weight, strict=True)}


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _duration(days: float) -> str:
    """A duration as text: 40 minutes, 5 hours, 12 days."""
    if days < 2 / 24:
        return f"{days * 1440:.0f} minutes"
    return f"{days * 24:.0f} hours" if days < 2 else f"{days:.0f} days"


def _best_own(own: OwnItems, key: Float64, exclude: Ragged, k: int) -> Recalled:
    """The k best own items of each query that are not excluded, ties by the lower row."""
    found = nothing(len(own), k)

    def block(begin: int, end: int) -> None:
        _select(
            begin=begin,
            end=end,
            bounds=own.bounds,
            item=own.pairs.item,
            key=key,
            exclude=excluded(exclude),
            out_item=found.item,
            out_score=found.score,
        )

    in_blocks(block, len(own), _QUERIES_PER_BLOCK)
    return found


def _joined(first: Recalled, then: Recalled) -> Recalled:
    """The lists of `first`, filled up by those of `then`, whose scores are scaled to be below."""
    k = first.item.shape[1]
    n = (first.item >= 0).sum(1)
    place = np.arange(k)[None] - n[:, None]
    later = np.maximum(place, 0)
    lowest = np.where(n > 0, first.score[np.arange(len(n)), np.maximum(n - 1, 0)], np.inf)
    best = np.where(then.item[:, 0] >= 0, then.score[:, 0], 1.0)
    factor = np.where(best > lowest, lowest / np.where(best > 0, best, 1.0), 1.0)
    scaled = np.where(then.item >= 0, then.score * factor[:, None].astype(np.float32), -np.inf)
    fill = np.take_along_axis(then.item, later, 1), np.take_along_axis(scaled, later, 1)
    return Recalled(
        np.where(place < 0, first.item, fill[0]).astype(np.int32),
        np.where(place < 0, first.score, fill[1]).astype(np.float32),
    )


@njit(cache=True, nogil=True)
def _select(begin, end, bounds, item, key, exclude, out_item, out_score):
    """Queries [begin, end): the pairs with the largest keys that are not excluded.

    Args:
        bounds: (Q + 1,) int64 of the pairs; item int32 and key float64 (P,) of each pair; a key of
            -inf is not recalled.
        exclude: Excluded.
        out_item, out_score: (Q, k) int32 and float32, filled with -1 and -inf; scores are 2^key.
    """
    for q in range(begin, end):
        size = 0
        for p in range(bounds[q], bounds[q + 1]):
            if key[p] == -np.inf:
                continue
            if in_sorted(exclude.item, exclude.indptr[q], exclude.indptr[q + 1], item[p]):
                continue
            size = offer(out_item[q], out_score[q], size, item[p], np.float32(key[p]))
        best_first(out_item[q], out_score[q], size)
        for place in range(size):
            out_score[q, place] = np.float32(2.0 ** out_score[q, place])
