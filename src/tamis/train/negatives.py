"""Negative sampling for recall: samplers, mixtures of them, and sampling probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tamis.runtime import Float64, Int32, Int64
from tamis.runtime.compiled import njit
from tamis.schema import ConfigError

SAMPLERS = ("uniform", "popular", "in_batch", "hard")
"""Names of the samplers that a mixture may combine."""
POPULARITY_POWER = 0.75
"""Items are drawn in proportion to popularity to this power by the sampler `popular`."""


class FrequencyEstimator:
    """Estimates how often each item appears in a stream of batches (Yi et al. 2019, algorithm 2).

    Hashed arrays hold the step at which an item was last seen and the moving average of the gap
    between its steps; the probability of being in a batch is 1 / gap. The largest gap over several
    hashes counts, so that collisions do not make rare items look frequent. Until an item has been
    seen 1 / rate times its average is the arithmetic mean, which avoids a bias from the start.

    Args:
        buckets: buckets per hash, rounded up to a power of two.
        hashes: number of hash functions.
        rate: weight of the newest gap in the moving average, in (0, 1].

    Raises ConfigError for another rate.
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
        _observe(
            items=rows,
            step=self.step,
            bits=self.bits,
            rate=self.rate,
            last=self._last,
            gap=self._gap,
            seen=self._seen,
        )

    def frequency(self, items: NDArray[Any]) -> Float64:
        """(n,) probability that a batch holds each item, in (0, 1]; 1 / step if unseen."""
        rows = np.ascontiguousarray(items, np.int64)
        gap = np.empty(len(rows))
        _gaps(
            items=rows,
            bits=self.bits,
            gap=self._gap,
            seen=self._seen,
            unseen=float(max(self.step, 1)),
            out=gap,
        )
        return 1.0 / np.maximum(gap, 1.0)


@njit(cache=True, nogil=True, inline="always")
def _place(item, hash_number, bits):
    """Bucket of an item row, in [0, 2^bits): multiply-shift hashing, a multiplier per hash."""
    odd = np.uint64(0x9E3779B97F4A7C15) + np.uint64(2 * hash_number) * np.uint64(0xD1B54A32D192ED03)
    mixed = (np.uint64(item) + np.uint64(1)) * (odd | np.uint64(1))
    return np.int64(mixed >> np.uint64(64 - bits))


@njit(cache=True, nogil=True)
def _observe(items, step, bits, rate, last, gap, seen):
    """Updates the arrays by one batch.

    Args:
        items: int64 (n,) item rows of the batch.
        step: number of the batch, from 1.
        bits: log2 of the number of buckets.
        rate: weight of the newest gap, in (0, 1].
        last: int64 (hashes, buckets) step of the last appearance.
        gap: float64 (hashes, buckets) average gap in steps.
        seen: int64 (hashes, buckets) number of appearances.
    """
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
    """Writes each item's largest average gap over the hashes into `out` float64 (n,).

    items: int64 (n,); gap, seen: as for `_observe`; unseen: the gap of empty buckets.
    """
    for k in range(len(items)):
        largest = 0.0
        for h in range(gap.shape[0]):
            at = _place(items[k], h, bits)
            largest = max(largest, gap[h, at] if seen[h, at] else unseen)
        out[k] = largest


@dataclass(frozen=True, eq=False)
class HardNegatives:
    """Items per user that a later stage rejected.

    The list of user u is `item[indptr[u]:indptr[u + 1]]`: ascending, without duplicates and without
    the user's positives.
    """

    indptr: Int64
    """(users + 1,)."""
    item: Int32
    """Item rows."""
    sources: Mapping[str, int] = field(default_factory=dict[str, int])
    """Where the items are from → their number."""

    @classmethod
    def none(cls, users: int) -> Self:
        """Empty lists for `users` users."""
        return cls(np.zeros(users + 1, np.int64), np.zeros(0, np.int32))

    @classmethod
    def of(cls, user: NDArray[Any], item: NDArray[Any], users: int, items: int) -> Self:
        """Lists of (user row, item row) pairs in any order.

        user, item: (n,) rows. users, items: number of users and of items.
        """
        key = np.unique(user.astype(np.int64) * items + item)
        counts = np.bincount(key // max(items, 1), minlength=users)
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return cls(indptr, (key % max(items, 1)).astype(np.int32))

    def counts(self, users: NDArray[Any]) -> Int64:
        """(B,) number of items in the list of each of `users` (B,) (rows; -1 = no user)."""
        there = users >= 0
        rows = np.where(there, users, 0)
        return np.where(there, self.indptr[rows + 1] - self.indptr[rows], 0)

    def draw(self, users: NDArray[Any], n: int, random: np.random.Generator) -> Int64:
        """(B, n) items drawn with replacement from each user's list; -1 if it is empty."""
        counts = self.counts(users)
        at = (random.random((len(users), n)) * counts[:, None]).astype(np.int64)
        place = self.indptr[np.maximum(users, 0)][:, None] + at
        if not len(self.item):
            return np.full((len(users), n), -1, np.int64)
        drawn = self.item[np.minimum(place, len(self.item) - 1)].astype(np.int64)
        return np.where(counts[:, None] > 0, drawn, -1)

    def pairs(self, users: NDArray[Any]) -> tuple[Int64, Int64]:
        """All (place in `users`, item) pairs of the users' lists."""
        counts = self.counts(users)
        ends = np.cumsum(counts)
        owner = np.repeat(np.arange(len(users)), counts)
        start = np.repeat(self.indptr[np.maximum(users, 0)] - (ends - counts), counts)
        return owner, self.item[start + np.arange(len(owner))].astype(np.int64)


@dataclass(eq=False)
class Mixture:
    """Draws negatives from several samplers and computes the probability of drawing each item.

    The sampler `hard` draws from the items that were rejected for the user; a user without any gets
    none of these, which scales all of that user's probabilities by the same factor.

    Raises ConfigError for unknown samplers, shares that do not add up to 1, and a share of `hard`
    without lists of rejected items.
    """

    shares: Mapping[str, float]
    """Share of the draws of each sampler, by its name in `SAMPLERS`; they add up to 1."""
    negatives: int
    """Number of draws: per batch (`shared`) or per positive (`each`)."""
    random: np.random.Generator
    popularity: NDArray[Any]
    """(I,) number of positive events of each item."""
    hard: HardNegatives | None = None
    """Rejected items per user; needed for a share of `hard`."""
    stream: FrequencyEstimator = field(default_factory=FrequencyEstimator)
    """Frequencies of items in batches, for `in_batch`."""
    batch_items: float = 0.0
    """Average number of distinct items in a batch so far."""
    _steps: int = 0

    def __post_init__(self) -> None:
        unknown = sorted(set(self.shares) - set(SAMPLERS))
        total = sum(self.shares.values())
        if unknown or any(s < 0 for s in self.shares.values()) or abs(total - 1) > 1e-6:
            raise ConfigError(
                f"a mixture of negatives takes shares ≥ 0 of {', '.join(SAMPLERS)}, which add up "
                f"to 1; got {dict(self.shares)!r}"
            )
        if self.shares.get("hard", 0) > 0 and self.hard is None:
            raise ConfigError(
                f"a share of hard negatives ({self.shares['hard']:g}) needs `hard_negatives`: a "
                "file of rejected (user_id, item_id) rows or the name of a behaviour"
            )
        n = len(self.popularity)
        popular = np.asarray(self.popularity, np.float64) ** POPULARITY_POWER
        known = self._share("uniform") + self._share("popular")
        fixed = self._share("popular") * popular / max(float(popular.sum()), 1e-12)
        self.fixed = fixed + self._share("uniform") / max(n, 1)
        """(I,) probability of each item in one draw, by the uniform and popular samplers."""
        self._cumulative = np.cumsum(self.fixed / max(known, 1e-12))

    def _share(self, name: str) -> float:
        return float(self.shares.get(name, 0.0))

    def observe(self, items: NDArray[Any]) -> None:
        """Records the positive items (n,) of a batch; call it before drawing its negatives."""
        if not self._share("in_batch"):
            return
        self.stream.update(items)
        self._steps += 1
        self.batch_items += (len(np.unique(items)) - self.batch_items) / self._steps

    def shared(self, batch: NDArray[Any]) -> Int64:
        """(n,) item rows drawn for all examples of a batch, n = `negatives` − `hard_draws`.

        batch: (B,) positive items of the batch. Hard negatives are drawn per example.
        """
        n = self.negatives - self.hard_draws
        return self._draw(n, batch)

    @property
    def hard_draws(self) -> int:
        """Number of hard negatives per example, drawn in addition to the shared ones."""
        return round(self._share("hard") * self.negatives)

    def each(self, users: NDArray[Any], batch: NDArray[Any]) -> Int64:
        """(B, negatives) item rows drawn separately for each of `users` (B,)."""
        n = len(users)
        drawn = self._draw(n * self.negatives, batch).reshape(n, self.negatives)
        share = self._share("hard")
        if share and self.hard is not None:
            own = self.hard.draw(users, self.negatives, self.random)
            chosen = (self.random.random(own.shape) < share) & (own >= 0)
            drawn = np.where(chosen, own, drawn)
        return drawn

    def q(self, items: NDArray[Any]) -> Float64:
        """(n,) probability of each item in one draw by the samplers other than `hard`."""
        items = np.asarray(items)
        q = self.fixed[items]
        if self._share("in_batch"):
            share = self.stream.frequency(items) / max(self.batch_items, 1.0)
            q = q + self._share("in_batch") * share
        return np.maximum(q, 1e-12)

    def _draw(self, n: int, batch: NDArray[Any]) -> Int64:
        """n item rows from the samplers that do not depend on the user."""
        known = self._share("uniform") + self._share("popular")
        rest = known + self._share("in_batch")
        if rest <= 0:  # only hard: users without rejected items get uniform draws
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
