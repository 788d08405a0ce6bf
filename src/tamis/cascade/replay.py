"""Training rows of the ranker: replayed queries, or impressions, with labels.

A log without impressions says what users liked, not what they saw and ignored. Past times are
therefore replayed: channels fitted on events before a cut recall candidates for queries at the
cut, and the events between the cut and the end of the window label them. A log with impressions
needs no replay: its impressions are the rows, each at its own time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tamis.cascade.candidates import Candidates
from tamis.cascade.query import Queries
from tamis.cascade.query_batches import context_before, queries_at
from tamis.cascade.replay_labels import answers, needed, task_labels, task_weights
from tamis.cascade.runner import Retrieval
from tamis.cascade.value import tasks_of
from tamis.data import UNKNOWN, Context, Dataset, Events, Ragged
from tamis.features import POSITION, Histories, History
from tamis.runtime import Float32
from tamis.schema import ProjectConfig, TrainingError

REPLAY_USERS = 20_000
"""Largest number of users replayed per window."""
REPLAY_BLOCK = 2_000
"""Queries that are recalled at a time, which bounds the memory of a replay."""


@dataclass(frozen=True, eq=False)
class Replay:
    """Labelled candidates of past queries."""

    queries: Queries
    candidates: Candidates
    labels: Float32
    """(n, tasks) 1 where one of the task's behaviours followed, else 0; a number for tasks that
    predict one; NaN where the task's condition does not hold or the number is missing."""
    left_out: int = 0
    """Number of users (of a replay) or impressions left out, beyond the limit of one window."""
    weights: Float32 | None = None
    """(n, tasks) sample weights; None: all rows weigh 1."""


def returning_users(
    data: Dataset, histories: Histories, window: tuple[int, int]
) -> NDArray[np.int32]:
    """Rows of the users with a history before the window and an event (but impressions) in it."""
    begin, end = window
    events = data.events
    inside = (events.time >= begin) & (events.arrival >= begin) & (events.time < end)
    users = np.unique(events.user[inside & data.seen])
    users = users[users != UNKNOWN]
    queries = queries_at(histories, users, np.full(len(users), begin, dtype=np.int64))
    return users[np.diff(queries.history.indptr) > 0]


def replay_window(
    config: ProjectConfig,
    data: Dataset,
    histories: Histories,
    retrieval: Retrieval,
    window: tuple[int, int],
    seed: int,
    *,
    most_users: int = REPLAY_USERS,
    negatives: float = 1.0,
) -> Replay:
    """Replays one query per returning user at window[0] with `retrieval`, fitted before it.

    Args:
        config, data, histories: of the project; `data` as known when the labels are made.
        retrieval: the channels and filters as of window[0].
        window: events in [begin, end) label the candidates.
        seed: draws users and negatives.
        most_users: of more returning users, so many are drawn.
        negatives: share of the negative labels to keep, for binary tasks only. A label that is left
            out becomes NaN; a candidate without any label is dropped. One random number per
            candidate serves all tasks.

    Raises TrainingError where no user returns.
    """
    begin, end = window
    users = returning_users(data, histories, window)
    if not len(users):
        raise TrainingError(
            f"no user with events before {_moment(begin)} came back in the window up to "
            f"{_moment(end)}: the ranker has nothing to learn from; give more events, or move "
            "[split] valid_from and windows"
        )
    random = np.random.default_rng([seed, begin // 1000])
    left_out = max(0, len(users) - most_users)
    if left_out:
        users = np.sort(random.choice(users, most_users, replace=False))
    time = np.full(len(users), begin, dtype=np.int64)
    every = context_before(data, users, time)
    parts: list[Replay] = []
    for at in range(0, len(users), REPLAY_BLOCK):
        here = slice(at, at + REPLAY_BLOCK)
        context = None if every is None else every.take(here)
        queries = queries_at(histories, users[here], time[here], context=context)
        queries, candidates = retrieval.candidates(queries)
        labels, weights = labels_and_weights(config, data, window, queries, candidates)
        if negatives < 1:
            out = (labels == 0) & (random.random(len(labels))[:, None] >= negatives)
            labels[out] = np.nan
            kept = np.flatnonzero(~np.isnan(labels).all(axis=1))
            candidates, labels = candidates.take(kept), labels[kept]
            weights = None if weights is None else weights[kept]
        parts.append(Replay(queries, candidates, labels, weights=weights))
    return replace(join(parts), left_out=left_out)


def candidate_labels(
    config: ProjectConfig,
    data: Dataset,
    window: tuple[int, int],
    queries: Queries,
    candidates: Candidates,
) -> Float32:
    """(n, tasks) labels of candidates of queries asked at window[0], one per user, by what these
    users did and what arrived in the window."""
    return labels_and_weights(config, data, window, queries, candidates)[0]


def labels_and_weights(
    config: ProjectConfig,
    data: Dataset,
    window: tuple[int, int],
    queries: Queries,
    candidates: Candidates,
) -> tuple[Float32, Float32 | None]:
    """`candidate_labels`, and the sample weights (n, tasks) that the project declares."""
    begin, end = window
    events, tasks = data.events, tasks_of(config)
    codes = [data.code(name) for name in needed(tasks)]
    inside = (events.time >= begin) & (events.arrival >= begin) & (events.time < end)
    row, event = _followed(data, inside & np.isin(events.behaviour, codes), queries, candidates)
    labels = task_labels(tasks, data, candidates.item, row, event)
    columns = _weight_columns(config)
    return labels, task_weights(columns, tasks, data, row, event, len(candidates))


def _weight_columns(config: ProjectConfig) -> list[str | None]:
    """Each task's column of sample weights."""
    return [task.sample_weight or config.events.sample_weight for task in tasks_of(config)]


def impression_window(
    config: ProjectConfig,
    data: Dataset,
    histories: Histories,
    window: tuple[int, int],
    most: int,
    *,
    positions: bool = False,
) -> Replay:
    """The impressions of [begin, end) as rows at their own times; the latest `most` of them.

    A label is 1 (or that event's value) when, at or after the impression, one of the task's
    behaviours followed on the same user, item and request (without request ids: before the item's
    next impression).

    positions: whether the candidates have the column `POSITION`, as rows to learn from. Requests
    do not know it, and rows to measure by are as requests.
    """
    events = data.events
    shown_codes = [k for k, b in enumerate(data.behaviours) if b.impression]
    shown = np.isin(events.behaviour, shown_codes) & (events.user != UNKNOWN)
    inside = np.flatnonzero(shown & (events.time >= window[0]) & (events.time < window[1]))
    left_out = max(0, len(inside) - most)
    inside = inside[left_out:]
    if not len(inside):
        raise TrainingError(
            f"no impressions between {_moment(window[0])} and {_moment(window[1])}: "
            "the ranker has nothing to learn from; see [split] in tamis.toml"
        )
    queries, candidates, rows = shown_candidates(
        events, inside, histories, positions=positions and bool(config.events.position)
    )
    tasks = tasks_of(config)
    answered = answers(data, rows, needed(tasks))
    labels = task_labels(tasks, data, events.item[rows], *answered)
    weights = task_weights(_weight_columns(config), tasks, data, *answered, rows)
    return Replay(queries, candidates, labels, left_out, weights)


def impression_labels(
    config: ProjectConfig, data: Dataset, shown: NDArray[np.intp], item: NDArray[np.int32]
) -> Float32:
    """(n, tasks) labels of impressions: the events `shown` (n,), of the items `item` (n,)."""
    tasks = tasks_of(config)
    return task_labels(tasks, data, item, *answers(data, shown, needed(tasks)))


def shown_candidates(
    events: Events, shown: NDArray[np.intp], histories: Histories, *, positions: bool
) -> tuple[Queries, Candidates, NDArray[np.intp]]:
    """The queries whose items were shown by the events `shown` (n,), their candidates, and the
    event of each candidate (n,).

    The items of one request share its time and context, so they share one query and one history.

    positions: whether the candidates have the column `POSITION`.
    """
    order = np.lexsort((events.request[shown], events.time[shown], events.user[shown]))
    rows = shown[order]
    keys = np.stack([events.user[rows], events.time[rows], events.request[rows]])
    differs = (keys[:, 1:] != keys[:, :-1]).any(axis=0)
    if events.context is not None:
        differs |= events.context.changes(rows)
    new = np.r_[True, differs]
    first = rows[new]
    context = None if events.context is None else events.context.at(first)
    queries = queries_at(histories, events.user[first], events.time[first], context=context)
    indptr = np.r_[np.flatnonzero(new), len(rows)].astype(np.int64)
    columns: dict[str, NDArray[np.generic]] = {}
    if positions:
        columns[POSITION] = events.position[rows]
    return queries, Candidates(indptr, events.item[rows], columns), rows


def join(replays: Sequence[Replay]) -> Replay:
    """The rows of several windows, joined."""
    return Replay(
        _join_queries([r.queries for r in replays]),
        _join_candidates([r.candidates for r in replays]),
        np.concatenate([r.labels for r in replays]),
        weights=_join_weights(replays),
    )


def _join_weights(replays: Sequence[Replay]) -> Float32 | None:
    weights = [r.weights for r in replays if r.weights is not None]
    return np.concatenate(weights) if weights else None


def _followed(
    data: Dataset, where: NDArray[np.bool_], queries: Queries, candidates: Candidates
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """(row, event) pairs: candidates on which their user had one of the events `where`."""
    number = np.full(len(data.users) + 1, -1, dtype=np.int64)
    number[queries.user] = np.arange(len(queries))
    event = np.flatnonzero(where)
    query, items = number[data.events.user[event]], len(data.items) + 1
    known = np.flatnonzero((query >= 0) & (data.events.item[event] != UNKNOWN))
    event = event[known]
    wanted = query[known] * items + data.events.item[event]
    keys = candidates.query.astype(np.int64) * items + candidates.item
    order = np.argsort(keys, kind="stable")
    at = np.minimum(np.searchsorted(keys, wanted, sorter=order), max(len(keys) - 1, 0))
    if not len(keys):
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    found = keys[order[at]] == wanted
    return order[at[found]], event[found]


def _join_queries(parts: Sequence[Queries]) -> Queries:
    histories = [p.history for p in parts]
    return Queries(
        np.concatenate([p.user for p in parts]),
        np.concatenate([p.time for p in parts]),
        History(
            _join_indptr([h.indptr for h in histories]),
            *(
                np.concatenate([getattr(h, name) for h in histories])
                for name in ("item", "behaviour", "time", "value")
            ),
        ),
        Ragged(
            _join_indptr([p.exclude.indptr for p in parts]),
            np.concatenate([p.exclude.values for p in parts]),
        ),
        _join_contexts(parts),
    )


def _join_contexts(parts: Sequence[Queries]) -> Context | None:
    contexts = [p.context for p in parts if p.context is not None]
    return Context.join(contexts) if contexts and len(contexts) == len(parts) else None


def _join_candidates(parts: Sequence[Candidates]) -> Candidates:
    return Candidates(
        _join_indptr([p.indptr for p in parts]),
        np.concatenate([p.item for p in parts]),
        {
            name: np.concatenate([p.columns[name] for p in parts])
            for name in (parts[0].columns if parts else {})
        },
    )


def _join_indptr(parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    sizes = np.concatenate([np.diff(p) for p in parts])
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def _moment(ms: int) -> str:
    return str(np.datetime64(ms, "ms").astype("datetime64[s]"))
