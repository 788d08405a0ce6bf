"""Foursquare: the next check-in from the place of the last one, by geohash, against hot.

Options of both channels are chosen one after the other on a time split of the train part; both are
then fitted on all of it. Nothing is random: every seed gives the same figures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from benchmarks.recall import foursquare, peak_mb

from tamis.cascade import Channel, FitContext
from tamis.data import Dataset
from tamis.evaluate import ChannelMetrics, evaluate_channel
from tamis.recall import Geohash, Hot
from tamis.schema import TableConfig
from tamis.splitting import Holdout, by_time

PROTOCOL = (
    "global time split, cut at 0.9 of the check-ins; asked for: each known user's first check-in "
    "after the cut, full ranking of all places; where = the last check-in before the cut. Main "
    "figures: revisits count and nothing is masked; new_*: only places never visited before, "
    "visited ones masked. Options chosen by hit@50 at a cut at 0.9 of the train part"
)
KS = (10, 20, 50)
_ROLES = TableConfig(path="", id="id", latitude="latitude", longitude="longitude")
Make = Callable[..., Channel]
Say = Callable[[str], None]
_HALF_LIVES = [{"half_life": days} for days in (7.0, 30.0, 120.0, inf)]
_GEOHASH = (
    [{"precision": p, "coarsest": c} for p, c in ((3, 3), (4, 4), (4, 3), (5, 5), (5, 3), (6, 3))],
    [{"near": km} for km in (0.1, 0.3, 1.0, 3.0, 10.0)],
    [{"falloff": power} for power in (0.5, 1.0, 1.5, 2.0)],
    _HALF_LIVES,
)


def run(seed: int, data: Path | None, say: Say) -> dict[str, float]:
    """The metrics of one seed."""
    del seed
    log = foursquare(data)
    split = by_time(log, first=1, repeats=True)
    new = by_time(log, first=1)
    say(f"{len(log.users):,} users, {len(log.items):,} places, {len(log.events):,} check-ins")
    say(f"asked: {len(split):,} users; {_revisits(split):.1%} of their next places are revisits")
    began = perf_counter()
    geo = _chosen(Geohash, _GEOHASH, split.train, say)
    hot = _chosen(Hot, [_HALF_LIVES], split.train, say)
    chosen = perf_counter() - began
    found = {"geohash": _evaluated(Geohash(**geo), split), "hot": _evaluated(Hot(**hot), split)}
    fresh = {
        "geohash": _evaluated(Geohash(**geo), new, mask=True),
        "hot": _evaluated(Hot(**hot), new, mask=True),
    }
    for name in found:
        say(
            f"{name}: hit@50 {found[name].metrics['hit@50']:.4f}, of new places "
            f"{fresh[name].metrics['hit@50']:.4f}, {found[name].users_per_second:,.0f} users/s"
        )
    return {
        **found["geohash"].metrics,
        **{f"hot_{key}": found["hot"].metrics[key] for key in ("hit@10", "hit@20", "hit@50")},
        **{f"new_{key}": fresh["geohash"].metrics[key] for key in ("hit@10", "hit@50")},
        "new_hot_hit@50": fresh["hot"].metrics["hit@50"],
        "users_per_second": found["geohash"].users_per_second,
        "choose_seconds": chosen,
        "peak_mb": peak_mb(),
    }


def _chosen(
    make: Make, steps: Sequence[Sequence[dict[str, Any]]], train: Dataset, say: Say
) -> dict[str, Any]:
    """Options chosen step by step, each by the best hit@50 on a time split of the train part."""
    inner = by_time(train, first=1, repeats=True)
    settings: dict[str, Any] = {}
    best, tried = 0.0, 0
    for step in steps:
        scored = [
            (_evaluated(make(**settings, **each), inner).metrics["hit@50"], number)
            for number, each in enumerate(step)
        ]
        best, number = max(scored, key=lambda pair: (pair[0], -pair[1]))
        settings |= step[number]
        tried += len(step)
    say(f"{make.__name__}: {settings} chosen of {tried}, hit@50 {best:.4f} there")
    return settings


def _evaluated(channel: Any, split: Holdout, mask: bool = False) -> ChannelMetrics:
    fitted = channel.fit(split.train, FitContext(items=_ROLES))
    return evaluate_channel(fitted, split, KS, exclude_seen=mask)


def _revisits(split: Holdout) -> float:
    """The share of targets that their user has visited before."""
    events = split.train.events
    base = len(split.train.items)
    met = np.unique(events.user.astype(np.int64) * base + events.item)
    asked = split.users[split.targets.query].astype(np.int64) * base + split.targets.values
    return float(np.isin(asked, met).mean())
