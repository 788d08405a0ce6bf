"""The tower `sum` without hidden layers as a compiled kernel: one request needs no tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from tamis.features import Layout
from tamis.nn import FusedEmbedding
from tamis.recall.two_tower._tower import Tower
from tamis.runtime import Bool, Float32, Int32, Int64
from tamis.runtime.compiled import inner_njit, njit


@dataclass(frozen=True, eq=False)
class SumTower:
    """`Tower.forward` of a trained tower in evaluation mode."""

    table: Float32
    """(rows, dim) weights of the fused table."""
    field: Int64
    """(W,) ascending: the field of each column of ids."""
    mean: Bool
    """(W,) whether the column's field is the mean of its ids, else their sum."""
    pad: Int64
    """(W,) padding row of each column."""
    weight: Float32
    """(D, dim) weights of the numbers."""
    bias: Float32
    """(dim,) added where a row has any number other than 0."""
    fixed: int
    """How many of the numbers say something about the row itself; see `Tower`."""
    history_pad: int
    """Padding row of the history's table."""
    cosine: bool
    """Whether vectors are scaled to length 1."""

    @classmethod
    def of(cls, tower: Tower, layout: Layout, table: FusedEmbedding) -> Self | None:
        """The kernel of a tower with these inputs; None where the network is another one."""
        columns = sorted(layout.ids, key=lambda c: c.first)
        pooled = all(c.width == 1 or c.pooling in ("sum", "mean") for c in columns)
        learnt = tower.pool is not None and bool(tower.pool.lists)
        if tower.network != "sum" or tower.mlp is not None or learnt or not pooled:
            return None
        width, dim = [c.width for c in columns], table.dim
        starts = [layout.table[c.table].start for c in columns]
        numbers = tower.dense
        weight = np.zeros((0, dim)) if numbers is None else numbers.weight.detach().numpy().T
        bias = np.zeros(dim) if numbers is None else numbers.bias.detach().numpy()
        return cls(
            table=table.weight.detach().numpy(),
            field=np.repeat(np.arange(len(columns)), width),
            mean=np.repeat([c.pooling == "mean" for c in columns], width).astype(np.bool_),
            pad=np.repeat(starts, width).astype(np.int64),
            weight=np.ascontiguousarray(weight, np.float32),
            bias=bias.astype(np.float32),
            fixed=tower.fixed,
            history_pad=0 if tower.sequence is None else tower.sequence.pad,
            cosine=tower.shape.cosine,
        )

    def __call__(self, ids: Int32, dense: Float32, history: Int32) -> Float32:
        """(Q, dim) vectors of ids (Q, W), numbers (Q, D) and histories (Q, L)."""
        out = np.zeros((len(ids), self.table.shape[1]), np.float32)
        _sum_tower(
            table=self.table,
            ids=np.ascontiguousarray(ids),
            field=self.field,
            mean=self.mean,
            pad=self.pad,
            dense=np.ascontiguousarray(dense),
            weight=self.weight,
            bias=self.bias,
            fixed=self.fixed,
            history=history,
            history_pad=self.history_pad,
            cosine=self.cosine,
            out=out,
        )
        return out


@njit(cache=True, nogil=True)
def _sum_tower(
    table: Any,
    ids: Any,
    field: Any,
    mean: Any,
    pad: Any,
    dense: Any,
    weight: Any,
    bias: Any,
    fixed: Any,
    history: Any,
    history_pad: Any,
    cosine: Any,
    out: Any,
) -> None:
    """Writes the vectors of Q rows into `out` (Q, dim), zero before; see `SumTower`."""
    width, dim = ids.shape[1], out.shape[1]
    part = np.empty(dim, np.float32)
    for q in range(len(out)):
        known = False
        w = 0
        while w < width:
            count, first = 0, w
            part[:] = 0
            while w < width and field[w] == field[first]:
                if ids[q, w] != pad[w]:
                    count += 1
                    _add(part, table[ids[q, w]], np.float32(1))
                w += 1
            if count:
                known = True
                share = np.float32(1) / np.float32(count) if mean[first] else np.float32(1)
                _add(out[q], part, share)
        any_number = False
        for k in range(dense.shape[1]):
            if dense[q, k] != 0:
                any_number = True
                known = known or k < fixed
        if any_number:
            part[:] = bias
            for k in range(dense.shape[1]):
                _add(part, weight[k], dense[q, k])
            _add(out[q], part, np.float32(1))
        count = 0
        part[:] = 0
        for place in range(history.shape[1]):
            if history[q, place] != history_pad:
                count += 1
                _add(part, table[history[q, place]], np.float32(1))
        if count:
            known = True
            _add(out[q], part, np.float32(1) / np.float32(count))
        if not known:  # numbers that an unknown row has too say nothing about it
            out[q] = 0
        elif cosine:
            square = np.float32(0)
            for d in range(dim):
                square += out[q, d] * out[q, d]
            out[q] *= np.float32(1) / max(np.sqrt(square), np.float32(1e-12))


@inner_njit
def _add(out: Any, row: Any, share: Any) -> None:
    """Adds `share` times a row (dim,) to `out` (dim,)."""
    for d in range(len(out)):
        out[d] += row[d] * share
