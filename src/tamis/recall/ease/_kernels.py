"""Compiled kernels of EASE: the co-occurrence matrix, its inverse in place, scores and ranks."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.linalg import lapack

from tamis.index import best_first, offer
from tamis.recall._common.compiled_arguments import ValuedLists
from tamis.recall._common.interactions import distinct
from tamis.runtime import Float32, Int32, in_blocks
from tamis.runtime.compiled import njit
from tamis.schema import TrainingError

TILE = 64
"""Side of the tiles in which a matrix is transposed, so that both tiles of a pair fit the cache."""
BLOCK = 1024
"""Rows inverted at once: large enough for matrix products at full speed."""
CHUNK = 1024
"""Columns whose sums are in memory at once, for every decay."""
NEGLIGIBLE = np.float32(1e-4)
"""Weights of liked items below this are skipped in `rank_targets`, to save time."""
_lapack: Any = lapack  # type checkers do not know its routines, which are created at import


class TargetPairs(NamedTuple):
    """Held-out likes, (T,) each."""

    history: Int32
    """Number of the history to rank by."""
    target: Int32
    """Row of the liked item."""


def weights(lists: ValuedLists, n: int, l2: float, closeness: float) -> Float32:
    """The weight matrix B = I − P / diag(P), P = (XᵀKX + λI)⁻¹, of n items: (n, n) float32.

    Computed in place, without a second matrix of this size.

    Args:
        lists: every user's liked items and values r, most recent first.
        l2: λ > 0.
        closeness: in (0, 1]; K weighs two likes of a user that are a places apart by closeness^a
            (1: XᵀKX is XᵀX).

    Raises:
        TrainingError: the matrix is singular in float32.
    """
    gram = np.zeros((n, n), np.float32)
    longest = int(np.diff(lists.indptr).max(initial=0))
    fade = (float(closeness) ** np.arange(max(longest, 1))).astype(np.float32)
    _add_pairs(lists.indptr, lists.item, lists.value, fade, gram)
    diagonal = np.einsum("ii->i", gram)
    diagonal += np.float32(l2)
    if not sweep(gram):
        raise TrainingError(f"EASE: XᵀX + λI is singular in float32; raise l2 = {l2:g}")
    scale = -1 / gram.diagonal()
    in_blocks(lambda begin, end: _mirror(begin, end, scale, gram), n, 8 * TILE)
    return gram


def sweep(matrix: Float32, block: int = BLOCK) -> bool:
    """Replaces the upper triangle of a positive definite (n, n) float32 matrix by −matrix⁻¹.

    The symmetric sweep operator (Beaton 1964) over blocks: n³ operations, nearly all of them in
    large matrix products. LAPACK's two steps take as many, but the parallel factorisation of
    OpenBLAS crashes at about 40,000 rows. The lower triangle is not read; what it holds afterwards
    is undefined. Returns False if the matrix is not positive definite.
    """
    n = len(matrix)
    memory = np.empty(block * n, np.float32)
    for begin in range(0, n, block):
        own = slice(begin, min(begin + block, n))
        factor, failed = _lapack.spotrf(np.triu(matrix[own, own]), lower=0)
        if failed:
            return False
        inverse, _ = _lapack.spotri(factor, lower=0)
        inverse = np.triu(inverse) + np.triu(inverse, 1).T
        panel = np.concatenate([matrix[:begin, own], matrix[own, begin:].T])  # (n, own)
        swept = _product(panel, inverse, np.empty_like(panel))
        for top in range(0, n, block):
            rows = slice(top, min(top + block, n))
            out = memory[: (rows.stop - top) * (n - top)].reshape(rows.stop - top, n - top)
            matrix[rows, top:] -= _product(swept[rows], panel[top:].T, out)
        matrix[:begin, own] = swept[:begin]
        matrix[own, own.stop :] = swept[own.stop :].T
        matrix[own, own] = -inverse
    return True


def _product(left: Float32, right: Float32, out: Float32) -> Float32:
    """`left @ right` in `out`, by torch: on all threads, in a block of `one_blas_thread` too."""
    torch.mm(torch.from_numpy(left), torch.from_numpy(right), out=torch.from_numpy(out))
    return out


@njit(cache=True, nogil=True)
def _add_pairs(indptr, item, value, fade, gram):
    """gram += XᵀKX, upper triangle only.

    indptr, item, value: CSR of the users' likes, int64 (U + 1,), int32 and float32 (m,).
    fade: (longest list,) float32 closeness^a. gram: (n, n) float32.
    """
    for u in range(len(indptr) - 1):
        begin, end = indptr[u], indptr[u + 1]
        for a in range(begin, end):
            for b in range(begin, a + 1):
                high, low = max(item[a], item[b]), min(item[a], item[b])
                gram[low, high] += value[a] * value[b] * fade[a - b]


@njit(cache=True, nogil=True)
def _mirror(begin, end, scale, weight):
    """Rows [begin, end) of the upper triangle P of `weight`, and their transposes below, become
    `P · scale` by columns; the diagonal becomes 0.

    scale: (n,) float32. weight: (n, n) float32.
    """
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
def score_dense(begin, end, last, decay, history, weight, slot, out):
    """Scores of queries [begin, end): the weighted sum of the rows of their liked items.

    Args:
        last: most liked items read per query. decay: weight of a like relative to the next one.
        history: ValuedLists of the queries' events, in order of time; negative values do not count.
        weight: (n, n) float32. slot: (n,) int32 scratch, zero before and after.
        out: (end - begin, n) float32 filled with -inf, which stays for queries without a known
            liked item.
    """
    indptr, item, value = history.indptr, history.item, history.value
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
def score_sparse(begin, end, last, decay, history, column, weight, slot, out):
    """`score_dense` with only the largest weights of each row.

    column, weight: (n, m) int32 and float32, see `largest_weights`. Columns of `out` that no liked
    item has keep their -inf. Other arguments as in `score_dense`.
    """
    indptr, item, value = history.indptr, history.item, history.value
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


def largest_weights(weight: Float32, most: int) -> tuple[Int32, Float32]:
    """Columns and values (n, min(most, n)) of each row's largest positive weights, best first.

    Columns are padded with -1, values with 0.
    """
    n = len(weight)
    column = np.full((n, min(most, n)), -1, np.int32)
    value = np.zeros(column.shape, np.float32)
    in_blocks(lambda begin, end: _largest(begin, end, weight, column, value), n, 256)
    return column, value


@njit(cache=True, nogil=True)
def _largest(begin, end, weight, column, value):
    """Rows [begin, end) of `largest_weights`: weight (n, n) float32, column and value (n, m)."""
    for i in range(begin, end):
        found = 0
        for j in range(weight.shape[1]):
            if weight[i, j] > 0:
                found = offer(column[i], value[i], found, j, weight[i, j])
        best_first(column[i], value[i], found)


@njit(cache=True, nogil=True)
def rank_targets(begin, end, lists, pairs, decays, weight, out):
    """Rank of the targets of pairs [begin, end), from 0, among items that the history lacks.

    Args:
        lists: ValuedLists, the histories, most recent item first.
        pairs: TargetPairs.
        decays: (D,) float32; each row of `out` uses one of them.
        weight: (n, n) float32.
        out: (D, T) int64, of which columns [begin, end) are written.
    """
    indptr, item, value = lists.indptr, lists.item, lists.value
    of, target = pairs.history, pairs.target
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
                    if votes[d] > NEGLIGIBLE:
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
