"""Compiled kernels of matrix factorisation: the least-squares step of iALS and an epoch of BPR."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tamis.runtime import Int32, Int64
from tamis.runtime.compiled import inner_njit, njit


class LikedPairs(NamedTuple):
    """All user-item pairs with a like, by user, items ascending within a user."""

    user: Int32
    """(n,) user row of each pair."""
    indptr: Int64
    """(users + 1,) bounds of each user's pairs."""
    item: Int32
    """(n,) item row of each pair."""


@njit(cache=True, nogil=True)
def solve_rows(begin, end, lists, factors, base, ridge, out):
    """Solves rows [begin, end) of one side by least squares, with the other side fixed.

    Row x solves `(base + Σ_e r_e h_e h_eᵀ + ridge[x] I) w = Σ_e r_e h_e`, where e runs over its
    list, r_e is the entry's value and h_e its row of `factors`; an empty list gives zero.

    Args:
        lists: ValuedLists; entries with value <= 0 or row -1 are skipped.
        factors: (m, d) float32, the other side. base: (d, d) float32. ridge: (n,) float32.
        out: (n, d) float32, of which rows [begin, end) are written.

    Returns False if a system is not positive definite in float32; its row of `out` is then invalid.
    """
    indptr, other, weight = lists.indptr, lists.item, lists.value
    d = factors.shape[1]
    system = np.empty((d, d), np.float32)
    fine = True
    for x in range(begin, end):
        system[:] = base
        w = out[x]
        w[:] = 0
        for a in range(d):
            system[a, a] += ridge[x]
        for e in range(indptr[x], indptr[x + 1]):
            r = weight[e]
            if other[e] < 0 or r <= 0:
                continue
            h = factors[other[e]]
            for a in range(d):
                part = r * h[a]
                w[a] += part
                line = system[a]
                for b in range(a + 1):
                    line[b] += part * h[b]
        fine = _cholesky_solve(system, w) and fine
    return fine


@inner_njit
def _cholesky_solve(system, w):
    """Replaces w (d,) by `system⁻¹ w`; False if `system` is not positive definite.

    Reads only the lower triangle of `system` (d, d), and overwrites it. Both float32.
    """
    d = len(w)
    for a in range(d):
        line = system[a]
        for b in range(a):
            other = system[b]
            total = line[b]
            for c in range(b):
                total -= line[c] * other[c]
            line[b] = total / other[b]
        total = line[a]
        for c in range(a):
            total -= line[c] * line[c]
        if not total > 0:
            return False
        line[a] = np.sqrt(total)
    for a in range(d):
        total = w[a]
        for c in range(a):
            total -= system[a, c] * w[c]
        w[a] = total / system[a, a]
    for a in range(d - 1, -1, -1):
        w[a] /= system[a, a]
        for c in range(a):
            w[c] -= system[a, c] * w[a]
    return True


@njit(cache=True, nogil=True)
def bpr_epoch(order, pairs, draws, rate, l2, users, items):
    """One pass of BPR over the liked pairs, in place; returns the sum of log(1 + e^-x).

    A step is `w += η (σ(−x)(h_i − h_j) − λ w)`, `h_i += η (σ(−x) w − λ h_i)`,
    `h_j += η (−σ(−x) w − λ h_j)`, with x = w·(h_i − h_j).

    Args:
        order: (n,) int64 permutation of the pairs. pairs: LikedPairs.
        draws: (n, tries) int32 uniform item rows. The first that the user does not like is the
            negative j; if there is none, the pair is skipped.
        rate, l2: float32 η and λ.
        users, items: (U, d) and (I, d) float32 vectors, updated.
    """
    owner, indptr, liked = pairs.user, pairs.indptr, pairs.item
    total = 0.0
    for n in range(len(order)):
        u, i = owner[order[n]], liked[order[n]]
        mine = liked[indptr[u] : indptr[u + 1]]
        for t in range(draws.shape[1]):
            j = draws[n, t]
            at = np.searchsorted(mine, j)
            if at == len(mine) or mine[at] != j:
                total += bpr_step(users[u], items[i], items[j], rate, l2)
                break
    return total


@njit(cache=True, nogil=True)
def bpr_step(w, above, below, rate, l2):
    """One step on the vectors (d,) of a user, his liked item and a negative; returns the loss
    before it."""
    x = np.float32(0)
    for a in range(len(w)):
        x += w[a] * (above[a] - below[a])
    pull = np.float32(1) / (np.float32(1) + np.exp(x))
    for a in range(len(w)):
        wa, up, down = w[a], above[a], below[a]
        w[a] += rate * (pull * (up - down) - l2 * wa)
        above[a] += rate * (pull * wa - l2 * up)
        below[a] += rate * (-pull * wa - l2 * down)
    return np.log1p(np.exp(-abs(x))) + max(-x, np.float32(0))
