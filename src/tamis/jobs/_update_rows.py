"""The new labelled rows of an update: which are new, and which of them are held out.

impressions    ── serving version ──|─── learnt first ────|─ held out ─|  end
replays        ── serving version ──|── windows ──────|─ last window: held out ─|  end
one window     ── serving version ──|── window: some users learnt, the others held out ──|  end
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from tamis.bundle import Manifest
from tamis.cascade import REPLAY_USERS, Replay, impression_window, replay_window, returning_users
from tamis.jobs._judge import taken
from tamis.jobs._replays import FEWEST_USERS, IMPRESSIONS, Replays, as_served
from tamis.runtime import Int32
from tamis.schema import TrainingError
from tamis.splitting import Window

JUDGED = 100
"""Users of a single window who are held out even if they are more than the share of
`[update] holdout`, up to half of them: chance hides what fewer could show."""
ENOUGH = 50
"""Positive labels on which an intercept is corrected."""


class NewStretch(NamedTuple):
    """What is new, and how it is divided."""

    since: int
    """Events that arrived from then on are new, ms."""
    cut: int
    """The candidate knows what arrived before, ms."""
    windows: tuple[Window, ...]
    """Replayed windows; () of a log with impressions, or where no horizon has passed."""
    learnt_until: int
    """Up to when labels have been learnt after the update: the next one goes on from there."""
    note: str | None = None
    """Why the ranker cannot learn yet."""


Labelled = Sequence[tuple[Window, Replay]]
"""Windows and the labelled rows of each."""


@dataclass(frozen=True, eq=False)
class UpdateRows:
    """The new labelled rows: those that the candidate learns, and those held out."""

    first: Labelled
    held_out: Labelled
    """One window at most."""
    users: Int32 | None = None
    """Rows of the users that slates are judged by; None: all who chose an item later."""

    def __len__(self) -> int:
        return sum(len(part.labels) for _, part in (*self.first, *self.held_out))


def new_stretch(replays: Replays, manifest: Manifest) -> NewStretch:
    """Divides what is new since the version of `manifest`."""
    data, config, since = replays.data, replays.config, manifest.data_until
    events = data.events
    share = 1 - config.update.holdout
    times = np.sort(events.time[events.arrival >= since])
    times = times[times >= since]
    cut = int(times[min(int(share * len(times)), len(times) - 1)]) if len(times) else since
    if replays.impressions:
        return NewStretch(since, cut, (), data.end)
    length = manifest.horizon or replays.horizon
    begin = int(manifest.update.get("learnt_until", since))
    count = (int(events.time[-1]) + 1 - begin) // length
    if not count:
        note = (
            f"the horizon of labels is {length / 86_400_000:.2g} days, and less than that has "
            "passed since the ranker learnt last: it keeps its weights for now, and the next "
            "update goes on from there"
        )
        return NewStretch(since, cut, (), begin, note)
    every = [
        Window(begin + k * length, begin + (k + 1) * length)
        for k in range(max(0, count - config.split.windows), count)
    ]
    windows = tuple(window for window in every if _returns(replays, window))
    cut = windows[-1].start if windows else cut
    return NewStretch(since, cut, windows, begin + count * length)


def _returns(replays: Replays, window: Window) -> bool:
    """Whether a user with a history comes back in the window."""
    known = replays.data.as_of(window.end)
    return len(returning_users(known, replays.histories, window)) > 0


def new_rows(replays: Replays, stretch: NewStretch) -> UpdateRows:
    """The labelled rows of what is new."""
    if replays.impressions:
        first = _impressions(replays, Window(stretch.since, stretch.cut))
        return UpdateRows(first, _impressions(replays, Window(stretch.cut, replays.data.end)))
    if not stretch.windows:
        return UpdateRows((), ())
    *first, last = _replayed(replays, stretch.windows)
    if first:
        return UpdateRows(first, (last,), last[1].queries.user)
    return _divided(last, replays.config.update.holdout, replays.config.seed)


def known_now(replays: Replays, stretch: NewStretch, new: UpdateRows) -> Labelled:
    """All new rows with labels as they are known now: what followed the first impressions after the
    cut was unknown to the candidate."""
    if replays.impressions:
        return _impressions(replays, Window(stretch.since, replays.data.end))
    return (*new.first, *new.held_out)


def _impressions(replays: Replays, window: Window) -> Labelled:
    """The impressions of a window, with labels as known at its end; empty without any."""
    try:
        found = impression_window(
            replays.config,
            replays.data.as_of(window.end),
            replays.histories,
            window,
            IMPRESSIONS,
            positions=True,
        )
    except TrainingError:
        return ()
    return ((window, found),)


def _replayed(replays: Replays, windows: Sequence[Window]) -> Labelled:
    """Replays of the windows, of so many users that `[split] max_rows` holds."""
    config = replays.config
    quotas = sum(channel.quota for channel in config.cascade.channels.values())
    per_window = config.split.max_rows / len(windows)
    most = int(np.clip(per_window / max(quotas, 1), FEWEST_USERS, REPLAY_USERS))
    return [
        (
            window,
            replay_window(
                config,
                replays.data.as_of(window.end),
                replays.histories,
                replays.retrieval(window.start),
                window,
                config.seed,
                most_users=most,
            ),
        )
        for window in windows
    ]


def _divided(only: tuple[Window, Replay], holdout: float, seed: int) -> UpdateRows:
    """The rows of a single window: some of its users are held out, so that the candidate has
    something to learn."""
    window, replay = only
    users = len(replay.queries)
    count = max(1, round(holdout * users), min(JUDGED, users // 2))
    held = np.sort(np.random.default_rng(seed).permutation(users)[:count])
    kept = np.setdiff1d(np.arange(users), held)
    first = ((window, taken(replay, kept)),) if len(kept) else ()
    return UpdateRows(first, ((window, taken(replay, held)),), replay.queries.user[held])


def unweighted(rows: Labelled) -> Labelled:
    """The rows as requests have them, each of which counts once: what calibrations and levels are
    fitted on."""
    return [(window, replace(as_served(replay), weights=None)) for window, replay in rows]


def newest(rows: Labelled) -> Labelled:
    """The latest windows that hold at least ENOUGH positive labels of the first task together, or
    all of them."""
    found: list[tuple[Window, Replay]] = []
    positives = 0
    for window, replay in sorted(rows, key=lambda one: one[0], reverse=True):
        if positives >= ENOUGH and window != found[0][0]:
            break
        found.insert(0, (window, replay))
        positives += int((replay.labels[:, 0] > 0).sum())
    return found
