"""What re-rank changes in the slates of an evaluation, and which rules are broken how often."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.cascade import Cascade, Outcome, arrange

Slates = NDArray[np.int32]


class RerankEffect:
    """Collects the first `n` places before and after re-rank, planned for slates of n.

    Args:
        cascade: whose rules are evaluated.
        n: places of a slate.
    """

    def __init__(self, cascade: Cascade, n: int) -> None:
        self._rules, self._n = cascade.rerank, n
        self._before: list[Slates] = []
        self._after: list[Slates] = []
        self._broken_rules: Counter[str] = Counter()

    def add(self, outcome: Outcome) -> None:
        """Takes up the answers of a batch of queries."""
        if not self._rules:
            return
        slates = arrange(self._rules, outcome.queries, outcome.ranked, self._n)
        self._before.append(outcome.ranked.matrix(self._n))
        self._after.append(slates.candidates.matrix(self._n))
        for query in range(len(outcome.queries)):
            self._broken_rules.update({way.rule for way in slates.broken(query)})

    def result(self, metrics: Mapping[str, Callable[[Slates], float]]) -> dict[str, Any]:
        """{"rerank": metrics before and after re-rank, and the share of slates in which each rule
        is broken}; empty where the cascade has no rules.

        metrics: name → its value for slates (Q, n), in the order of the queries.
        """
        if not self._rules or not self._before:
            return {}
        before, after = np.concatenate(self._before), np.concatenate(self._after)
        return {
            "rerank": {
                "before": {name: metric(before) for name, metric in metrics.items()},
                "after": {name: metric(after) for name, metric in metrics.items()},
                "broken_rules": {
                    name: self._broken_rules[name] / len(after) for name in self._rules
                },
            }
        }


NEW_DAYS = 7
"""An item counts as new for so many days after its publication."""


def new_share(slates: Slates, new: NDArray[np.bool_], *, seen: bool = False) -> float:
    """The share of the places that hold a new item; NaN without any place.

    Args:
        new: (items,) which are new.
        seen: whether a place counts by how often it is looked at, 1 / log2(1 + place), which is the
            exposure of new items.
    """
    weight = np.ones(slates.shape[1])
    if seen:
        weight /= np.log2(np.arange(2, slates.shape[1] + 2))
    filled = (slates >= 0) * weight
    total = float(filled.sum())
    return float((filled * new[slates]).sum()) / total if total else float("nan")


def cold_share(slates: Slates, counts: NDArray[np.int64]) -> float:
    """The share of the places that hold an item without any event; counts: (items,) events."""
    shown = slates[slates >= 0]
    return float((counts[shown] == 0).mean()) if len(shown) else 0.0
