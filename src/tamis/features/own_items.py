"""Features of a user and an item that the user has acted on: how often, how long ago, by what."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tamis.data import Dataset, repeat_share
from tamis.features._lists import History
from tamis.features._repeat_kernels import own_inputs
from tamis.features.repeats import GAPS_OF_PAIR, LEAST_DUE, ItemRepeats, OwnItems
from tamis.runtime import Bool, Float32, Int32, Int64
from tamis.schema import ProjectConfig

LEAST_SHARE = 0.02
"""Share of the positives on known items from which on the features are used by default."""
HALF_LIVES = (1.0, 7.0, 30.0, 120.0)
"""Half-lives in days of the decayed numbers of events."""
LATEST = 4.0
"""Largest size of the standardised logarithm of elapsed time ÷ usual gap."""
EVENTS_PER_BLOCK = 1_000_000
"""Events of histories that are grouped at once, so that memory stays bounded."""
_FIXED = ("acted", "events", "visits", "share", "days", "gap", "late", "due", "repeat rate")


def wanted(data: Dataset, config: ProjectConfig | None) -> bool:
    """Whether rankers get features of known items, as `repeats` of tamis.toml says.

    "auto": if at least LEAST_SHARE of the positive events are on items that the user knew, and no
    filter removes all known items.
    """
    if config is not None and config.repeats != "auto":
        return config.repeats
    filters = config.cascade.filters if config is not None else {}
    for name, stage in filters.items():
        if (stage.use or name) == "seen" and not stage.options.get("behaviours"):
            return False
    return repeat_share(data) >= LEAST_SHARE


@dataclass(frozen=True, eq=False)
class OwnItemFeatures:
    """Numbers on a user and a candidate that the user has acted on; all 0 for other candidates.

    Inputs, with events of every behaviour but impressions, as of the row's time:

    - `own acted` 1;
    - `own events`, `own visits`: log(1 + number); `own share`: share of the user's events;
    - `own days`: log(1 + days since the last event);
    - `own gap`: log(1 + usual gap in days), `own late`: ln(elapsed ÷ usual gap) in standard
      deviations of the log's gaps, within ±LATEST, `own due`: the normal distribution function of
      it; the usual gap is the user's, shrunk to the item's (`ItemRepeats`); 0 if no gap is known;
    - `own repeat rate`: share of the item's users who came back to it;
    - `own 7d` …: log(1 + Σ 2^(-age / half-life)) for the HALF_LIVES;
    - `own BEHAVIOUR`: log(1 + number of these events), `own last BEHAVIOUR`: 1 for that of the
      last event.
    """

    behaviours: tuple[str, ...]
    """Names of all behaviours of the log, by their codes."""
    counted: Bool
    """(B,) behaviours that are not impressions."""
    repeats: ItemRepeats

    @classmethod
    def fit(cls, data: Dataset) -> OwnItemFeatures:
        """Measures usual gaps and repeat rates on all events of `data`."""
        counted = np.array([not b.impression for b in data.behaviours], np.bool_)
        names = tuple(b.name for b in data.behaviours)
        return cls(names, counted, ItemRepeats.fit(data, counted))

    @property
    def names(self) -> list[str]:
        """Names of the inputs."""
        acts = [name for name, c in zip(self.behaviours, self.counted, strict=True) if c]
        decayed = [f"{days:g}d" for days in HALF_LIVES]
        parts = [*_FIXED, *decayed, *acts, *(f"last {name}" for name in acts)]
        return [f"own {part}" for part in parts]

    def write(
        self, bounds: Int64, item: Int32, history: History, time: Int64, out: Float32
    ) -> None:
        """Fills `out` (n, len(names)) for the candidates `item` (n,) of Q queries.

        Candidates of query q are [bounds[q], bounds[q + 1]); `history` and `time` (ms) are those of
        the queries.
        """
        for begin, end in _blocks(history.indptr):
            low, high = int(bounds[begin]), int(bounds[end])
            self._write(
                bounds[begin : end + 1] - low,
                item[low:high],
                history.part(begin, end),
                time[begin:end],
                out[low:high],
            )

    def _write(
        self, bounds: Int64, item: Int32, history: History, time: Int64, out: Float32
    ) -> None:
        """The same for a block of queries."""
        repeats = self.repeats
        own = OwnItems.of(history, self.counted, len(repeats.rate))
        own_inputs(
            bounds=bounds,
            item=item,
            own=own.bounds,
            pairs=own.pairs,
            event=own.event,
            behaviour=history.behaviour,
            time=history.time,
            now=time,
            log_gap=repeats.log_gap,
            rate=repeats.rate,
            usual=GapConstants(repeats.spread, GAPS_OF_PAIR, 2.0**LEAST_DUE, LATEST),
            place=np.where(self.counted, np.cumsum(self.counted) - 1, -1),
            half_lives=np.array(HALF_LIVES),
            out=out,
        )


class GapConstants(NamedTuple):
    """Constants of the usual gap, as an argument of compiled code."""

    spread: float
    gaps_of_pair: float
    least_due: float
    latest: float


def _blocks(indptr: Int64) -> Iterator[tuple[int, int]]:
    """Ranges of queries that cover all, each with about EVENTS_PER_BLOCK events at most."""
    begin, queries = 0, len(indptr) - 1
    while begin < queries:
        most = int(indptr[begin]) + EVENTS_PER_BLOCK
        end = max(begin + 1, int(np.searchsorted(indptr, most, side="right")) - 1)
        yield begin, end
        begin = end
