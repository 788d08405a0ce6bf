"""The network of every neural ranker: inputs as fields, and a core that turns them into logits."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from tamis.features import Batch, IdColumn, Layout
from tamis.nn import CrossedColumns, FieldPooling, fused_table
from tamis.rank._fields import Fields, HistoryTensors, Shape
from tamis.rank._sequence import SequenceBlocks, SequenceConfig, trimmed
from tamis.schema import Conditions, ConfigError, Needs, Side
from tamis.train import EstimatorConfig

NO_HISTORY = (
    "no feature is a history of items that shares the table of an item's id; declare a "
    "VarLenSparseFeat with `shares` (and, in a project, `history`)"
)


class InputsConfig(SequenceConfig, EstimatorConfig):
    """Options of the inputs that all neural rankers have in common."""

    embedding_dim: Annotated[int, Field(ge=1, le=4096)] = 16
    """Width of the id features' vectors."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of hidden values dropped in training."""
    init_std: Annotated[float, Field(gt=0)] = 0.01
    """Standard deviation of the initial embeddings."""
    engine: Literal["auto", "onnx", "torch"] = "auto"
    """What scores requests. "auto": ONNX Runtime if the version holds an export of the ranker,
    otherwise PyTorch, which the answer reports as degraded. "onnx": ONNX Runtime, or an error.
    "torch": PyTorch."""
    engine_threads: Annotated[int, Field(ge=1, le=256)] = 1
    """Threads of ONNX Runtime for one request. Requests already run in parallel."""


class BackboneConfig(InputsConfig):
    """Options that all rankers with hidden layers have in common."""

    only_with: ClassVar[Conditions] = {"lhuc_gradient": (Needs("lhuc", none_of=(False,)),)}

    hidden_units: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (
        256,
        128,
        128,
    )
    """Widths of the hidden layers."""
    activation: Literal["relu", "prelu", "dice", "gelu", "sigmoid", "tanh"] = "relu"
    """Activation of the hidden layers."""
    batch_norm: bool = False
    """Batch normalisation before each activation."""
    lhuc: bool | tuple[str, ...] = False
    """Features whose vectors gate every hidden layer (LHUC, PPNet); true = all of the user's id
    features, except histories that are compared with the candidate."""
    lhuc_gradient: bool = False
    """Whether the gates train those vectors. In PPNet they do not, so that the vectors are learned
    from the main network only."""


class Inputs(nn.Module):
    """Turns a batch's ids and numbers into `Fields`.

    A history is a feature of several ids that shares its table with a single-id feature of the
    item. With `sequence = "mean"` it is pooled like any other feature; otherwise it is handed on in
    `Fields.histories`, for a sequence block to compare it with the candidate.

    Args:
        layout: columns of ids and numbers.
        config: the ranker's options.
        first: first-order weights per id, kept in the same table; 0 = none.
        generator: source of the initial embeddings.

    Raises ConfigError if `lhuc` names an unknown feature, or `sequence` needs a history and the
    layout has none.
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
        self.pairs = [] if config.sequence == "mean" else histories(layout)
        """(history, the item feature that it is compared with)."""
        if config.sequence != "mean" and not self.pairs:
            raise ConfigError(f"sequence = {config.sequence!r}: {NO_HISTORY}")
        compared = [history.name for history, _ in self.pairs]
        pooled = [c.name for c in layout.ids if c.name not in compared]
        self.pooling = FieldPooling(layout, pooled if compared else None)
        self.pads = [layout.table[history.table].start for history, _ in self.pairs]
        names = (*pooled, *compared)
        self.gates = _gate_positions(layout, names, len(pooled), gated.lhuc) if gated else []
        self._gate_gradient = gated is not None and gated.lhuc_gradient
        lengths = tuple(history.width for history, _ in self.pairs)
        self.shape = Shape(names, dim, layout.dense_width, len(self.gates) * dim, lengths)
        self.crossed: CrossedColumns | None = None
        """First-order weights of crossed columns; set by a backbone that has them."""

    def forward(self, batch: Batch) -> Fields:
        vectors, first = self.pooling.split(self.table, batch.ids)  # (B, F, dim), (B, F, T)
        pending: list[HistoryTensors] = []
        for (history, target), pad in zip(self.pairs, self.pads, strict=True):
            ids = batch.ids[:, history.first : history.first + history.width]
            ids, real = trimmed(ids, pad)  # (B, L) each
            items = self.table(ids)  # (B, L, dim + T)
            items = items if self.table.dim == self.shape.dim else items[..., : self.shape.dim]
            candidate = vectors[:, self.shape.names.index(target.name)]  # (B, dim)
            pending.append(HistoryTensors(candidate, items, real))
        if pending:  # these histories have no first-order weights
            first = torch.cat([first, first.new_zeros(len(first), len(pending), first.shape[2])], 1)
        if self.crossed is not None:
            first = torch.cat([first, self.crossed(batch.ids)], 1)
        return Fields(vectors, batch.dense, first, self.gates, self._gate_gradient, tuple(pending))


class Network(nn.Module):
    """Inputs, sequence blocks where the option `sequence` adds them, and the ranker's core.

    Args:
        inputs: makes `Fields` of a batch.
        core: `forward(fields)` gives logits (B, L).
        sequence: completes the fields of pending histories; None where there are none, or where
            the core does it itself (`din`, `bst`).
    """

    def __init__(
        self, inputs: Inputs, core: nn.Module, sequence: SequenceBlocks | None = None
    ) -> None:
        super().__init__()
        self.inputs, self.core, self.sequence = inputs, core, sequence

    def fields(self, batch: Batch) -> Fields:
        """The core's input."""
        fields = self.inputs(batch)
        return fields if self.sequence is None else self.sequence(fields)

    def forward(self, batch: Batch) -> Tensor:
        return self.core(self.fields(batch))


def histories(layout: Layout) -> list[tuple[IdColumn, IdColumn]]:
    """(history, the candidate's feature of the same table), for every history in the layout.

    Columns of a data frame may have no side: a single-id feature that shares its table with a list
    is then taken as the candidate's.
    """
    singles = {c.table: c for c in layout.ids if not c.ragged and c.side is Side.CONTEXT}
    singles |= {c.table: c for c in layout.ids if not c.ragged and c.side is Side.ITEM}
    lists = [c for c in layout.ids if c.ragged and c.side is not Side.ITEM]
    return [(c, singles[c.table]) for c in lists if c.table in singles]


def _gate_positions(
    layout: Layout, names: tuple[str, ...], pooled: int, lhuc: bool | tuple[str, ...]
) -> list[int]:
    """Positions of the fields that gate. Only the first `pooled` names are pooled features; the
    rest are histories that are compared with the candidate."""
    if lhuc is False:
        return []
    side = {c.name: c.side for c in layout.ids}
    if lhuc is True:
        own = [k for k, name in enumerate(names[:pooled]) if side[name] is Side.USER]
        if not own:
            raise ConfigError(
                "lhuc = true: the user has no id feature, so there is no input for the gates; name "
                f"features in lhuc ({', '.join(names)}), or declare an id feature of the user"
            )
        return own
    for name in lhuc:
        if name not in names:
            raise ConfigError(f"lhuc names {name!r}: id features are {', '.join(names)}")
    return [names.index(name) for name in lhuc]
