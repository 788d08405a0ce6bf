"""Estimates time and memory of a training before it begins, from counts of the data.

    estimate(config, data, calibrate())

A matrix product of 1,000 × 1,000 numbers measures this machine. The operations of each stage follow
from the number of users, items, events and rows by the formulas of the stages' docstrings, and run
at a share of the measured rate that was found on small projects. The result is an order of
magnitude: whether a training takes seconds, minutes or hours, and which stage takes them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from time import perf_counter
from typing import Any

import numpy as np

from tamis.data import Dataset
from tamis.schema import ChannelConfig, ProjectConfig, StageConfig
from tamis.splitting import replay_windows, windows

SIDE = 1_000
"""Rows and columns of the matrices that the machine is measured with."""
LONG_MINUTES = 10.0
"""Minutes from which on `tamis train` prints the estimate."""
PROTOCOL = (
    "from the counts of the data and a product of two 1,000 × 1,000 matrices on this machine; "
    "expect a factor of 3 in either direction"
)
REPLAYED_USERS = 20_000
"""Most users replayed per window; see `tamis.cascade.REPLAY_USERS`."""
_DENSE, _SPARSE = 0.5, 0.02
"""Share of the measured rate that large matrices, and many small or scattered ones, reach."""
_EVENT_SECONDS = 3e-7
"""Seconds per event of a pass over the log: sorting, counting."""
_ROW_SECONDS = 1e-5
"""Seconds per ranking row that is recalled, labelled and gathered."""
_NETWORK_SECONDS, _LINEAR_SECONDS, _TREE_SECONDS = 3e-6, 1e-6, 1e-5
"""Seconds per row and epoch, beside the products, of networks, linear models and trees."""
_BASE_MB = 1_500.0
"""Resident memory of the libraries, without data: up to 1,700 MB in small trainings."""


@dataclass(frozen=True)
class LogCounts:
    """What the estimates depend on."""

    users: int
    items: int
    events: int
    likes: int
    """Distinct pairs of a user and a positively rated item."""
    liked: int
    """Items with a positive event."""
    pairs: float
    """Σ over users of (liked items)², at most 500² each: pairs that item similarities count."""

    @classmethod
    def of(cls, data: Dataset) -> LogCounts:
        events = data.events
        where = data.positive & (events.user >= 0) & (events.item >= 0)
        keys = np.unique(events.user[where].astype(np.int64) << 32 | events.item[where])
        each = np.bincount(keys >> 32, minlength=len(data.users)).astype(np.float64)
        return cls(
            users=int(np.count_nonzero(each)),
            items=len(data.items),
            events=len(events),
            likes=len(keys),
            liked=len(np.unique(keys & 0xFFFFFFFF)),
            pairs=float((np.minimum(each, 500) ** 2).sum()),
        )


@dataclass(frozen=True)
class StageCost:
    """The estimated cost of one stage."""

    stage: str
    fits: int
    """Number of times that a training fits it."""
    seconds: float
    """Of all fits together."""
    mb: float
    """Memory that one fit adds, in MB of 10^6 bytes."""
    why: str
    """The counts that decide it."""


@dataclass(frozen=True)
class Estimate:
    """The estimated cost of `tamis train`."""

    stages: tuple[StageCost, ...]
    seconds: float
    peak_mb: float
    gflops: float
    """Measured rate of the matrix product, 10^9 operations per second."""
    protocol: str = PROTOCOL

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def text(self) -> str:
        """One sentence: the time, the memory and the longest stage."""
        longest = max(self.stages, key=lambda stage: stage.seconds)
        return (
            f"training takes about {span(self.seconds)} and {self.peak_mb / 1000:.1f} GB of memory "
            f"on this machine, of that {longest.stage} about {span(longest.seconds)} "
            f"({longest.why})"
        )


def span(seconds: float) -> str:
    """A duration for people: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5_400 else f"{seconds / 3_600:.1f} h"


def calibrate() -> float:
    """10^9 operations per second of a float32 matrix product on this machine, the best of 15."""
    a = np.random.default_rng(0).random((SIDE, SIDE), np.float32)
    best = 0.0
    for _ in range(15):  # others may use the processor during some of them
        start = perf_counter()
        np.matmul(a, a)
        best = max(best, 2 * SIDE**3 / max(perf_counter() - start, 1e-9))
    return best / 1e9


def estimate(config: ProjectConfig, data: Dataset, gflops: float) -> Estimate:
    """What `tamis train` costs on a machine of the measured rate.

    Both versions are trained: channels are fitted as of every replayed window, of the test cut and
    of the end of the log; with impressions only of the last two, and of the validation window where
    the order of the candidates is chosen.
    """
    counts, rate = LogCounts.of(data), gflops * 1e9
    fits = _channel_fits(config, data)
    stages = [_channel(name, c, counts, rate, fits) for name, c in config.cascade.channels.items()]
    rows = _rows(config, data)
    stages.append(
        StageCost("rows", 1, 2 * rows * _ROW_SECONDS, rows * 200 / 1e6, f"{rows:,} ranking rows")
    )
    for stage in ("prerank", "rank"):
        declared: StageConfig | None = getattr(config.cascade, stage)
        if declared is not None:
            stages.append(_scorer(stage, declared, rows, rate, config))
    read = StageCost(
        "read", 1, counts.events * 3e-6 + 1.0, counts.events * 60 / 1e6, f"{counts.events:,} events"
    )
    stages.insert(0, read)
    largest = max((stage.mb for stage in stages if stage.stage.startswith("recall:")), default=0)
    scorers = (stage.mb for stage in stages if stage.stage in ("prerank", "rank"))
    # A process keeps what channels have used, while rows are made and rankers are fitted.
    peak = _BASE_MB + read.mb + largest + rows * 200 / 1e6 + max(scorers, default=0)
    return Estimate(tuple(stages), sum(s.seconds for s in stages), peak, round(gflops, 1))


def _channel_fits(config: ProjectConfig, data: Dataset) -> int:
    """How often a training of both versions fits each channel."""
    if data.has_impressions:
        return 2 + (config.cascade.order == "auto")
    return len(replay_windows(config.split, data.events)) + 2


def _rows(config: ProjectConfig, data: Dataset) -> int:
    """Ranking rows of all windows."""
    if data.has_impressions:
        shown = np.array([b.impression for b in data.behaviours])[data.events.behaviour]
        share = (config.split.test_from - config.split.valid_from) * len(
            windows(config.split, data.events)
        )
        return int(shown.sum() * min(share, 1.0))
    quotas = sum(channel.quota for channel in config.cascade.channels.values())
    per_query = min(quotas, len(data.items), config.cascade.merge.limit)
    events, users = data.events, 0
    for window in replay_windows(config.split, events):
        inside = (events.time >= window.start) & (events.time < window.end)
        users += min(len(np.unique(events.user[inside])), REPLAYED_USERS)
    return min(users * per_query, config.split.max_rows)


_Cost = Callable[[LogCounts, dict[str, Any]], tuple[float, float, str]]
"""(counts, options) → (operations at the dense rate, MB, the counts that decide)."""


def _ease(c: LogCounts, options: dict[str, Any]) -> tuple[float, float, str]:
    """(liked items)³ for the inverse; about six fits on the most liked for automatic options."""
    automatic = any(options.get(name, "auto") == "auto" for name in ("l2", "closeness", "decay"))
    tuned = min(c.liked, options.get("tune_items", 3_000))
    work = 2.0 * c.liked**3 + (6 * 2.0 * tuned**3 if automatic else 0.0)
    return work, 2 * 4 * c.liked**2 / 1e6, f"{c.liked:,} liked items, cubed"


def _neighbours(c: LogCounts, options: dict[str, Any]) -> tuple[float, float, str]:
    del options
    work = 8 * c.pairs * _DENSE / _SPARSE
    return work, 12 * min(c.pairs, c.liked * 2_000.0) / 1e6, f"{c.pairs:,.0f} pairs of likes"


def _users_neighbours(c: LogCounts, options: dict[str, Any]) -> tuple[float, float, str]:
    del options
    met = c.likes * c.likes / max(c.liked, 1)
    return 2 * met * _DENSE / _SPARSE, 16 * c.likes / 1e6, f"{met:,.0f} pairs of users who met"


def _swing(c: LogCounts, options: dict[str, Any]) -> tuple[float, float, str]:
    met = min(c.likes * c.likes / max(c.liked, 1), c.liked * options.get("most_users", 500) ** 2)
    each = c.likes / max(c.users, 1)
    work = 0.5 * met * each * _DENSE / _SPARSE
    return work, 12 * c.pairs / 1e6, f"{met:,.0f} pairs of users who met"


def _two_tower(c: LogCounts, options: dict[str, Any]) -> tuple[float, float, str]:
    dim, batches = options.get("embedding_dim") or 64, max(-(-c.users // 256), 1)
    epochs = options.get("epochs") or max(10, -(-200 // batches))  # at least 200 steps
    few = c.items <= 20_000 or (c.items <= 100_000 and c.items * c.users <= 4e8)
    full = c.items <= options["full_below"] if options.get("full_below") else few
    against = c.items if full else 2_000
    work = 6.0 * epochs * c.users * dim * against + 600 * epochs * c.likes * dim
    what = "items" if full else "sampled negatives"
    mb = c.items * dim * 16 / 1e6 + 256 * against * 8 / 1e6
    return work * _DENSE / 0.2, mb, f"{epochs} epochs × {c.users:,} users × {against:,} {what}"


def _sequence(c: LogCounts, options: dict[str, Any]) -> tuple[float, float, str]:
    dim, epochs = options.get("embedding_dim") or 64, options.get("epochs") or 50
    full = c.items <= (options.get("full_below") or 20_000)
    against = c.items if full else 2_000
    work = 6.0 * epochs * c.likes * dim * (against + 12 * dim)
    mb = c.items * dim * 16 / 1e6 + 128 * 50 * against * 4 / 1e6
    return work * _DENSE / 0.1, mb, f"{epochs} epochs × {c.likes:,} likes × {against:,} items"


def _factors(c: LogCounts, options: dict[str, Any]) -> tuple[float, float, str]:
    dim, epochs = options.get("embedding_dim") or 64, options.get("epochs") or 15
    work = 1.5 * epochs * (2.0 * c.likes * dim**2 + (c.users + c.items) * dim**3)
    return work, (c.users + c.items) * dim * 8 / 1e6, f"{epochs} epochs × {c.likes:,} likes"


_CHANNELS: dict[str, _Cost] = {
    "ease": _ease,
    "itemcf": _neighbours,
    "swing": _swing,
    "usercf": _users_neighbours,
    "two_tower": _two_tower,
    "fm": _two_tower,
    "deep_retrieval": _sequence,
    "sasrec": _sequence,
    "gru4rec": _sequence,
    "mf": _factors,
    "lookalike": _factors,
}
"""Channels whose fit is more than passes over the log."""


def _channel(
    name: str, declared: ChannelConfig, counts: LogCounts, rate: float, fits: int
) -> StageCost:
    """The cost of all fits of a channel; earlier windows hold fewer events, but not much fewer."""
    passes = counts.events * _EVENT_SECONDS + 0.05
    cost = _CHANNELS.get(declared.use or name)
    if cost is None:
        return StageCost(
            f"recall:{name}",
            fits,
            fits * passes,
            counts.items * 8 / 1e6,
            f"{counts.events:,} events",
        )
    work, mb, why = cost(counts, declared.options)
    return StageCost(f"recall:{name}", fits, fits * (passes + work / (rate * _DENSE)), mb, why)


def _scorer(
    stage: str, declared: StageConfig, rows: int, rate: float, config: ProjectConfig
) -> StageCost:
    """The cost of the fits of a pre-ranker or ranker: one that chooses, two for the versions; one
    more where replayed queries choose the order of the candidates."""
    options = declared.options
    epochs = options.get("epochs") or (
        options.get("trees", 200) / 20 if declared.use == "gbdt" else 3
    )
    units = [*options.get("hidden_units", (256, 128, 64)), 1]
    inputs = 24 * (options.get("embedding_dim") or 16)
    if declared.use in ("lr", "gbdt", "stored"):
        units, inputs = [1], 100
    widths = [inputs, *units]
    per_row = sum(6.0 * a * b for a, b in pairwise(widths))
    fits = 3 + (config.cascade.order == "auto")
    beside = {"lr": _LINEAR_SECONDS, "stored": _LINEAR_SECONDS, "gbdt": _TREE_SECONDS}
    each = beside.get(declared.use or "", _NETWORK_SECONDS)
    seconds = fits * epochs * rows * (per_row / (rate * _DENSE) + each)
    why = f"{fits} fits × {epochs:g} epochs × {rows:,} rows"
    return StageCost(stage, fits, seconds, rows * 150 / 1e6, why)
