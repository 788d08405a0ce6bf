"""Embeddings of a layout's id features: (B, W) ids → (B, F, dim), one vector per feature."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tamis.nn.embedding import FusedEmbedding, PoolPlan
from tamis.nn.list_pooling import LEARNT_POOLINGS, list_pooling


class FieldColumn(Protocol):
    """The part of `tamis.features.IdColumn` that is read here."""

    @property
    def name(self) -> str: ...
    @property
    def table(self) -> str: ...
    @property
    def first(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def pooling(self) -> str: ...


class FieldTable(Protocol):
    """The part of `tamis.features.TableRange` that is read here."""

    @property
    def name(self) -> str: ...
    @property
    def start(self) -> int: ...
    @property
    def size(self) -> int: ...


class FieldLayout(Protocol):
    """The part of `tamis.features.Layout`, a package of a higher layer, that is read here."""

    @property
    def tables(self) -> Sequence[FieldTable]: ...
    @property
    def ids(self) -> Sequence[FieldColumn]: ...


def pad_rows(layout: FieldLayout) -> list[int]:
    """The padding row of each of the layout's tables."""
    return [t.start for t in layout.tables]


def fused_table(
    layout: FieldLayout,
    dim: int,
    *,
    init_std: float = 0.01,
    zero_columns: int = 0,
    generator: torch.Generator | None = None,
) -> FusedEmbedding:
    """An embedding with a row for every id of the layout; see `FusedEmbedding`."""
    n_rows = max((t.start + t.size for t in layout.tables), default=0)
    return FusedEmbedding(n_rows, dim, pad_rows(layout), init_std, zero_columns, generator)


def mapped_table(weight: NDArray[np.float32], zero_columns: int = 0) -> FusedEmbedding:
    """A fused table over saved weights (rows, dim), which are not copied and never written."""
    table = FusedEmbedding(0, weight.shape[1], zero_columns=zero_columns)
    with warnings.catch_warnings():
        # torch has no read-only tensors; nothing writes to this one
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        table.weight = nn.Parameter(torch.from_numpy(weight), requires_grad=False)
    table.n_rows = len(weight)
    return table


class FieldPooling(nn.Module):
    """Turns a batch's ids into one vector per feature, pooled; a feature without any id is zero.

    Features whose pooling has weights (`LEARNT_POOLINGS`) have a module each; their first-order
    weights, in the last columns of the table, are averaged.

    Args:
        layout: the batch's layout.
        columns: names of the id features to embed, in the order of the output; None = all.
        dim: width of the vectors, without first-order weights; needed for poolings with weights.
        generator: source of these weights.

    Raises ValueError if a pooling has weights and `dim` is not given.
    """

    def __init__(
        self,
        layout: FieldLayout,
        columns: Sequence[str] | None = None,
        *,
        dim: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        known = {c.name: c for c in layout.ids}
        chosen = [known[name] for name in columns] if columns is not None else list(layout.ids)
        start = {t.name: t.start for t in layout.tables}
        self.fields = [c.name for c in chosen]
        learnt = [c for c in chosen if c.pooling in LEARNT_POOLINGS]
        self.lists = [c.name for c in learnt]
        """Names of the features whose pooling has weights."""
        self._plain = _PlainPooling(layout, [c for c in chosen if c not in learnt])
        self._learnt = [(slice(c.first, c.first + c.width), start[c.table]) for c in learnt]
        """Columns of ids, and the padding row, of each feature whose pooling has weights."""
        self.modules_of_lists = nn.ModuleList(
            list_pooling(c.pooling, _needed(dim, c), c.width, generator) for c in learnt
        )
        together = [*(c for c in chosen if c not in learnt), *learnt]
        order = [together.index(c) for c in chosen]
        self._order = None if order == sorted(order) else torch.tensor(order)

    def forward(self, table: FusedEmbedding, ids: Tensor) -> Tensor:
        """float32 (B, F, dim) of `ids` int32 (B, W); `dim` is the table's, tail included."""
        vectors, rest = self.split(table, ids)
        return vectors if not table.zero_columns else torch.cat([vectors, rest], -1)

    def split(self, table: FusedEmbedding, ids: Tensor) -> tuple[Tensor, Tensor]:
        """`forward` in two parts: (B, F, dim − zero_columns) and (B, F, zero_columns)."""
        if not self._learnt:
            return self._plain.split(table, ids)
        parts = [self._plain.split(table, ids)]
        for k, (columns, _) in enumerate(self._learnt):
            vectors, rest = self.pooled_list(k, table, ids[:, columns])
            parts.append((vectors.unsqueeze(1), rest.unsqueeze(1)))
        vectors, rest = (torch.cat([p[k] for p in parts], 1) for k in (0, 1))
        if self._order is None:
            return vectors, rest
        order = self._order.to(ids.device)
        return vectors.index_select(1, order), rest.index_select(1, order)

    def pooled_list(self, k: int, table: FusedEmbedding, ids: Tensor) -> tuple[Tensor, Tensor]:
        """(B, dim) and (B, zero_columns) of feature `lists[k]`, of its ids int32 (B, w)."""
        ids, real = without_padding(ids, self._learnt[k][1])  # (B, L) each
        tail = table.zero_columns
        vectors, first = table(ids).split([table.dim - tail, tail], -1)  # (B, L, …)
        pooled = self.modules_of_lists[k](vectors, real).to(vectors.dtype)
        mask = real.unsqueeze(2)  # (B, L, 1)
        return pooled, (first * mask).sum(1) / mask.sum(1).clamp(min=1)

    def plan_of(self, first: int, last: int) -> PoolPlan:
        """The plan of id columns `first` … `last` − 1, which hold whole features whose pooling has
        no weights. Fields are numbered from 0."""
        return self._plain.plan_of(first, last)


def _needed(dim: int | None, column: FieldColumn) -> int:
    """`dim`, which a pooling with weights needs."""
    if dim is None:
        raise ValueError(
            f"the feature {column.name!r} has pooling = {column.pooling!r}, whose weights need the "
            "width of the vectors: FieldPooling(layout, dim=…, generator=…)"
        )
    return dim


def without_padding(ids: Tensor, pad: int) -> tuple[Tensor, Tensor]:
    """Ids of lists without the places that are padding in every row.

    Args:
        ids: int32 (B, W).
        pad: the padding id.

    Returns: ids (B, L), with L the batch's longest list (at least 1), and bool (B, L), True at real
    ids. When torch.compile or an exporter traces the network, L = W.
    """
    real = ids != pad
    if torch.compiler.is_compiling():
        return ids, real
    used = real.any(0).nonzero()
    longest = int(used[-1]) + 1 if len(used) else 1
    return ids[:, :longest], real[:, :longest]


class _PlainPooling:
    """`FieldPooling` of features that are pooled by sum, mean or max."""

    def __init__(self, layout: FieldLayout, chosen: Sequence[FieldColumn]) -> None:
        start = {t.name: t.start for t in layout.tables}
        width = max((c.first + c.width for c in layout.ids), default=0)
        places = [k for c in chosen for k in range(c.first, c.first + c.width)]
        field = [f for f, c in enumerate(chosen) for _ in range(c.width)]
        self._places = (
            None if places == list(range(width)) else torch.tensor(places, dtype=torch.long)
        )
        self._plan = PoolPlan(
            torch.tensor(field, dtype=torch.long),
            torch.tensor([c.pooling == "mean" for c in chosen], dtype=torch.bool),
            torch.tensor([start[chosen[f].table] for f in field], dtype=torch.long),
        )
        self._max = any(c.pooling == "max" and c.width > 1 for c in chosen)
        self._is_max = [c.pooling == "max" for c in chosen]
        self._parts: dict[tuple[int, int], PoolPlan] = {}
        """Plans of some columns, which requests ask for again and again."""

    def split(self, table: FusedEmbedding, ids: Tensor) -> tuple[Tensor, Tensor]:
        """As `FieldPooling.split`."""
        plan = self._plan.to(ids.device)
        if self._places is not None:
            ids = ids[:, self._places.to(ids.device)]
        if not self._max:
            return table.pooled(ids, plan)
        tail = table.zero_columns
        return self._by_field(table(ids), ids, plan).split([table.dim - tail, tail], -1)  # type: ignore[return-value]  # stub of split says list

    def plan_of(self, first: int, last: int) -> PoolPlan:
        """As `FieldPooling.plan_of`."""
        if (first, last) not in self._parts:
            field = self._plan.field[first:last]
            low, high = (int(field[0]), int(field[-1]) + 1) if len(field) else (0, 0)
            mean, pad = self._plan.mean[low:high], self._plan.pad[first:last]
            self._parts[first, last] = PoolPlan(field - low, mean, pad)
        return self._parts[first, last]

    def _by_field(self, vectors: Tensor, ids: Tensor, plan: PoolPlan) -> Tensor:
        """Pools (B, W, dim) field by field, for layouts with max pooling: (B, F, dim)."""
        out, present = [], ids != plan.pad  # (B, W)
        for f, is_max in enumerate(self._is_max):
            mine = plan.field == f
            v, m = vectors[:, mine], present[:, mine].unsqueeze(-1)
            if is_max:
                top = v.masked_fill(~m, -torch.inf).amax(1)
                out.append(top.masked_fill(~m.any(1), 0.0))
            else:
                count = m.sum(1).clamp(min=1) if bool(plan.mean[f]) else 1
                out.append((v * m).sum(1) / count)
        return torch.stack(out, 1)
