"""Chooses what orders the candidates: the ranker, a recall channel, or fusions of both.

    choose(judged, ["itemcf", "hot"])

A ranker that learns from a few hundred replayed queries may be worse than the channels whose
candidates it orders, and which of them is better differs between logs. So each order arranges
the slates of past queries, and the one with the highest NDCG@10 is taken. The queries are those of
the users who return in the validation windows. Channels are fitted on the events before a window,
and scorers on the windows before it; the window itself chose their number of epochs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tamis.cascade import CandidateOrder, Candidates, Queries, Reranker, arrange
from tamis.data import Dataset, Ragged
from tamis.evaluate import Interval, mean, ndcg, paired_bootstrap
from tamis.runtime import Float32, Float64
from tamis.splitting import Window

SLATE = 10
CHANNELS_TOGETHER = 0.5
"""Weight of all channels together in the fusion that the ranker leads
(docs/decisions/0015)."""
QUERIES = 1_000
"""Most queries of a window by which an order is chosen."""


@dataclass(frozen=True, eq=False)
class Judged:
    """The candidates of the queries of one validation window, with the values of the scorers."""

    queries: Queries
    candidates: Candidates
    prerank: Float32 | None
    """(n,) fused values of the pre-ranker, None without one."""
    value: Float32
    """(n,) fused values of the ranker."""
    positives: Ragged
    """The items that each query's user chose in the window; see `window_positives`."""
    rules: Mapping[str, Reranker]
    keep: int
    """Candidates that pre-rank keeps."""

    def ndcg(self, order: CandidateOrder, rules: Mapping[str, Reranker] | None = None) -> Float64:
        """(Q,) NDCG@10 of the slates that `order` makes, NaN for queries without positives."""
        kept, value = self.candidates, self.value
        if self.prerank is not None:
            scored = kept.with_columns(prerank=order(kept, self.prerank))
            index = scored.best("prerank", self.keep)
            kept, value = scored.take(index), value[index]
        ranked = kept.with_columns(value=order(kept, value))
        ranked = ranked.take(ranked.best("value", len(ranked)))
        rules = self.rules if rules is None else rules
        slate = arrange(rules, self.queries, ranked, SLATE).candidates
        return ndcg(slate.matrix(SLATE), self.positives, SLATE)

    def without(self, channel: str) -> Judged:
        """The same queries without the places of a channel and the items that it alone found."""
        candidates, own = self.candidates, f"rank:{channel}"
        alone = np.asarray(candidates.columns[own], np.int64) > 0
        for name, column in candidates.columns.items():
            if name.startswith("rank:") and name != own:
                alone &= np.asarray(column, np.int64) == 0
        kept = np.flatnonzero(~alone)
        left = candidates.take(kept).with_columns(**{own: np.zeros(len(kept), np.int32)})
        prerank = None if self.prerank is None else self.prerank[kept]
        return replace(self, candidates=left, prerank=prerank, value=self.value[kept])


@dataclass(frozen=True)
class OrderChoice:
    """The chosen order and what the choice rests on."""

    order: CandidateOrder = field(default_factory=CandidateOrder)
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])
    """{order in words: mean NDCG@10}, best first."""
    queries: int = 0
    """Queries with a positive."""
    windows: int = 0
    channels: Mapping[str, Interval] = field(default_factory=dict[str, Interval])
    """{channel: what it brings, the NDCG@10 of the chosen order with it less that without it}."""
    notes: tuple[str, ...] = ()
    """What was chosen, and why, in sentences."""

    def settings(self) -> dict[str, Any]:
        """The choice as the manifest's JSON values."""
        return {
            "by": self.order.text,
            "why": self.notes[0] if self.notes else "",
            "protocol": f"mean NDCG@{SLATE} of {self.queries:,} queries of {self.windows} "
            "validation windows, after pre-rank and re-rank; channels and scorers fitted on what "
            "was known before each",
            "channels": {
                name: {"mean": it.mean, "low": it.low, "high": it.high}
                for name, it in self.channels.items()
            },
        }


def window_positives(data: Dataset, window: Window, queries: Queries) -> Ragged:
    """The items of each query's positive events that happened and arrived in the window, without
    those that may not be recommended. `queries` are of one query per user."""
    events = data.events
    inside = data.positive & (events.time >= window.start) & (events.time < window.end)
    inside &= (events.arrival >= window.start) & (events.user >= 0) & (events.item >= 0)
    number = np.full(len(data.users), -1, np.int64)
    number[queries.user] = np.arange(len(queries))
    query, item = number[events.user[inside]], events.item[inside]
    free = query >= 0
    free[free] = ~queries.exclude.contains(query[free], item[free])
    return Ragged.from_pairs(query[free], item[free], len(queries))


def choose(judged: Sequence[Judged], channels: Sequence[str]) -> OrderChoice:
    """The order with the highest mean NDCG@10 over the queries of all windows.

    Compared are the ranker, each channel, the ranker with the best channel, the ranker leading all
    channels, all channels, and the two best channels, by reciprocal rank fusion. Of equal ones the
    first is taken, which is the ranker. Without a single query that has a positive, the ranker.
    """
    values: dict[CandidateOrder, Float64] = {}

    def measure(order: CandidateOrder) -> float:
        if order not in values:
            values[order] = np.concatenate([one.ndcg(order) for one in judged])
        return mean(values[order])

    ranker = CandidateOrder()
    queries = sum(int((np.diff(one.positives.indptr) > 0).sum()) for one in judged)
    if not queries:
        text = "no user chose an item in the validation windows: the ranker orders the candidates"
        return OrderChoice(ranker, windows=len(judged), notes=(text,))
    measure(ranker)
    alone = {name: CandidateOrder(0.0, ((name, 1.0),)) for name in channels}
    best = sorted(channels, key=lambda name: -measure(alone[name]))
    for order in _fusions(best):
        measure(order)
    means = {order: mean(value) for order, value in values.items()}
    chosen = max(means, key=lambda order: means[order])
    metrics = {o.text: means[o] for o in sorted(means, key=lambda o: -means[o])}
    gains = _gains(judged, chosen, values[chosen], channels)
    notes = [_reason(chosen, means, values), *_idle_channels(gains)]
    notes += _cost_of_rules(judged, chosen, values[chosen])
    return OrderChoice(chosen, metrics, queries, len(judged), gains, tuple(notes))


def _gains(
    judged: Sequence[Judged], order: CandidateOrder, with_all: Float64, channels: Sequence[str]
) -> dict[str, Interval]:
    """{channel: NDCG@10 of `order` with it less that without it}; nothing for a single channel."""
    gains: dict[str, Interval] = {}
    for name in channels if len(channels) > 1 else ():
        rest = tuple(pair for pair in order.channels if pair[0] != name)
        other = CandidateOrder(order.ranker if order.ranker or rest else 1.0, rest)
        left = np.concatenate([one.without(name).ndcg(other) for one in judged])
        gains[name] = paired_bootstrap(with_all, left)
    return gains


def _idle_channels(gains: Mapping[str, Interval]) -> list[str]:
    """A note on the channels without which the slates are not worse."""
    idle = [
        f"{name} ({it.mean:+.4f}, 95% interval {it.low:+.4f} to {it.high:+.4f})"
        for name, it in gains.items()
        if it.mean <= 0
    ]
    if not idle:
        return []
    return [
        f"these channels bring nothing to NDCG@{SLATE} on the validation windows: "
        f"{', '.join(idle)}. Each was left out alone, without a new fit of the ranker; a channel "
        "that serves no other purpose, such as users without history, can be removed"
    ]


def _fusions(channels: Sequence[str]) -> list[CandidateOrder]:
    """Fusions of the ranker and channels, which are given best first."""
    share = CHANNELS_TOGETHER / max(len(channels), 1)
    made = [CandidateOrder(1.0, ((channels[0], 1.0),))]
    if len(channels) > 1:
        made.append(CandidateOrder(1.0, tuple((name, share) for name in channels)))
        made.append(CandidateOrder(0.0, tuple((name, 1.0) for name in channels[:2])))
    if len(channels) > 2:
        made.append(CandidateOrder(0.0, tuple((name, 1.0) for name in channels)))
    return made


def _reason(
    chosen: CandidateOrder,
    means: Mapping[CandidateOrder, float],
    values: Mapping[CandidateOrder, Float64],
) -> str:
    """One sentence on the choice, with the difference from the ranker and its interval."""
    if not chosen.channels:
        second = max((o for o in means if o.channels), key=lambda o: means[o])
        return (
            f"candidates are ordered by the ranker: on the validation windows it reaches "
            f"NDCG@{SLATE} {means[chosen]:.4f}, {second.text} {means[second]:.4f}"
        )
    ranker = CandidateOrder()
    difference = paired_bootstrap(values[chosen], values[ranker])
    return (
        f"candidates are ordered by {chosen.text}, not by the ranker alone: on the validation "
        f"windows this reaches NDCG@{SLATE} {means[chosen]:.4f}, the ranker {means[ranker]:.4f} "
        f"(95% interval of the difference {difference.low:+.4f} to {difference.high:+.4f})"
    )


def _cost_of_rules(
    judged: Sequence[Judged], order: CandidateOrder, with_rules: Float64
) -> list[str]:
    """A note where the re-rank rules cost NDCG on the validation windows beyond noise."""
    if not any(one.rules for one in judged):
        return []
    without = np.concatenate([one.ndcg(order, rules={}) for one in judged])
    cost = paired_bootstrap(without, with_rules)
    if cost.low <= 0:
        return []
    names = ", ".join(dict.fromkeys(name for one in judged for name in one.rules))
    return [
        f"the re-rank rules ({names}) cost NDCG@{SLATE} {cost.mean:.4f} on the validation windows "
        f"(95% interval {cost.low:.4f} to {cost.high:.4f}); weaken or remove those that serve no "
        "purpose of yours"
    ]
