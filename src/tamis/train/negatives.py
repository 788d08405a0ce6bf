"""Where recall's negatives come from, and how probable each was: samplers, mixtures, a stream."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tamis.runtime import Float64, Int32, Int64
from tamis.schema import ConfigError

SAMPLERS = ("uniform", "popular", "in_batch", "hard")
"""What a mixture may be made of."""
POPULARITY_POWER = 0.75


class FrequencyEstimator:
    """How often each item appears in a stream of batches (Yi et al. 2019, algorithm 2).

    Hashed arrays hold the step at which an item was last seen and the moving average of the gap
    between its steps; the chance of being in a batch is 1 / gap. Several hashes, of which the
    largest gap counts, keep collisions from making rare items look frequent. Until an item has
    been seen 1 / rate times its average is the plain mean, so that the start leaves no bias.

    Args:
        buckets: places per hash, rounded up to a power of two.
        hashes: arrays, each with a hash of its own.
        rate: weight of the newest gap in the moving average, (0, 1].
    """

    def __init__(self, buckets: int = 2**20, hashes: int = 2, rate: float = 0.01) -> None:
        if not 0 < rate <= 1:
            raise ConfigError(f"rate = {rate}: the weight of the newest gap must be in (0, 1]")
        self.bits = max(1, int(np.ceil(np.log2(max(buckets, 2)))))
        shape = (hashes, 2**self.bits)
        self.rate, self.step = rate, 0
        self._last = np.zeros(shape, np.int64)
        self._gap = np.zeros(shape, np.float64)
        self._seen = np.zeros(shape, np.int64)

    def update(self, items: NDArray[Any]) -> None:
        """One step of the stream: the items of a batch; repeats within it count once."""
        self.step += 1
        rows = np.ascontiguousarray(items, np.int64)
        _observe(rows, self.step, self.bits, self.rate, self._last, self._gap, self._seen)

    def frequency(self, items: NDArray[Any]) -> Float64:
        """(n,) estimated chance that a batch holds each item, (0, 1]; 1 / step of unseen ones."""
        rows = np.ascontiguousarray(items, np.int64)
        gap = np.empty(len(rows))
        _gaps(rows, self.bits, self._gap, self._seen, float(max(self.step, 1)), gap)
        return 1.0 / np.maximum(gap, 1.0)


@njit(cache=True, nogil=True, inline="always")
def _place(item, hash_number, bits):
    """Multiply-shift hashing with an odd multiplier per array."""
    odd = np.uint64(0x9E3779B97F4A7C15) + np.uint64(2 * hash_number) * np.uint64(0xD1B54A32D192ED03)
    mixed = (np.uint64(item) + np.uint64(1)) * (odd | np.uint64(1))
    return np.int64(mixed >> np.uint64(64 - bits))


@njit(cache=True, nogil=True)
def _observe(items, step, bits, rate, last, gap, seen):
    for k in range(len(items)):
        for h in range(last.shape[0]):
            at = _place(items[k], h, bits)
            if last[h, at] == step:  # a repeat, or a collision within the batch
                continue
            seen[h, at] += 1
            weight = max(rate, 1.0 / seen[h, at])
            gap[h, at] += weight * (step - last[h, at] - gap[h, at])
            last[h, at] = step


@njit(cache=True, nogil=True)
def _gaps(items, bits, gap, seen, unseen, out):
    for k in range(len(items)):
        largest = 0.0
        for h in range(gap.shape[0]):
            at = _place(items[k], h, bits)
            largest = max(largest, gap[h, at] if seen[h, at] else unseen)
        out[k] = largest


@dataclass(frozen=True, eq=False)
class HardNegatives:
    """Per user, the items that a later stage rejected: list u is `item[indptr[u]:indptr[u + 1]]`,
    ascending, without repeats and without the user's positives."""

    indptr: Int64
    item: Int32

    @classmethod
    def none(cls, users: int) -> Self:
        return cls(np.zeros(users + 1, np.int64), np.zeros(0, np.int32))

    @classmethod
    def of(cls, user: NDArray[Any], item: NDArray[Any], users: int, items: int) -> Self:
        """Of (user row, item row) pairs in any order."""
        key = np.unique(user.astype(np.int64) * items + item)
        counts = np.bincount(key // max(items, 1), minlength=users)
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return cls(indptr, (key % max(items, 1)).astype(np.int32))

    def counts(self, users: NDArray[Any]) -> Int64:
        """(B,) items rejected for each of `users` (rows; -1 = none)."""
        there = users >= 0
        rows = np.where(there, users, 0)
        return np.where(there, self.indptr[rows + 1] - self.indptr[rows], 0)

    def draw(self, users: NDArray[Any], n: int, random: np.random.Generator) -> Int64:
        """(B, n) of each user's rejected items, uniform, repeats possible; -1 where he has none."""
        counts = self.counts(users)
        at = (random.random((len(users), n)) * counts[:, None]).astype(np.int64)
        place = self.indptr[np.maximum(users, 0)][:, None] + at
        if not len(self.item):
            return np.full((len(users), n), -1, np.int64)
        drawn = self.item[np.minimum(place, len(self.item) - 1)].astype(np.int64)
        return np.where(counts[:, None] > 0, drawn, -1)

    def pairs(self, users: NDArray[Any]) -> tuple[Int64, Int64]:
        """All (place in `users`, item) of the users' lists."""
        counts = self.counts(users)
        ends = np.cumsum(counts)
        owner = np.repeat(np.arange(len(users)), counts)
        start = np.repeat(self.indptr[np.maximum(users, 0)] - (ends - counts), counts)
        return owner, self.item[start + np.arange(len(owner))].astype(np.int64)


@dataclass(eq=False)
class Mixture:
    """Negatives from several samplers at once, and the probability that the mixture gives an item.

    shares: of each name of `SAMPLERS`, adding up to 1. `hard` draws from the user's own rejected
    items; a user without any gets none of these, which shifts all his probabilities alike.
    """

    shares: Mapping[str, float]
    negatives: int
    """Draws: per batch (`shared`) or per positive (`each`)."""
    random: np.random.Generator
    popularity: NDArray[Any]
    """(I,) positive events of each item."""
    hard: HardNegatives | None = None
    stream: FrequencyEstimator = field(default_factory=FrequencyEstimator)
    batch_items: float = 0.0
    """Distinct items of a batch, on average so far."""
    _steps: int = 0

    def __post_init__(self) -> None:
        unknown = sorted(set(self.shares) - set(SAMPLERS))
        total = sum(self.shares.values())
        if unknown or any(s < 0 for s in self.shares.values()) or abs(total - 1) > 1e-6:
            raise ConfigError(
                f"a mixture of negatives is of {', '.join(SAMPLERS)}, with shares that add up to "
                f"1: {dict(self.shares)!r} does not"
            )
        if self.shares.get("hard", 0) > 0 and self.hard is None:
            raise ConfigError(
                "a share of hard negatives needs `hard_negatives`: a file of rejected "
                "(user_id, item_id) rows or the name of a behaviour"
            )
        n = len(self.popularity)
        popular = np.asarray(self.popularity, np.float64) ** POPULARITY_POWER
        known = self._share("uniform") + self._share("popular")
        fixed = self._share("popular") * popular / max(float(popular.sum()), 1e-12)
        self.fixed = fixed + self._share("uniform") / max(n, 1)
        """(I,) what uniform and popular draws add to an item's probability."""
        self._cumulative = np.cumsum(self.fixed / max(known, 1e-12))

    def _share(self, name: str) -> float:
        return float(self.shares.get(name, 0.0))

    def observe(self, items: NDArray[Any]) -> None:
        """A batch's positive items, before its negatives are drawn."""
        if not self._share("in_batch"):
            return
        self.stream.update(items)
        self._steps += 1
        self.batch_items += (len(np.unique(items)) - self.batch_items) / self._steps

    def shared(self, batch: NDArray[Any]) -> Int64:
        """(n,) item rows drawn for all examples of a batch, whose positive items are `batch`; hard
        ones are drawn per example (`hard_draws`)."""
        n = self.negatives - self.hard_draws
        return self._draw(n, batch)

    @property
    def hard_draws(self) -> int:
        """Hard negatives per example beside the shared ones."""
        return round(self._share("hard") * self.negatives)

    def each(self, users: NDArray[Any], batch: NDArray[Any]) -> Int64:
        """(B, negatives) item rows drawn for each of `users` alone."""
        n = len(users)
        drawn = self._draw(n * self.negatives, batch).reshape(n, self.negatives)
        share = self._share("hard")
        if share and self.hard is not None:
            own = self.hard.draw(users, self.negatives, self.random)
            chosen = (self.random.random(own.shape) < share) & (own >= 0)
            drawn = np.where(chosen, own, drawn)
        return drawn

    def q(self, items: NDArray[Any]) -> Float64:
        """(n,) probability of each item in one draw, hard draws left out (they are the user's)."""
        items = np.asarray(items)
        q = self.fixed[items]
        if self._share("in_batch"):
            share = self.stream.frequency(items) / max(self.batch_items, 1.0)
            q = q + self._share("in_batch") * share
        return np.maximum(q, 1e-12)

    def _draw(self, n: int, batch: NDArray[Any]) -> Int64:
        """n rows of the samplers that are not the user's own."""
        known = self._share("uniform") + self._share("popular")
        rest = known + self._share("in_batch")
        if rest <= 0:  # hard alone: whoever has none gets uniform ones
            return self.random.integers(0, max(len(self.popularity), 1), n)
        if self._share("uniform") == rest:
            return self.random.integers(0, max(len(self.popularity), 1), n)
        from_batch = self.random.random(n) * rest >= known
        at = np.searchsorted(self._cumulative, self.random.random(n), side="right")
        drawn = np.minimum(at, len(self.popularity) - 1).astype(np.int64)
        if from_batch.any() and len(batch):
            some = np.unique(batch)
            drawn[from_batch] = some[self.random.integers(0, len(some), int(from_batch.sum()))]
        return drawn
