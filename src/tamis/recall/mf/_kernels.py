"""Matrix factorisation, compiled: the least-squares half sweep of iALS and the steps of BPR."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def solve_rows(span, lists, factors, base, ridge, out):
    """Rows [begin, end) of one side, each the exact minimum while the other side stands still.

    Row x solves `(base + Σ_e r_e h_e h_eᵀ + ridge[x] I) w = Σ_e r_e h_e` over its list of the
    other side's vectors h; an empty list gives zero. lists: (indptr, row of `factors` or -1,
    weight r); entries with r <= 0 or row -1 do not count. Returns False where a system is not
    positive definite in float32 (its row of `out` is then not to be used).
    """
    begin, end = span
    indptr, other, weight = lists
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


@njit(cache=True, nogil=True)
def _cholesky_solve(system, w):
    """`w` becomes `system⁻¹ w`; only the lower triangle of `system` is read, and overwritten."""
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
def bpr_epoch(order, lists, draws, rate, l2, users, items):
    """One pass of BPR over the (user, liked item) pairs in `order`, in place.

    lists: (owner of each pair, indptr, the users' liked items, ascending). draws (n, tries) are
    uniform item rows: the first that the user does not like is the pair's negative, none skips it.
    A step is `w += η (σ(−x)(h_i − h_j) − λ w)`, `h_i += η (σ(−x) w − λ h_i)`,
    `h_j += η (−σ(−x) w − λ h_j)`, with x = w·(h_i − h_j). Returns the sum of log(1 + e^-x).
    """
    owner, indptr, liked = lists
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
    """One stochastic step; returns the pair's loss before it."""
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
