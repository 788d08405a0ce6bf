"""Bootstrap intervals of a mean over users, and of the difference of two methods (paired)."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from tamis.schema import DataError


@dataclass(frozen=True)
class Interval:
    """A mean with its percentile interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"

    def to_dict(self) -> dict[str, float]:
        return asdict(self)


def bootstrap_mean(
    per_user: NDArray[np.float64], *, seed: int = 0, resamples: int = 2000, confidence: float = 0.95
) -> Interval:
    """The mean over users with its percentile interval (Efron 1979); NaN users are left out."""
    values = np.asarray(per_user, np.float64)
    values = values[~np.isnan(values)]
    if not len(values):
        return Interval(float("nan"), float("nan"), float("nan"))
    rng = np.random.default_rng(seed)
    means = np.empty(resamples)
    # In chunks: the drawn indices take 8 bytes × users × resamples otherwise.
    chunk = max(1, 4_000_000 // len(values))
    for start in range(0, resamples, chunk):
        stop = min(start + chunk, resamples)
        drawn = rng.integers(0, len(values), (stop - start, len(values)))
        means[start:stop] = values[drawn].mean(1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(values.mean()), float(low), float(high))


def paired_bootstrap(
    ours: NDArray[np.float64],
    theirs: NDArray[np.float64],
    *,
    seed: int = 0,
    resamples: int = 2000,
    confidence: float = 0.95,
) -> Interval:
    """The mean of ours − theirs over the same users, with its interval.

    Both are (users,) values of one metric; users without a value (NaN) in either are left out. The
    improvement is significant if `low > 0`.
    """
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if ours.shape != theirs.shape:
        raise DataError(
            f"a paired comparison needs the same users: got {ours.shape} and {theirs.shape} values"
        )
    return bootstrap_mean(ours - theirs, seed=seed, resamples=resamples, confidence=confidence)
