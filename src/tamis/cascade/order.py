"""The order of candidates: by the ranker's value, by recall channels, or by both."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from tamis.cascade.candidates import Candidates
from tamis.cascade.fusion import ranks
from tamis.runtime import Float32, Float64
from tamis.schema import read_json, reading

BETA = 60.0
"""Added to each place before it is inverted, so that the first places do not count alone."""
TIE_BREAK = 1e-6
"""Weight of the ranker where only channels order: it orders the items that they did not recall."""
RECALL_ORDER = "recall (new user)"
"""The order of a user without history under `cold_start = "recall"`, in words."""


@dataclass(frozen=True)
class CandidateOrder:
    """Weights of a reciprocal rank fusion of the ranker's value and recall channels.

    `Σ weight / (60 + place)`, with the place from 1 by the fused value and in each channel's list;
    an item that a channel has not recalled gets nothing from it (Cormack et al. 2009). Items are
    valued by their place in this order, 1 / log2(1 + place): the sums themselves differ so little
    among the first places that re-rank rules which weigh values, such as MMR, would reverse them.
    Without channels the order is that of the fused value itself. Training chooses it on validation
    windows where `[cascade] order` is "auto", and stores it in the version.
    """

    ranker: float = 1.0
    """Weight of the ranker's fused value."""
    channels: tuple[tuple[str, float], ...] = ()
    """(name, weight) of each recall channel that takes part."""

    def __call__(self, candidates: Candidates, value: Float32) -> Float32:
        """(n,) what orders the candidates, of their fused value (n,); -inf ranks last."""
        if not self.channels:
            return value
        weight = self.ranker or TIE_BREAK
        total: Float64 = weight / (BETA + ranks(value.astype(np.float64), candidates.indptr))
        nowhere = np.zeros(len(candidates))  # a candidate list without channels is empty
        for name, share in self.channels:
            place = np.asarray(candidates.columns.get(f"rank:{name}", nowhere), np.float64)
            total += np.where(place > 0, share / (BETA + place), 0.0)
        return (1 / np.log2(1 + ranks(total, candidates.indptr))).astype(np.float32)

    @property
    def text(self) -> str:
        """What orders the candidates, in words."""
        if not self.channels:
            return "the ranker"
        if self.ranker == 0 and len(self.channels) == 1:
            return f"the channel {self.channels[0][0]}"
        parts = [*([("the ranker", self.ranker)] if self.ranker else []), *self.channels]
        return "reciprocal rank fusion of " + ", ".join(
            name if weight == 1 else f"{name} × {weight:.3g}" for name, weight in parts
        )

    def save(self, path: Path) -> None:
        """Writes the weights as JSON."""
        content = {"ranker": self.ranker, "channels": dict(self.channels)}
        path.write_text(json.dumps(content, indent=1), "utf-8")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads what `save` wrote. Raises VersionError where it is damaged."""
        saved = read_json(path, ranker=float, channels=dict)
        with reading(path):
            weights = ((str(name), float(weight)) for name, weight in saved["channels"].items())
            return cls(float(saved["ranker"]), tuple(weights))
