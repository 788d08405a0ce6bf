"""What every neural ranker shares: a batch as fields, and a core on them that gives logits."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from tamis.features import Batch, IdColumn, Layout
from tamis.nn import CrossedColumns, FieldPooling, fused_table
from tamis.rank._fields import Fields, Shape
from tamis.rank._sequence import SequenceConfig, sequence_block, trimmed
from tamis.schema import ConfigError, Side
from tamis.train import EstimatorConfig

NO_HISTORY = (
    "no feature is a history of items that shares the table of an item's id; declare a "
    "VarLenSparseFeat with `shares` (and, in a project, `history`)"
)


class InputsConfig(SequenceConfig, EstimatorConfig):
    """The inputs that neural rankers have in common."""

    embedding_dim: Annotated[int, Field(ge=1, le=4096)] = 16
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of hidden values dropped in training."""
    init_std: Annotated[float, Field(gt=0)] = 0.01
    """Standard deviation of the initial embeddings."""
    engine: Literal["auto", "onnx", "torch"] = "auto"
    """What scores requests: ONNX Runtime where the version has an export of the ranker and PyTorch
    otherwise, which the answer then calls degraded; ONNX Runtime or an error; or PyTorch."""
    engine_threads: Annotated[int, Field(ge=1, le=256)] = 1
    """Threads of ONNX Runtime for one request; requests run beside each other anyway."""


class BackboneConfig(InputsConfig):
    """The shape that rankers with hidden layers have in common."""

    hidden_units: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (
        256,
        128,
        128,
    )
    """Widths of the hidden layers."""
    activation: Literal["relu", "prelu", "dice", "gelu", "sigmoid", "tanh"] = "relu"
    batch_norm: bool = False
    """Normalise over the batch before each activation."""
    lhuc: bool | tuple[str, ...] = False
    """Features whose vectors gate every hidden layer (LHUC, PPNet); true = all of the user's, but
    for histories that meet the candidate."""
    lhuc_gradient: bool = False
    """Whether the gates teach those vectors; PPNet's do not, so that ids keep their meaning."""


class Inputs(nn.Module):
    """A batch's ids and numbers as `Fields`.

    A history is a feature of several ids that shares the table of an item's single-id feature: the
    two meet in a `SequenceBlock` where the config says so, and the result stands in its place.

    Args:
        first: first-order weights per id, kept in the same table; 0 = none.

    Raises ConfigError where `lhuc` names no feature, or `sequence` finds no history.
    """

    def __init__(
        self, layout: Layout, config: InputsConfig, first: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        dim = config.embedding_dim
        gated = config if isinstance(config, BackboneConfig) else None
        self.table = fused_table(
            layout, dim + first, init_std=config.init_std, zero_columns=first, generator=generator
        )
        pairs = [] if config.sequence == "mean" else histories(layout)
        if config.sequence != "mean" and not pairs:
            raise ConfigError(f"sequence = {config.sequence!r}: {NO_HISTORY}")
        past = {history.name for history, _ in pairs}
        pooled = [c.name for c in layout.ids if c.name not in past]
        self.pooling = FieldPooling(layout, pooled if past else None)
        self.pairs = pairs
        self.pads = [layout.table[history.table].start for history, _ in pairs]
        self.meets: nn.ModuleList = nn.ModuleList(
            sequence_block(config, dim, history.width, config.dropout, generator)
            for history, _ in pairs
        )
        names = (*pooled, *(history.name for history, _ in pairs))
        self.gates = _gate_fields(layout, names, len(pooled), gated.lhuc) if gated else []
        self._gates_teach = gated is not None and gated.lhuc_gradient
        self.shape = Shape(names, dim, layout.dense_width, len(self.gates) * dim)
        self.crossed: CrossedColumns | None = None
        """First-order weights of crossed columns, set by a backbone that has such."""

    def forward(self, batch: Batch) -> Fields:
        vectors, first = self.pooling.split(self.table, batch.ids)  # (B, F, dim), (B, F, T)
        if self.pairs:
            met = [vectors]
            for (history, target), pad, block in zip(
                self.pairs, self.pads, self.meets, strict=True
            ):
                ids = batch.ids[:, history.first : history.first + history.width]
                ids, real = trimmed(ids, pad)  # each (B, L)
                past = self.table(ids)  # (B, L, dim + first)
                past = past if self.table.dim == self.shape.dim else past[..., : self.shape.dim]
                candidate = vectors[:, self.shape.names.index(target.name)]  # (B, dim)
                met.append(block(candidate, past, real).unsqueeze(1))
            vectors = torch.cat(met, 1)
            first = torch.cat([first, first.new_zeros(len(first), len(met) - 1, first.shape[2])], 1)
        if self.crossed is not None:
            first = torch.cat([first, self.crossed(batch.ids)], 1)
        return Fields(vectors, batch.dense, first, self._gate(vectors))

    def _gate(self, vectors: Tensor) -> Tensor | None:
        if not self.gates:
            return None
        gate = vectors[:, self.gates].flatten(1)  # (B, G)
        return gate if self._gates_teach else gate.detach()


class Network(nn.Module):
    """Inputs, then a core that turns `Fields` into logits (B, T)."""

    def __init__(self, inputs: Inputs, core: nn.Module) -> None:
        super().__init__()
        self.inputs, self.core = inputs, core

    def forward(self, batch: Batch) -> Tensor:
        return self.core(self.inputs(batch))


def histories(layout: Layout) -> list[tuple[IdColumn, IdColumn]]:
    """(history, the candidate's feature of the same table), for every history in the layout.

    A frame's columns may be of neither side: what shares its table with lists is the candidate's.
    """
    singles = {c.table: c for c in layout.ids if not c.ragged and c.side is Side.CONTEXT}
    singles |= {c.table: c for c in layout.ids if not c.ragged and c.side is Side.ITEM}
    lists = [c for c in layout.ids if c.ragged and c.side is not Side.ITEM]
    return [(c, singles[c.table]) for c in lists if c.table in singles]


def _gate_fields(
    layout: Layout, names: tuple[str, ...], pooled: int, lhuc: bool | tuple[str, ...]
) -> list[int]:
    """Places of the fields that gate; the first `pooled` names do not meet the candidate."""
    if lhuc is False:
        return []
    side = {c.name: c.side for c in layout.ids}
    if lhuc is True:
        own = [k for k, name in enumerate(names[:pooled]) if side[name] is Side.USER]
        if not own:
            raise ConfigError(
                "lhuc = true: no id feature is the user's, so nothing would gate; name features in "
                f"lhuc ({', '.join(names)}), or declare one of the user"
            )
        return own
    for name in lhuc:
        if name not in names:
            raise ConfigError(f"lhuc names {name!r}: id features are {', '.join(names)}")
    return [names.index(name) for name in lhuc]
