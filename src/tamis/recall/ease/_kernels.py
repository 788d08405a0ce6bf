"""EASE, compiled: the matrix of pairs, its inverse in place, and the votes of its rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from scipy.linalg import lapack

from tamis.index import best_first, offer
from tamis.recall._common.interactions import distinct
from tamis.runtime import Float32, Int32, Int64, in_blocks
from tamis.schema import TrainingError

TILE = 64
"""Side of the squares in which a matrix is mirrored: both of a pair stay in the cache."""
BLOCK = 1024
"""Rows that are swept at once: their products are large enough to run at full speed."""
CHUNK = 1024
"""Columns whose sums are held at once, for every decay."""
TOO_LITTLE = np.float32(1e-4)
"""A vote below this moves no rank worth counting; leaving it out makes decays nearly free."""
_lapack: Any = lapack  # its routines are made at import, unseen by type checkers


def weights(lists: tuple[Int64, Int32, Float32], n: int, l2: float, closeness: float) -> Float32:
    """B = I − P / diag(P), P = (XᵀKX + λI)⁻¹, of n items: (n, n) float32, the only copy.

    lists: (indptr, item, value r) of every user's likes, most recent first. K weighs two likes of
    one user that are a places apart by closeness^a (1: K is all ones, and XᵀKX is XᵀX).

    Raises:
        TrainingError: the matrix is singular in float32.
    """
    gram = np.zeros((n, n), np.float32)
    longest = int(np.diff(lists[0]).max(initial=0))
    fade = (float(closeness) ** np.arange(max(longest, 1))).astype(np.float32)
    _add_pairs(*lists, fade, gram)
    diagonal = np.einsum("ii->i", gram)
    diagonal += np.float32(l2)
    if not sweep(gram):
        raise TrainingError(f"EASE: XᵀX + λI is singular in float32; raise l2 = {l2:g}")
    scale = -1 / gram.diagonal()
    in_blocks(lambda begin, end: _mirror(begin, end, scale, gram), n, 8 * TILE)
    return gram


def sweep(matrix: Float32, block: int = BLOCK) -> bool:
    """The upper triangle of a positive definite (n, n) becomes that of −matrix⁻¹, in place.

    The symmetric sweep operator (Beaton 1964) over blocks: n³ operations, nearly all of them in
    large products. LAPACK's two steps take as many, but OpenBLAS's parallel factorisation crashes
    at some 40,000 rows. The lower triangle does not count. False = not positive definite.
    """
    n = len(matrix)
    product = np.empty((block, n), np.float32)
    for begin in range(0, n, block):
        own = slice(begin, min(begin + block, n))
        factor, failed = _lapack.spotrf(np.triu(matrix[own, own]), lower=0)
        if failed:
            return False
        inverse, _ = _lapack.spotri(factor, lower=0)
        inverse = np.triu(inverse) + np.triu(inverse, 1).T
        panel = np.concatenate([matrix[:begin, own], matrix[own, begin:].T])  # (n, own)
        swept = panel @ inverse
        for top in range(0, n, block):
            rows = slice(top, min(top + block, n))
            out = product[: rows.stop - top, : n - top]
            np.matmul(swept[rows], panel[top:].T, out=out)
            matrix[rows, top:] -= out
        matrix[:begin, own] = swept[:begin]
        matrix[own, own.stop :] = swept[own.stop :].T
        matrix[own, own] = -inverse
    return True


@njit(cache=True, nogil=True)
def _add_pairs(indptr, item, value, fade, gram):
    """gram += XᵀKX, its upper triangle alone, user by user."""
    for u in range(len(indptr) - 1):
        begin, end = indptr[u], indptr[u + 1]
        for a in range(begin, end):
            for b in range(begin, a + 1):
                high, low = max(item[a], item[b]), min(item[a], item[b])
                gram[low, high] += value[a] * value[b] * fade[a - b]


@njit(cache=True, nogil=True)
def _mirror(begin, end, scale, weight):
    """Rows [begin, end) of P's upper triangle, and their mirror, become `P · scale` by columns."""
    n = len(weight)
    for top in range(begin, end, TILE):
        for left in range(top, n, TILE):
            for i in range(top, min(top + TILE, end)):
                for j in range(max(left, i + 1), min(left + TILE, n)):
                    p = weight[i, j]
                    weight[i, j] = p * scale[j]
                    weight[j, i] = p * scale[i]
    for i in range(begin, end):
        weight[i, i] = 0


@njit(cache=True, nogil=True)
def vote(span, history, weight, slot, out):
    """Row q - begin of `out`: the summed rows of `weight` (n, n) of query q's liked items.

    A query without a known liked item keeps its -inf: it has no answer.
    """
    begin, end, last, decay = span
    indptr, item, value = history
    liked, interest = np.empty(last, np.int32), np.empty(last, np.float32)
    n = weight.shape[1]
    for q in range(begin, end):
        count = distinct(item, value, indptr[q], indptr[q + 1], last, slot, liked, interest)
        if count:
            out[q - begin, :] = 0
        fade = 1.0
        for s in range(count):
            part = np.float32(interest[s] * fade)
            fade *= decay
            for i in range(n):
                out[q - begin, i] += part * weight[liked[s], i]


@njit(cache=True, nogil=True)
def vote_few(span, history, neighbours, slot, out):
    """`vote` with the rows' best columns alone: neighbours = (columns (n, m) or -1, their weights).

    A column that no liked item holds keeps its -inf.
    """
    begin, end, last, decay = span
    indptr, item, value = history
    column, weight = neighbours
    liked, interest = np.empty(last, np.int32), np.empty(last, np.float32)
    for q in range(begin, end):
        count = distinct(item, value, indptr[q], indptr[q + 1], last, slot, liked, interest)
        sums = out[q - begin]
        fade = 1.0
        for s in range(count):
            part = np.float32(interest[s] * fade)
            fade *= decay
            for e in range(column.shape[1]):
                i = column[liked[s], e]
                if i < 0:
                    break
                if sums[i] == -np.inf:
                    sums[i] = 0
                sums[i] += part * weight[liked[s], e]


def strongest(weight: Float32, most: int) -> tuple[Int32, Float32]:
    """(n, most) columns of each row's largest positive weights, best first, -1 padded; these."""
    n = len(weight)
    column = np.full((n, min(most, n)), -1, np.int32)
    value = np.zeros(column.shape, np.float32)
    in_blocks(lambda begin, end: _strongest(begin, end, weight, column, value), n, 256)
    return column, value


@njit(cache=True, nogil=True)
def _strongest(begin, end, weight, column, value):
    for i in range(begin, end):
        found = 0
        for j in range(weight.shape[1]):
            if weight[i, j] > 0:
                found = offer(column[i], value[i], found, j, weight[i, j])
        best_first(column[i], value[i], found)


@njit(cache=True, nogil=True)
def rank_targets(span, lists, pairs, decays, weight, out):
    """out (D, T): how many items that pair t's list does not hold stand above its target.

    lists: (indptr, row, value) of histories, most recent first. pairs: (list, target row) of each
    pair, (T,) both. decays (D,): each row of `out` uses one. weight (n, n). Pairs [begin, end).
    """
    begin, end = span
    indptr, item, value = lists
    of, target = pairs
    n, ways = len(weight), len(decays)
    sums = np.empty((ways, CHUNK), np.float32)
    votes = np.empty(ways, np.float32)
    wanted = np.empty(ways, np.float32)
    for t in range(begin, end):
        first, last = indptr[of[t]], indptr[of[t] + 1]
        wanted[:] = 0
        for e in range(first, last):
            for d in range(ways):
                wanted[d] += value[e] * decays[d] ** (e - first) * weight[item[e], target[t]]
        out[:, t] = 0
        for left in range(0, n, CHUNK):
            width = min(CHUNK, n - left)
            sums[:] = 0
            for e in range(first, last):
                row = weight[item[e]]
                for d in range(ways):
                    votes[d] = value[e] * decays[d] ** (e - first)
                for d in range(ways):
                    if votes[d] > TOO_LITTLE:
                        for i in range(width):
                            sums[d, i] += votes[d] * row[left + i]
            for e in range(first, last):
                if left <= item[e] < left + width:
                    sums[:, item[e] - left] = -np.inf
            if left <= target[t] < left + width:
                sums[:, target[t] - left] = -np.inf
            for d in range(ways):
                above = 0
                for i in range(width):
                    above += sums[d, i] > wanted[d]
                out[d, t] += above
