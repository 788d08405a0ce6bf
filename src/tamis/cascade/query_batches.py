"""A batch of queries out of a log: everybody at its end, or the users of a protocol."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tamis.cascade.protocols import Valid
from tamis.cascade.query import Queries
from tamis.data import Dataset, Ragged
from tamis.features import Histories, History
from tamis.runtime import Int32, Int64
from tamis.splitting import Holdout


def at_end(data: Dataset, users: Int32, exclude_seen: bool = True) -> Queries:
    """Queries of `users` (rows, -1 allowed) at `data.end`, with all their past in the history."""
    return asked_of(data, users, np.full(len(users), data.end, np.int64), exclude_seen)


def holdout_queries(
    holdout: Holdout, exclude_seen: bool = True, rows: Int64 | slice | None = None
) -> Queries:
    """The questions of a protocol: every user of it with all that is known of him then.

    exclude_seen: seen items may not be recalled (they are masked). rows: numbers of the questions
    wanted, for work in batches; None = all.
    """
    which = slice(None) if rows is None else rows
    return asked_of(holdout.known, holdout.users[which], holdout.time[which], exclude_seen)


def valid_of(holdout: Holdout, exclude_seen: bool = True) -> Valid:
    """A protocol as what a fit stops by: `FitContext(valid=valid_of(carve(data)))`."""
    return Valid(holdout_queries(holdout, exclude_seen), holdout.targets)


def asked_of(data: Dataset, users: Int32, time: Int64, exclude_seen: bool = True) -> Queries:
    """Queries of `users` at `time` (ms), each with all of the user's events in `data` behind it.

    The caller answers for the time: `data` holds nothing of the user that is later.
    """
    events, n_users = data.events, len(data.users)
    counts = np.bincount(events.user, minlength=n_users)
    begins = np.cumsum(counts) - counts
    order = np.argsort(events.user, kind="stable")
    known = users >= 0
    rows = np.where(known, users, 0)
    sizes = np.where(known, counts[rows], 0) if n_users else np.zeros(len(users), np.int64)
    begin = begins[rows] if n_users else sizes
    ends = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    at = order[np.repeat(begin - ends[:-1], sizes) + np.arange(ends[-1])]
    history = History(
        ends, events.item[at], events.behaviour[at], events.time[at], events.value[at]
    )
    exclude = Ragged.empty(len(users))
    if exclude_seen:
        owner, seen = np.repeat(np.arange(len(users)), sizes), data.seen[at]
        exclude = Ragged.from_pairs(owner[seen], history.item[seen], len(users))
    return Queries(users.astype(np.int32), time, history, exclude)


def queries_at(
    histories: Histories,
    user: NDArray[np.int32],
    time: NDArray[np.int64],
    exclude: Ragged | None = None,
) -> Queries:
    """Queries with each user's history as of its time."""
    return Queries(user, time, histories.at(user, time), exclude or Ragged.empty(len(user)))
