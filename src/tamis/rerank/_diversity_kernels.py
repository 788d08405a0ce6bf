"""Compiled kernels of diversity: similarities, MMR's largest similarity, DPP's volumes.

A determinantal point process with the kernel `L_ij = q_i S_ij q_j` has
`log det L_S = Σ_i 2 log q_i + log det S_S`. The Cholesky factor is therefore kept of the
similarities S alone, and the quality enters each gain:
`log(det L_{S ∪ i} / det L_S) = 2 log q_i + log d_i²`, where `d_i²` is the part of item i that the
placed items do not explain (Chen et al. 2018).
"""

from __future__ import annotations

import numpy as np

from tamis.index import jaccard
from tamis.runtime import Float32, Float64, Int64
from tamis.runtime.compiled import inner_njit, njit

LEAST = 1e-6
"""Smallest d²: an item below it counts as explained by the placed ones, as similarities are
float32."""


@njit(cache=True, fastmath={"reassoc", "contract"})
def dots(vectors: Float32, one: Float32, out: Float64) -> None:
    """Dot products of `vectors` (n, d) with `one` (d,), into `out` (n,)."""
    for j in range(len(vectors)):
        dot = np.float32(0.0)
        for d in range(len(one)):
            dot += vectors[j, d] * one[d]
        out[j] = dot


@inner_njit
def overlaps(one: int, bounds: Int64, codes: Int64, out: Float64) -> None:
    """Jaccard similarity of the candidates to candidate `one`, into `out` (n,).

    Candidate j's codes are `codes[bounds[j] : bounds[j + 1]]`, ascending.
    """
    mine = codes[bounds[one] : bounds[one + 1]]
    for j in range(len(out)):
        out[j] = jaccard(mine, codes[bounds[j] : bounds[j + 1]])


@inner_njit
def remember_largest(recent: Float64, place: int, new: Float64, like: Float64) -> None:
    """Updates `like` (n,): the largest similarity to the last `len(recent)` places.

    `new` (n,) is the similarity to the latest place; `recent` (window, n) is a ring buffer of the
    similarities to those places, with no rows where the window is the whole slate.
    """
    window = len(recent)
    if window == 0:
        for i in range(len(like)):
            like[i] = max(like[i], new[i]) if place > 0 else new[i]
        return
    row = place % window
    for i in range(len(new)):  # by a loop: see `_constraint_kernels.copy`
        recent[row, i] = new[i]
    for i in range(len(like)):
        most = recent[0, i]
        for w in range(1, min(place + 1, window)):
            most = max(most, recent[w, i])
        like[i] = most


@inner_njit(fastmath={"contract"})
def add_to_volume(factor: Float64, rows: int, chosen: int, new: Float64, volume: Float64) -> int:
    """One step of the incremental Cholesky factorisation; returns the number of rows in use.

    Args:
        factor: (places, n) row k holds each item's coordinate along the k-th placed item.
        rows: rows in use, those of the items placed before.
        chosen: the item that is placed.
        new: (n,) similarities to it; overwritten.
        volume: (n,) d² of each item, updated.
    """
    if volume[chosen] < LEAST:  # it adds no direction to those of the placed items
        return rows
    length = np.sqrt(volume[chosen])
    new[chosen] = 1.0
    for k in range(rows):
        along = factor[k, chosen]
        if along != 0.0:
            for i in range(len(new)):
                new[i] -= along * factor[k, i]
    for i in range(len(new)):
        part = new[i] / length
        factor[rows, i] = part
        volume[i] -= part * part
    return rows + 1


@inner_njit
def forget_oldest(factor: Float64, own: Float64, placed: Int64, rows: int, volume: Float64) -> None:
    """Removes the oldest of `rows` items from the factor, in O(rows · n).

    Its row is rotated into each later row (Givens rotations), so that the later items' factor is
    triangular again without it; what is left of the row returns to the volumes.

    Args:
        factor: (window, n) coordinates of every item; the rows move up by one.
        own: (n,) scratch.
        placed: (window,) the item of each row; moves up by one.
    """
    n = factor.shape[1]
    for i in range(n):
        own[i] = factor[0, i]
    for k in range(1, rows):
        item = placed[k]
        length = np.hypot(factor[k, item], own[item])
        cosine, sine = factor[k, item] / length, own[item] / length
        for i in range(n):
            here, aside = factor[k, i], own[i]
            factor[k - 1, i] = cosine * here + sine * aside
            own[i] = cosine * aside - sine * here
        placed[k - 1] = item
    for i in range(n):
        volume[i] += own[i] * own[i]
