"""EASE: a linear model of all items on all others, solved in closed form."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from numba import njit
from pydantic import Field
from scipy.linalg import lapack

from tamis.cascade import FitContext, Queries, Recalled
from tamis.events import Dataset
from tamis.index import in_blocks, scratch, select
from tamis.recall.base import BaseChannel, ChannelSettings, need_positives, nothing
from tamis.recall.interactions import distinct, interest_of_behaviour, interests
from tamis.schema import ConfigError, TrainingError

QUERIES_PER_BLOCK = 64
GB = 1e9
_lapack: Any = lapack  # its routines are made at import, unseen by type checkers


class EASEConfig(ChannelSettings):
    """Options of EASE."""

    l2: Annotated[float, Field(gt=0)] = 1000.0
    """λ: how strongly weights are held near zero; more for longer histories."""
    last: Annotated[int, Field(ge=1)] | None = None
    """Most recent liked items of the user that vote; None = all."""
    decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Vote of a liked item relative to the one liked after it; 1 = order does not matter."""
    max_gb: Annotated[float, Field(gt=0)] = 4.0
    """Most memory for the matrix of (liked items)² float32 numbers; above, fit refuses."""


class EASE(BaseChannel):
    """Embarrassingly shallow autoencoder (Steck 2019).

    `B = I - P / diag(P)` by columns, `P = (XᵀX + λI)⁻¹`, X the users' interest values r; recall
    sums `r_uj · decay^age(j) · B[j, i]` over the user's liked items j. Only items that somebody
    liked have a row. Memory grows with their square, time with their cube.
    """

    Config = EASEConfig

    def _fit(self, data: Dataset, context: FitContext) -> dict[str, Any]:
        need_positives(data, self.name)
        by_user = interests(data)
        liked = np.unique(by_user.other)
        self._refuse_above(len(liked))
        row = np.full(len(data.items), -1, np.int32)
        row[liked] = np.arange(len(liked))
        gram = np.zeros((len(liked), len(liked)), np.float32, order="F")
        _add_gram(by_user.indptr, row[by_user.other], by_user.value, gram)
        np.fill_diagonal(gram, gram.diagonal() + np.float32(self.config.l2))
        self._arrays = {
            "weight": _weights(gram, self.config.l2),
            "item": liked.astype(np.int32),
            "row": row,
            "interest": interest_of_behaviour(data.behaviours),
        }
        return {}

    def _refuse_above(self, items: int) -> None:
        need = items**2 * 4 / GB
        if need > self.config.max_gb:
            raise ConfigError(
                f"channel {self.name!r}: {items} liked items need a matrix of {need:.1f} GB, above "
                f"max_gb = {self.config.max_gb:g}; raise max_gb if there is memory, or use itemcf"
            )

    def _recall(self, queries: Queries, k: int) -> Recalled:
        arrays, history, exclude = self._arrays, queries.history, queries.exclude
        known = np.append(arrays["row"], np.int32(-1))  # the last stands for later items
        n_items = self._n_items
        rows = known[np.where(history.item < n_items, history.item, n_items)]
        value = arrays["interest"][history.behaviour]
        refused = known[np.where(exclude.values < n_items, exclude.values, n_items)]
        found = nothing(len(queries), k)
        n = len(arrays["item"])
        longest = int(np.diff(history.indptr).max())
        last = min(self.config.last or longest, longest)

        def block(begin: int, end: int) -> None:
            sums = np.full((end - begin, n), -np.inf, np.float32)
            _vote(
                (begin, end, last, self.config.decay),
                (history.indptr, rows, value),
                arrays["weight"],
                scratch("slot", n, np.int32),
                sums,
            )
            bounds, mask = exclude.indptr[begin : end + 1], scratch("refused", n, np.bool_)
            select(sums, bounds, refused, mask, found.item[begin:end], found.score[begin:end])

        in_blocks(block, len(queries), QUERIES_PER_BLOCK)
        here = found.item >= 0
        found.item[here] = arrays["item"][found.item[here]]
        return found


def _weights(gram: np.ndarray, l2: float) -> np.ndarray:
    """B, in the memory of `gram` (Fortran order): Cholesky, inverse, scaled by its diagonal."""
    factor, failed = _lapack.spotrf(gram, lower=1, clean=0, overwrite_a=1)
    if not failed:
        inverse, failed = _lapack.spotri(factor, lower=1, overwrite_c=1)
    if failed:
        raise TrainingError(f"EASE: XᵀX + λI is singular in float32; raise l2 = {l2:g}")
    # lower triangle in Fortran order = upper triangle of the C-ordered transpose
    weight = inverse.T
    _finish(weight)
    return weight


@njit(cache=True, nogil=True)
def _finish(weight):
    """From the upper triangle of P to B = I - P / diag(P), diagonal zero, in place."""
    n = len(weight)
    diagonal = np.empty(n, np.float32)
    for i in range(n):
        diagonal[i] = weight[i, i]
        weight[i, i] = 0
    for i in range(n):
        for j in range(i + 1, n):
            p = weight[i, j]
            weight[i, j] = -p / diagonal[j]
            weight[j, i] = -p / diagonal[i]


@njit(cache=True, nogil=True)
def _add_gram(indptr, row, value, gram):
    """gram += XᵀX, user by user."""
    for u in range(len(indptr) - 1):
        for a in range(indptr[u], indptr[u + 1]):
            for b in range(indptr[u], indptr[u + 1]):
                gram[row[b], row[a]] += value[a] * value[b]


@njit(cache=True, nogil=True)
def _vote(span, history, weight, slot, out):
    """Row q - begin of `out`: the summed rows of `weight` of query q's liked items.

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
            vote = np.float32(interest[s] * fade)
            fade *= decay
            for i in range(n):
                out[q - begin, i] += vote * weight[liked[s], i]
