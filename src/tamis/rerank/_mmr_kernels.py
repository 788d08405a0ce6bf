"""Compiled kernels of MMR: the arrangement of one batch of ranked lists."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tamis.index import jaccard
from tamis.runtime import Float32, Int32, Int64
from tamis.runtime.compiled import njit


@njit(cache=True)
def _scaled(value: NDArray[np.float64]) -> NDArray[np.float64]:
    """Min-max to [0, 1] over the finite values; −inf for the others, 0 where all are equal."""
    low, high = np.inf, -np.inf
    for v in value:
        if np.isfinite(v):
            low, high = min(low, v), max(high, v)
    scaled = np.empty(len(value))
    for i in range(len(value)):
        if not np.isfinite(value[i]):
            scaled[i] = -np.inf
        else:
            scaled[i] = (value[i] - low) / (high - low) if high > low else 0.0
    return scaled


@njit(cache=True)
def _best_place(
    score: NDArray[np.float64], like: NDArray[np.float64], taken: NDArray[np.bool_], theta: float
) -> tuple[int, float]:
    """The first candidate with the largest marginal value; candidates without a score rank last."""
    best, most = -1, -np.inf
    for i in range(len(score)):
        if taken[i]:
            continue
        marginal = -np.inf
        if score[i] > -np.inf:
            marginal = theta * score[i] - (1.0 - theta) * like[i]
        if best < 0 or marginal > most:
            best, most = i, marginal
    return best, most


@njit(cache=True)
def _tail(order: NDArray[np.intp], start: int, filled: int, taken: NDArray[np.bool_]) -> None:
    """Writes the candidates not taken, in their order, behind the `filled` places."""
    for i in range(len(taken)):
        if not taken[i]:
            order[start + filled] = start + i
            filled += 1


@njit(cache=True)
def _remember(
    recent: NDArray[np.float64], place: int, new: NDArray[np.float64], like: NDArray[np.float64]
) -> None:
    """Updates `like` (n,): the largest similarity to the last `len(recent)` places.

    `new` (n,) is the similarity to the latest place; `recent` (window, n) is a ring buffer of the
    similarities to those places, with no rows where the window is the whole slate.
    """
    window = len(recent)
    if window == 0:
        for i in range(len(like)):
            like[i] = max(like[i], new[i]) if place > 0 else new[i]
        return
    recent[place % window] = new
    for i in range(len(like)):
        most = recent[0, i]
        for w in range(1, min(place + 1, window)):
            most = max(most, recent[w, i])
        like[i] = most


@njit(cache=True, fastmath={"reassoc", "contract"})
def _dots(vectors: Float32, one: Float32, out: NDArray[np.float64]) -> None:
    """Dot products of `vectors` (n, d) with `one` (d,), into `out` (n,)."""
    for j in range(len(vectors)):
        dot = np.float32(0.0)
        for d in range(len(one)):
            dot += vectors[j, d] * one[d]
        out[j] = dot


@njit(cache=True)
def _overlaps(item: Int32, one: int, indptr: Int64, codes: Int32, out: NDArray[np.float64]) -> None:
    """Jaccard similarity of the items (n,) to item row `one`, into `out` (n,)."""
    mine = codes[indptr[one] : indptr[one + 1]]
    for j in range(len(item)):
        out[j] = jaccard(mine, codes[indptr[item[j]] : indptr[item[j] + 1]])


@njit(cache=True)
def arrange_by_mmr(
    indptr: Int64,
    value: NDArray[np.float64],
    item: Int32,
    by_vector: bool,
    vectors: Float32,
    of_indptr: Int64,
    of_values: Int32,
    theta: float,
    window: int,
    places: int,
) -> tuple[NDArray[np.intp], Float32]:
    """MMR of every query: the permutation (n,) and the marginal values (n,).

    Similarity is the dot product of the candidates' `vectors` (n, d), or Jaccard of the items'
    category codes `of_values[of_indptr[i] : of_indptr[i + 1]]`, ascending.
    """
    order = np.empty(len(value), np.intp)
    taken_at = np.full(len(value), np.nan, np.float32)
    for q in range(len(indptr) - 1):
        start, end = indptr[q], indptr[q + 1]
        n = end - start
        score = _scaled(value[start:end])
        head = min(n, places)
        taken, like = np.zeros(n, np.bool_), np.zeros(n)
        recent = np.zeros((window if window < head else 0, n))
        new = np.empty(n)
        for place in range(head):
            i, marginal = _best_place(score, like, taken, theta)
            taken[i] = True
            order[start + place] = start + i
            taken_at[start + i] = marginal
            if by_vector:
                _dots(vectors[start:end], vectors[start + i], new)
            else:
                _overlaps(item[start:end], int(item[start + i]), of_indptr, of_values, new)
            _remember(recent, place, new, like)
        _tail(order, start, head, taken)
    return order, taken_at
