"""Network of one tower: from fields, a sequence of ids and numbers to one vector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tamis.features import IdColumn, Layout
from tamis.nn import (
    MLP,
    SEQUENCE_ENCODERS,
    FieldPooling,
    FusedEmbedding,
    LayerNorm,
    PoolPlan,
    VectorCross,
    linear,
    sequence_encoder,
    unit_rows,
)

Network = Literal["sum", "mlp", "mlp_bn", "dcn", "cnn", "gru", "lstm", "transformer"]


@dataclass(frozen=True)
class TowerShape:
    """Sizes of a tower."""

    embedding_dim: int
    output_dim: int
    hidden_units: Sequence[int]
    dropout: float
    cosine: bool
    """Whether the output is scaled to length 1."""
    length: int = 0
    """Most ids of the sequence; 0: no sequence."""
    blocks: int = 2
    """Layers of a sequence encoder, or cross layers."""
    heads: int = 2


@dataclass(frozen=True, eq=False)
class SequencePart:
    """A sequence of ids that a tower pools or encodes: a user's history or an item's text."""

    pad: int
    """Padding row of their table."""
    pooling: str = "mean"


def text_column(layout: Layout) -> IdColumn | None:
    """The item side's widest list of ids, which is used as its text; None if it has no list."""
    lists = [c for c in layout.ids if c.width > 1]
    return max(lists, key=lambda c: c.width, default=None)


class Tower(nn.Module):
    """The network of one side. A row without any known input gets the zero vector.

    Args:
        network: `sum` adds the fields' vectors, the sequence's mean and the projected numbers, and
            with `hidden_units` an MLP of that sum; `mlp`, `mlp_bn` (with batch norm) and `dcn`
            concatenate them; the others encode the sequence, concatenate it with an MLP of the
            fields and with linear + ReLU of the numbers, and apply layer norm.
        layout: of the side's inputs.
        columns: the layout's columns without the sequence.
        sequence: how `sequence` in `forward` is padded and pooled; None if there is none.
        dense: numbers per row.
        shape: sizes of the tower.
        generator: source of the initial weights.
        fixed: how many of the numbers, the first ones, say something about the row itself; the
            others are statistics, which an unknown row has too. None: all.
    """

    def __init__(
        self,
        network: Network,
        layout: Layout,
        columns: Sequence[str],
        sequence: SequencePart | None,
        dense: int,
        shape: TowerShape,
        generator: torch.Generator,
        fixed: int | None = None,
    ) -> None:
        super().__init__()
        self.fixed = dense if fixed is None else fixed
        self.network, self.shape, self.sequence = network, shape, sequence
        self.pool = None
        if columns:
            dim = shape.embedding_dim
            self.pool = FieldPooling(layout, columns, dim=dim, generator=generator)
        starts = layout.table
        pads = [starts[c.table].start for c in layout.ids for _ in range(c.width)]
        self.pads = torch.tensor(pads, dtype=torch.int32)
        self.drop = nn.Dropout(shape.dropout)
        fields, dim = len(columns), shape.embedding_dim
        self.dense = linear(dense, dim, generator=generator) if dense else None
        hidden = list(shape.hidden_units)
        self.mlp = self.cross = self.encoder = self.norm = self.out = None
        if network == "sum":
            if hidden:
                self.mlp = _mlp(dim, hidden, dim, shape, generator)
        elif network in SEQUENCE_ENCODERS and sequence is not None:
            self.encoder = sequence_encoder(network, shape, generator)
            self.mlp = _mlp(fields * dim, hidden, dim, shape, generator) if fields else None
            parts = 1 + (fields > 0) + (dense > 0)
            self.norm = LayerNorm(parts * dim)
            self.out = linear(parts * dim, shape.output_dim, generator=generator)
        else:
            width = dim * (fields + (sequence is not None) + (dense > 0))
            hidden = hidden or [2 * shape.output_dim]
            if network == "dcn":
                self.cross = VectorCross(width, shape.blocks, generator=generator)
                self.mlp = _mlp(width, hidden, None, shape, generator)
                self.out = linear(width + hidden[-1], shape.output_dim, generator=generator)
            else:
                norm = network == "mlp_bn"
                self.mlp = _mlp(width, hidden, shape.output_dim, shape, generator, norm)

    def forward(
        self, table: FusedEmbedding, ids: Tensor, dense: Tensor, sequence: Tensor | None
    ) -> Tensor:
        """(B, out) of `ids` int32 (B, W), `dense` (B, D) and `sequence` int32 (B, L)."""
        x = self.raw(table, ids, dense, sequence).float()
        statistics = self.fixed < dense.shape[1]
        # a plain sum of nothing is already zero
        if self.network != "sum" or self.mlp is not None or statistics:
            x = x * self.known(ids, dense, sequence).unsqueeze(1)
        return self.scaled(x)

    def scaled(self, x: Tensor) -> Tensor:
        """(B, out) scaled to length 1 if the similarity is the cosine."""
        return unit_rows(x.float()) if self.shape.cosine else x.float()

    def raw(
        self, table: FusedEmbedding, ids: Tensor, dense: Tensor, sequence: Tensor | None
    ) -> Tensor:
        """(B, out) `forward` without scaling."""
        if self.network == "sum":
            x = self.combined(table, ids, dense, sequence)
            return x if self.mlp is None else x + self.mlp(x)
        if self.encoder is not None:
            return self._encoded(table, ids, dense, sequence)
        parts = [self.drop(self._vectors(table, ids, sequence)).flatten(1)]
        if self.dense is not None:
            parts.append(F.relu(self.dense(dense)))
        x = torch.cat(parts, 1)  # (B, width)
        assert self.mlp is not None
        if self.cross is None:
            return self.mlp(x)
        assert self.out is not None
        return self.out(torch.cat([self.cross(x), self.mlp(x)], 1))

    def combined(
        self, table: FusedEmbedding, ids: Tensor, dense: Tensor, sequence: Tensor | None
    ) -> Tensor:
        """(B, dim) sum of all fields, the sequence's mean and the projected numbers."""
        vectors = self.drop(self._vectors(table, ids, sequence))  # (B, F, dim)
        x = vectors.squeeze(1) if vectors.shape[1] == 1 else vectors.sum(1)  # (B, dim)
        if self.dense is not None:
            x = x + self.dense(dense) * (dense != 0).any(1, keepdim=True)
        return x

    def known(self, ids: Tensor, dense: Tensor, sequence: Tensor | None) -> Tensor:
        """bool (B,) whether the row has any known input."""
        found = (ids != self.pads.to(ids.device)).any(1) | (dense[:, : self.fixed] != 0).any(1)
        if sequence is not None and self.sequence is not None:
            found = found | (sequence != self.sequence.pad).any(1)
        return found

    def _vectors(self, table: FusedEmbedding, ids: Tensor, sequence: Tensor | None) -> Tensor:
        """(B, F, dim) vectors of the fields and, last, the sequence's mean."""
        vectors = [] if self.pool is None else [self.pool(table, ids)]
        if sequence is not None and self.sequence is not None:
            vectors.append(self.history_mean(table, sequence).unsqueeze(1))
        if len(vectors) == 1:
            return vectors[0]
        return torch.cat(vectors, 1) if vectors else table.weight.new_zeros(len(ids), 0, table.dim)

    def history_mean(self, table: FusedEmbedding, sequence: Tensor) -> Tensor:
        """(B, dim) mean of the sequence's vectors, or their sum if `pooling` is not "mean"."""
        assert self.sequence is not None
        width, device = sequence.shape[1], sequence.device
        plan = PoolPlan(
            torch.zeros(width, dtype=torch.long, device=device),
            torch.tensor([self.sequence.pooling == "mean"], device=device),
            torch.full((width,), self.sequence.pad, device=device),
        )
        return table.pooled(sequence, plan)[0].squeeze(1)

    def _encoded(
        self, table: FusedEmbedding, ids: Tensor, dense: Tensor, sequence: Tensor | None
    ) -> Tensor:
        """(B, out) of the encoded sequence, the fields and the numbers."""
        assert sequence is not None
        assert self.sequence is not None
        assert self.encoder is not None
        assert self.norm is not None
        assert self.out is not None
        present = sequence != self.sequence.pad  # (B, L)
        parts = [self.encoder(self.drop(table(sequence)), present)]
        if self.mlp is not None and self.pool is not None:
            parts.append(self.mlp(self.drop(self.pool(table, ids)).flatten(1)))
        if self.dense is not None:
            parts.append(F.relu(self.dense(dense)))
        return self.out(self.norm(torch.cat(parts, 1).float()))


def _mlp(
    width: int,
    hidden: Sequence[int],
    out: int | None,
    shape: TowerShape,
    generator: torch.Generator,
    batch_norm: bool = False,
) -> MLP:
    """An MLP with the dropout of `shape`; `out` is the width of a last linear layer, if any."""
    return MLP(
        width, hidden, out, dropout=shape.dropout, batch_norm=batch_norm, generator=generator
    )


def item_tower(
    network: Network, layout: Layout, shape: TowerShape, generator: torch.Generator
) -> tuple[Tower, IdColumn | None]:
    """The tower of the item side, and the list of ids that it encodes as a text; None: none.

    shape: of the user tower; the item tower has no dropout.
    """
    text = text_column(layout) if network in SEQUENCE_ENCODERS else None
    part = None
    if text is not None:
        part = SequencePart(layout.table[text.table].start, text.pooling)
    tower = Tower(
        network,
        layout,
        [c.name for c in layout.ids if c is not text],
        part,
        layout.dense_width,
        replace(shape, dropout=0.0, length=text.width if text else 0),
        generator,
    )
    return tower, text
