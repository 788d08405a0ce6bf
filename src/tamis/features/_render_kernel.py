# pyright: basic
# numba compiles these functions for the types they are called with; pyright cannot follow that.
"""Kernels that turn counts into columns of statistics; `recipe.Recipe.names` names these."""

from __future__ import annotations

from typing import Any

import numpy as np

from tamis.features._counting_kernels import (
    NEVER,
    clear_key,
    read_moments,
    read_values,
    read_windows,
    replay_until,
)
from tamis.runtime.compiled import inner_njit, njit

_DAY = 86_400_000.0
_LOG1P = np.log1p(np.arange(4096))
"""log(1 + n) of small counts, which are most."""


@inner_njit(error_model="numpy")
def _log1p(n: Any) -> Any:
    """log(1 + n) of an integer n >= 0."""
    return _LOG1P[n] if n < 4096 else np.log1p(n)


@njit(cache=True, error_model="numpy")
def _days(now: Any, then: Any, usual: Any) -> Any:
    """log(1 + days from `then` to `now`), both int64 ms; `usual` where `then` is NEVER."""
    return usual if then == NEVER else np.log1p(max(now - then, 0) / _DAY)


@inner_njit(error_model="numpy")
def _render_row(counts: Any, at: Any, now: Any, published: Any, recipe: Any, out: Any) -> None:
    """Writes per window counts then rates; then means, the number of events and, unless
    `recipe.ages` is empty, ages.

    In: row `at` of counts, a `windows.Counts`; now, int64 ms; published int64 ms, NEVER where
    unknown; recipe, `rates.RecipeArrays`.
    Out: out float32 (S,).
    """
    _, windows, behaviours = counts.windowed.shape
    column = 0
    for w in range(windows):
        for b in range(behaviours):
            out[column] = _log1p(counts.windowed[at, w, b])
            column += 1
        for r in range(len(recipe.priors)):
            s = n = 0
            for place in range(behaviours):  # lists end at the first -1; most hold one
                if recipe.successes[r, place] < 0:
                    break
                s += counts.windowed[at, w, recipe.successes[r, place]]
            for place in range(behaviours):
                if recipe.trials[r, place] < 0:
                    break
                n += counts.windowed[at, w, recipe.trials[r, place]]
            n = max(n, s)
            out[column] = (s + recipe.priors[r, 0]) / (
                n + recipe.priors[r, 0] + recipe.priors[r, 1]
            )
            column += 1
    for g in range(len(recipe.means)):
        amount, n = 0.0, 0
        for b in range(behaviours):
            if recipe.groups[g, b]:
                amount += counts.value[at, b]
                n += counts.valued[at, b]
        out[column] = (amount + recipe.means[g, 1] * recipe.means[g, 0]) / (n + recipe.means[g, 1])
        column += 1
    events = 0
    for b in range(behaviours):
        events += counts.total[at, b] if recipe.plain[b] else 0
    out[column] = _log1p(events)
    if len(recipe.ages):
        out[column + 1] = _days(now, counts.first[at], recipe.ages[0])
        out[column + 2] = _days(now, counts.latest[at], recipe.ages[1])
        if len(out) > column + 3:
            out[column + 3] = _days(now, published, recipe.ages[2])


@njit(cache=True, error_model="numpy")
def _published(published: Any, key: Any) -> Any:
    """The publishing time of a key; NEVER where it is unknown."""
    return published[key] if 0 <= key < len(published) else NEVER


@inner_njit(error_model="numpy")
def _read_for(recipe: Any, state: Any, k: Any, rings: Any, time: Any, row: Any) -> None:
    """Reads into row 0 the counters of key k that the recipe needs; others cost cache misses."""
    read_windows(state, k, rings, time, 0, row)
    if len(recipe.means):
        read_values(state, k, 0, row)
    if len(recipe.ages):
        read_moments(state, k, 0, row)


@njit(cache=True, error_model="numpy")
def read_columns(
    state: Any, rings: Any, key: Any, time: Any, published: Any, recipe: Any, row: Any, out: Any
) -> None:
    """The columns of n live keys: key int32 (n,), time int64 (n,) ms.

    In: state, rings and row as for `_counting_kernels.read_counts`, row being a `windows.Counts` of
    two rows, zeros; published int64 (K,) ms, or (0,); recipe, `rates.RecipeArrays`.
    Out: out float32 (n, S). Other keys have the columns of a key without events.
    """
    for n in range(len(key)):
        k = np.int64(key[n])
        known = 0 <= k < len(state.first)
        if known:
            _read_for(recipe, state, k, rings, time[n], row)
        at = 0 if known else 1
        _render_row(row, at, time[n], _published(published, k), recipe, out[n])


@njit(cache=True, error_model="numpy")
def cached_columns(
    state: Any,
    rings: Any,
    key: Any,
    time: Any,
    recipe: Any,
    row: Any,
    cached: Any,
    cached_at: Any,
    out: Any,
) -> None:
    """As `read_columns`, of a recipe without ages: columns change only with buckets and events.

    In and out: cached float32 (K, S), the columns as last made; cached_at int64 (K, R + 1), the
    bucket of each ring then, and 1 until an event is added.
    """
    rings_n = len(rings.width)
    for n in range(len(key)):
        k = np.int64(key[n])
        if not 0 <= k < len(state.first):
            _render_row(row, 1, time[n], NEVER, recipe, out[n])
            continue
        valid = cached_at[k, rings_n] == 1
        for r in range(rings_n):
            valid = valid and cached_at[k, r] == time[n] // rings.width[r]
        if not valid:
            _read_for(recipe, state, k, rings, time[n], row)
            _render_row(row, 0, time[n], NEVER, recipe, cached[k])
            for r in range(rings_n):
                cached_at[k, r] = time[n] // rings.width[r]
            cached_at[k, rings_n] = 1
        for column in range(out.shape[1]):
            out[n, column] = cached[k, column]


@njit(cache=True, error_model="numpy")
def replay_columns(
    state: Any,
    rings: Any,
    indptr: Any,
    events: Any,
    order: Any,
    key: Any,
    time: Any,
    published: Any,
    recipe: Any,
    row: Any,
    out: Any,
) -> None:
    """The columns of n keys as of their own times, by a merge of each key's events with its rows.

    Arguments as for `_counting_kernels.replay_counts` and `read_columns`.
    """
    current, e = -1, 0
    for n in order:
        k = np.int64(key[n])
        known = 0 <= k < len(indptr) - 1
        if known:
            if k != current:
                clear_key(state, 0)
                current, e = k, indptr[k]
            e = replay_until(state, rings, events, e, indptr[k + 1], time[n])
            _read_for(recipe, state, 0, rings, time[n], row)
        at = 0 if known else 1
        _render_row(row, at, time[n], _published(published, k), recipe, out[n])


@njit(cache=True, error_model="numpy")
def render(counts: Any, time: Any, published: Any, recipe: Any, out: Any) -> None:
    """The columns of n rows of counts, a `windows.Counts`; time int64 (n,) ms.

    In: published int64 (n,) ms, NEVER where unknown, or (0,) where the columns have no such age.
    Out: out float32 (n, S).
    """
    for row in range(len(out)):
        born = _published(published, row)
        _render_row(counts, row, time[row], born, recipe, out[row])
