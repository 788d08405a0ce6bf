"""Which rates a log's behaviours define, and how much each is drawn to its prior."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tamis.data import Events
from tamis.runtime import Int32, Int64
from tamis.schema import Behaviour

_AFTER_CLICK = ("like", "collect", "share", "follow", "cart", "watch", "dislike")


@dataclass(frozen=True)
class Rate:
    """successes / trials, both sums over behaviours, smoothed by α and β."""

    name: str
    successes: tuple[bool, ...]
    """(B,)."""
    trials: tuple[bool, ...]
    alpha: float = 0.5
    beta: float = 0.5


@dataclass(frozen=True)
class MeanPrior:
    """The mean value of some behaviours' events: (sum + strength · mean) / (n + strength)."""

    name: str
    behaviours: tuple[bool, ...]
    mean: float = 0.0
    strength: float = 10.0


def rates_of(behaviours: Sequence[Behaviour]) -> list[Rate]:
    """The rates that the declared behaviours define.

    The first behaviour that is no impression per impression (click rate = clicks / impressions);
    like, collect, share, follow, cart per click; purchase per cart (or click); any other behaviour
    per event that is no impression; positives per event, where not all are positive.
    """
    names = [b.name for b in behaviours]
    plain = tuple(not b.impression for b in behaviours)
    shown = tuple(b.impression for b in behaviours)
    first = next((b.name for b in behaviours if not b.impression), "")

    def only(name: str) -> tuple[bool, ...]:
        return tuple(n == name for n in names)

    def trials(name: str) -> tuple[str, tuple[bool, ...]]:
        if name == ("click" if "click" in names else first) and any(shown):
            return "impression", shown
        if name == "purchase" and "cart" in names:
            return "cart", only("cart")
        if name in (*_AFTER_CLICK, "purchase") and "click" in names:
            return "click", only("click")
        return "event", plain

    rates: list[Rate] = []
    for b in behaviours:
        place, mask = trials(b.name)
        if not b.impression and mask != only(b.name):
            rates.append(Rate(f"{b.name}/{place}", only(b.name), mask))
    positive = tuple(b.positive for b in behaviours)
    if sum(positive) > 1 and positive != plain:
        rates.append(Rate("positive/event", positive, plain))
    return rates


def fit_beta(rate: Rate, totals: Int64) -> Rate:
    """α and β of a beta-binomial by the method of moments (Kleinman 1973), from totals (K, B).

    α + β is kept within [1, 10000]: one key, or keys that do not differ, say nothing about it.
    Trials are at least the successes (a like without its click counts as both).
    """
    s = totals[:, np.array(rate.successes)].sum(axis=1).astype(np.float64)
    n = np.maximum(totals[:, np.array(rate.trials)].sum(axis=1), s)
    s, n = s[n > 0], n[n > 0]
    total = n.sum()
    mean = (s.sum() + 0.5) / (total + 1.0)
    variance, keys = mean * (1 - mean), len(n)
    room = total - (n**2).sum() / total - (keys - 1) if keys else 0.0
    overlap = 0.0
    if room > 0:
        spread = (n * (s / n - s.sum() / total) ** 2).sum()
        overlap = (spread - variance * (keys - 1)) / (variance * room)
    strength = 1.0 / np.clip(overlap, 1 / 10_001, 0.5) - 1.0
    return replace(rate, alpha=float(mean * strength), beta=float((1 - mean) * strength))


def value_groups(behaviours: Sequence[Behaviour], events: Events) -> list[MeanPrior]:
    """Whose values are averaged together: behaviours told apart by their value (ratings) as one.

    That is so where at most one behaviour, the rest, declares no bounds. Every other behaviour has
    a mean of its own (seconds of watch, price of purchase). Groups whose events carry no values,
    or one value only, are left out.
    """
    bounded = tuple(b.min_value is not None or b.max_value is not None for b in behaviours)
    plain = tuple(not b.impression for b in behaviours)
    if any(bounded) and sum(p and not b for p, b in zip(plain, bounded, strict=True)) <= 1:
        bounded = plain
    groups = [MeanPrior("value", bounded)] if any(bounded) else []
    for code, b in enumerate(behaviours):
        if not bounded[code]:
            mask = tuple(c == code for c in range(len(behaviours)))
            groups.append(MeanPrior(f"value of {b.name}", mask))
    return [g for g in groups if _varies(events.value[np.array(g.behaviours)[events.behaviour]])]


def _varies(values: NDArray[np.float32]) -> bool:
    known = values[~np.isnan(values)]
    return len(known) > 0 and bool(known.min() < known.max())


def fit_mean(group: MeanPrior, key: Int32, events: Events) -> MeanPrior:
    """The mean and how many events it weighs: variance within keys ÷ variance between keys.

    (One-way random effects by ANOVA; strength within [0.1, 10000], 10 where it cannot be told.)
    """
    use = np.array(group.behaviours)[events.behaviour] & ~np.isnan(events.value) & (key >= 0)
    value = events.value[use].astype(np.float64)
    if not len(value):
        return group
    _, place, n = np.unique(key[use], return_inverse=True, return_counts=True)
    mean, keys, total = value.mean(), len(n), len(value)
    means = np.bincount(place, value) / n
    room = total - (n.astype(np.float64) ** 2).sum() / total
    if keys < 2 or total == keys or room <= 0:
        return replace(group, mean=float(mean))
    within = ((value - means[place]) ** 2).sum() / (total - keys)
    between = ((n * (means - mean) ** 2).sum() - (keys - 1) * within) / room
    strength = within / between if between > 0 else np.inf
    return replace(group, mean=float(mean), strength=float(np.clip(strength, 0.1, 10_000.0)))
