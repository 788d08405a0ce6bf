"""Probabilities of the items of a logged slate under another policy, place by place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tamis.runtime import Float64, Int64


@dataclass(frozen=True)
class SlatePolicy:
    """Fills each place by the softmax of the candidates' values, as the re-rank rule `sample`."""

    temperature: float | None
    """None: each place gets the best candidate that is left."""
    top: int = 1
    """The best candidates that are left, among which a place is drawn."""

    def odds(self, value: Float64, slate: Int64) -> Float64:
        """(places, n) the probability of each candidate at each place, given the items above it.

        Args:
            value: (n,) of the candidates; what is not finite ranks last.
            slate: (places,) the candidates of the slate, in its order.
        """
        score = _scaled(np.asarray(value, np.float64))
        order = np.argsort(-score, kind="stable")
        left = np.ones(len(score), np.bool_)
        found = np.zeros((len(slate), len(score)))
        for place, chosen in enumerate(slate.tolist()):
            listed = order[left[order]][: self.top if self.temperature is not None else 1]
            if self.temperature is None or not np.isfinite(score[listed[0]]):
                found[place, listed[0]] = 1.0
            else:
                weight = np.exp((score[listed] - score[listed[0]]) / self.temperature)
                found[place, listed] = weight / weight.sum()
            left[chosen] = False
        return found


def _scaled(value: Float64) -> Float64:
    """(n,) from 0 to 1; −inf where it is not finite."""
    known = np.isfinite(value)
    if not known.any():
        return np.full(len(value), -np.inf)
    low, high = value[known].min(), value[known].max()
    scaled = (value - low) / (high - low) if high > low else np.zeros(len(value))
    return np.where(known, scaled, -np.inf)
