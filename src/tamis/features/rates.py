"""The rates and mean values that a log's behaviours define, and the priors that smooth them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tamis.data import Events
from tamis.runtime import Bool, Float64, Int32, Int64
from tamis.schema import Behaviour

_AFTER_CLICK = ("like", "collect", "share", "follow", "cart", "watch", "dislike")


@dataclass(frozen=True)
class Rate:
    """A rate of successes per trial, smoothed: (successes + α) / (trials + α + β)."""

    name: str
    successes: tuple[bool, ...]
    """(B,) the behaviours whose events are successes."""
    trials: tuple[bool, ...]
    """(B,) the behaviours whose events are trials."""
    alpha: float = 0.5
    beta: float = 0.5


@dataclass(frozen=True)
class MeanPrior:
    """A mean of events' values, smoothed: (sum + strength · mean) / (n + strength)."""

    name: str
    behaviours: tuple[bool, ...]
    """(B,) the behaviours whose events are averaged."""
    mean: float = 0.0
    strength: float = 10.0
    """Number of events that the prior mean counts as."""


class RecipeArrays(NamedTuple):
    """A recipe as the kernel `render` reads it: R rates, G means, B behaviours."""

    successes: Int64
    """(R, B) codes of the behaviours that are successes of each rate, filled up with -1."""
    trials: Int64
    """(R, B) likewise, of its trials."""
    priors: Float64
    """(R, 2) α and β."""
    groups: Bool
    """(G, B) behaviours whose values each mean averages."""
    means: Float64
    """(G, 2) prior mean and strength."""
    plain: Bool
    """(B,) behaviours that are not impressions."""
    ages: Float64
    """(3,) or (0,), see `recipe.Recipe.ages`."""


def rates_of(behaviours: Sequence[Behaviour]) -> list[Rate]:
    """The rates that the declared behaviours define.

    - click, or else the first behaviour that is not an impression, per impression;
    - like, collect, share, follow, cart, watch and dislike per click;
    - purchase per cart, or else per click;
    - any other behaviour per event that is not an impression;
    - positives per such event, where two or more behaviours but not all are positive.

    A rate of a behaviour per itself is left out.
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
    """The rate with α and β fitted to the totals (K, B) of K keys.

    Method of moments for a beta-binomial (Kleinman 1973). α + β is kept within [1, 10000], since
    one key, or keys that do not differ, do not determine it. Trials are at least the successes: a
    like without its click counts as both.
    """
    s = totals[:, np.array(rate.successes)].sum(axis=1).astype(np.float64)
    n = np.maximum(totals[:, np.array(rate.trials)].sum(axis=1), s)
    s, n = s[n > 0], n[n > 0]
    total = n.sum()
    mean = (s.sum() + 0.5) / (total + 1.0)
    variance, keys = mean * (1 - mean), len(n)
    freedom = total - (n**2).sum() / total - (keys - 1) if keys else 0.0
    overlap = 0.0
    if freedom > 0:
        spread = (n * (s / n - s.sum() / total) ** 2).sum()
        overlap = (spread - variance * (keys - 1)) / (variance * freedom)
    strength = 1.0 / np.clip(overlap, 1 / 10_001, 0.5) - 1.0
    return replace(rate, alpha=float(mean * strength), beta=float((1 - mean) * strength))


def value_groups(behaviours: Sequence[Behaviour], events: Events) -> list[MeanPrior]:
    """The groups of behaviours whose values are averaged together, with default priors.

    Behaviours with bounds on the value of the log (ratings) form one group; if just one other
    behaviour is not an impression, it joins them. Every other behaviour forms a group of its own
    (seconds watched, price of a purchase). Groups without values, or with equal ones only, are left
    out.
    """
    bounded = tuple(
        b.column is None and (b.min_value is not None or b.max_value is not None)
        for b in behaviours
    )
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
    """The group with its mean and strength fitted to the values of `events` by `key` (E,).

    Strength = variance within keys / variance between keys, of one-way random effects by ANOVA,
    kept within [0.1, 10000]; it stays 10 where the data do not determine it.
    """
    use = np.array(group.behaviours)[events.behaviour] & ~np.isnan(events.value) & (key >= 0)
    value = events.value[use].astype(np.float64)
    if not len(value):
        return group
    _, place, n = np.unique(key[use], return_inverse=True, return_counts=True)
    mean, keys, total = value.mean(), len(n), len(value)
    means = np.bincount(place, value) / n
    freedom = total - (n.astype(np.float64) ** 2).sum() / total
    if keys < 2 or total == keys or freedom <= 0:
        return replace(group, mean=float(mean))
    within = ((value - means[place]) ** 2).sum() / (total - keys)
    between = ((n * (means - mean) ** 2).sum() - (keys - 1) * within) / freedom
    strength = within / between if between > 0 else np.inf
    return replace(group, mean=float(mean), strength=float(np.clip(strength, 0.1, 10_000.0)))
