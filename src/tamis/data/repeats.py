"""How often users come back to items that they know: the repeat share of a log."""

from __future__ import annotations

import numpy as np

from tamis.data.dataset import Dataset

VISIT_HOURS = 6.0
"""Events of a user on one item that are less than so many hours apart belong to one visit: a view,
a cart and a purchase within an hour are no repeat consumption."""
HOUR_MS = 3_600_000.0


def repeat_share(data: Dataset, visit_hours: float = VISIT_HOURS) -> float:
    """Share of the positive events whose user had acted on the same item before, in [0, 1].

    Every event but impressions is an action; it counts as "before" if it lies at least
    `visit_hours` earlier. 0 for a log without positive events.
    """
    events = data.events
    acted = np.flatnonzero(data.seen & (events.user >= 0) & (events.item >= 0))
    if not len(acted):
        return 0.0
    key = events.user[acted].astype(np.int64) * len(data.items) + events.item[acted]
    order = np.argsort(key, kind="stable")  # events are in order of time, so pairs are as well
    key, time = key[order], events.time[acted[order]]
    new = np.r_[True, key[1:] != key[:-1]]
    first = time[np.flatnonzero(new)][np.cumsum(new) - 1]
    positive = data.positive[acted[order]]
    repeated = positive & (time - first >= visit_hours * HOUR_MS)
    return float(repeated.sum() / positive.sum()) if positive.any() else 0.0


FEWEST_EVENTS = 30
"""Fewest events that a behaviour's return rate is taken from."""


def return_rates(data: Dataset, visit_hours: float = VISIT_HOURS) -> dict[str, float]:
    """{behaviour: share of later, at least equally strong positive events on items known by it}.

    For a purchase: the share of purchases of items that their user had bought before. For a view:
    the share of all positive events of at least its weight on items that their user had viewed at
    least `visit_hours` before. Where it is low, users who have done this with an item do not come
    back for it. Impressions and behaviours with fewer than `FEWEST_EVENTS` such events are left
    out.
    """
    events = data.events
    usable = (events.user >= 0) & (events.item >= 0)
    pair = events.user.astype(np.int64) * len(data.items) + events.item
    rates: dict[str, float] = {}
    for code, behaviour in enumerate(data.behaviours):
        if behaviour.impression:
            continue
        strong = [b.positive and b.interest >= behaviour.interest for b in data.behaviours]
        later = np.flatnonzero(usable & np.array(strong)[events.behaviour])
        known = np.flatnonzero(usable & (events.behaviour == code))
        if len(later) < FEWEST_EVENTS or len(known) < FEWEST_EVENTS:
            continue
        pairs, first = np.unique(pair[known], return_index=True)  # events are in order of time
        at = np.minimum(np.searchsorted(pairs, pair[later]), len(pairs) - 1)
        since = events.time[later] - events.time[known[first[at]]]
        back = (pairs[at] == pair[later]) & (since >= visit_hours * HOUR_MS)
        rates[behaviour.name] = float(back.mean())
    return rates
