"""Builds batches of queries from a log: at its end, or for the users of a protocol."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.cascade.protocols import Valid
from tamis.cascade.query import Queries
from tamis.data import Context, Dataset, Ragged
from tamis.features import Histories, History
from tamis.runtime import Int32, Int64
from tamis.splitting import Holdout


def at_end(data: Dataset, users: Int32, exclude_seen: bool = True) -> Queries:
    """Queries of `users` (rows, -1 for unknown) at `data.end`, with their whole history."""
    return user_queries(data, users, np.full(len(users), data.end, np.int64), exclude_seen)


def holdout_queries(
    holdout: Holdout, exclude_seen: bool = True, rows: Int64 | slice | None = None
) -> Queries:
    """The queries of an evaluation protocol, each with the history that is known at its time.

    Args:
        exclude_seen: whether seen items are masked, that is, may not be recalled.
        rows: numbers of the wanted queries, for work in batches; None: all.
    """
    which = slice(None) if rows is None else rows
    return user_queries(holdout.known, holdout.users[which], holdout.time[which], exclude_seen)


def valid_of(holdout: Holdout, exclude_seen: bool = True) -> Valid:
    """A protocol as validation data of a fit: `FitContext(valid=valid_of(carve(data)))`."""
    return Valid(holdout_queries(holdout, exclude_seen), holdout.targets)


def user_queries(data: Dataset, users: Int32, time: Int64, exclude_seen: bool = True) -> Queries:
    """Queries of `users` (Q,) at `time` (Q,) in ms, with all events of the user in `data`.

    Their context is that of each user's last event before the time. The caller makes sure that
    `data` holds no later event of the user.
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
    context = context_before(data, users, time)
    return Queries(users.astype(np.int32), time, history, exclude, context)


def queries_at(
    histories: Histories,
    user: NDArray[np.int32],
    time: NDArray[np.int64],
    exclude: Ragged | None = None,
    context: Context | None = None,
) -> Queries:
    """Queries of `user` (Q,) at `time` (Q,) in ms, each with the history as of its time."""
    exclude = exclude or Ragged.empty(len(user))
    return Queries(user, time, histories.at(user, time), exclude, context)


def context_before(
    data: Dataset, user: NDArray[np.int32], time: NDArray[np.int64]
) -> Context | None:
    """The context of each user's last event that arrived strictly before the time in ms (Q,).

    Of equal arrivals the last in the log counts; events of which no context is known do not count.
    None where the log has no columns of context.
    """
    context = data.events.context
    return None if context is None else context.at(event_before(data, user, time))


def event_before(
    data: Dataset, user: NDArray[np.int32], time: NDArray[np.int64]
) -> NDArray[np.int64]:
    """(Q,) rows of the events whose context `context_before` returns; -1 where there is none."""
    events = data.events
    if events.context is None:
        return np.full(len(user), -1, np.int64)
    wanted = np.zeros(len(data.users) + 1, np.bool_)
    wanted[user] = True
    wanted[-1] = False  # users that are not in the table
    rows = np.flatnonzero(wanted[events.user] & events.context.known())
    asked = {"user": user, "time": time, "query": np.arange(len(user))}
    given = {"user": events.user[rows], "time": events.arrival[rows], "event": rows}
    found = (
        pl.DataFrame(asked)
        .sort("time", maintain_order=True)
        .join_asof(
            pl.DataFrame(given).sort("time", maintain_order=True),
            on="time",
            by="user",
            strategy="backward",
            allow_exact_matches=False,
            check_sortedness=False,
        )
        .sort("query")
    )
    return found["event"].fill_null(-1).to_numpy()
