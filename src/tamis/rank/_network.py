"""The network of every neural ranker: inputs as fields, and a core that turns them into logits."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from tamis.features import Batch, IdColumn, Layout
from tamis.nn import CrossedColumns, FieldPooling, SENet, fused_table, without_padding
from tamis.rank._fields import Fields, HistoryTensors, Part, Shape
from tamis.rank._sequence import SequenceBlocks, SequenceConfig
from tamis.schema import Conditions, ConfigError, Needs, Side
from tamis.train import EstimatorConfig

NO_HISTORY = (
    "no feature is a history of items that shares the table of an item's id; declare a "
    "VarLenSparseFeat with `shares` (and, in a project, `history`)"
)


class InputsConfig(SequenceConfig, EstimatorConfig):
    """Options of the inputs that all neural rankers have in common."""

    only_with: ClassVar[Conditions] = {"reduction": (Needs("senet", ("relu", "sigmoid")),)}

    embedding_dim: Annotated[int, Field(ge=1, le=4096)] = 16
    """Width of the id features' vectors."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of hidden values dropped in training."""
    init_std: Annotated[float, Field(gt=0)] = 0.01
    """Standard deviation of the initial embeddings."""
    senet: Literal["none", "relu", "sigmoid"] = "none"
    """Weights every field's vector by squeeze and excitation before the backbone reads it (SENet):
    `f(W₂ relu(W₁ z))` of the means z of all fields' vectors. f = relu can turn a field off, and
    learns more slowly; f = sigmoid starts with the same weight for all fields."""
    reduction: Annotated[int, Field(ge=1)] = 3
    """The squeeze layer of SENet has ⌈fields / reduction⌉ units."""
    engine: Literal["auto", "onnx", "torch"] = "auto"
    """What scores requests. "auto": ONNX Runtime if the version holds an export of the ranker,
    otherwise PyTorch, which the answer reports as degraded. "onnx": ONNX Runtime, or an error.
    "torch": PyTorch."""
    engine_threads: Annotated[int, Field(ge=1, le=256)] = 1
    """Threads of ONNX Runtime for one request. Requests already run in parallel."""


class BackboneConfig(InputsConfig):
    """Options that all rankers with hidden layers have in common."""

    only_with: ClassVar[Conditions] = {
        "lhuc_gradient": (Needs("lhuc", none_of=(False,)),),
        "gate_units": (Needs("lhuc", none_of=(False,)),),
    }

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
    """Features whose vectors and numbers gate every hidden layer, `h ⊙ 2σ(gate)` (LHUC); true = all
    of the user's id features, except histories that are compared with the candidate."""
    lhuc_gradient: bool = False
    """Whether the gates train those vectors; if not, the vectors are learned from the other layers
    only."""
    gate_units: Annotated[int, Field(ge=0)] = 0
    """Width of the hidden layer of each gate's network; 0 = a gate is one linear layer."""
    gates_read_numbers: ClassVar[bool] = False
    """Whether `lhuc = true` includes the user's numbers."""


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
        self.pooling = FieldPooling(
            layout, pooled if compared else None, dim=dim, generator=generator
        )
        self.pads = [layout.table[history.table].start for history, _ in self.pairs]
        names = (*pooled, *compared)
        gates = gate_inputs(layout, names, len(pooled), gated) if gated else Part((), ())
        self.gates, self.gate_numbers = gates.fields, gates.numbers
        """Positions of the fields, and columns of the numbers, that the LHUC gates read."""
        self._gate_gradient = gated is not None and gated.lhuc_gradient
        lengths = tuple(history.width for history, _ in self.pairs)
        beside = beside_gates(layout, names, gates)
        self.shape = Shape(names, dim, layout.dense_width, gates.width(dim), lengths, beside)
        self.crossed: CrossedColumns | None = None
        """First-order weights of crossed columns; set by a backbone that has them."""

    def forward(self, batch: Batch) -> Fields:
        vectors, first = self.pooling.split(self.table, batch.ids)  # (B, F, dim), (B, F, T)
        pending: list[HistoryTensors] = []
        for (history, target), pad in zip(self.pairs, self.pads, strict=True):
            ids = batch.ids[:, history.first : history.first + history.width]
            ids, real = without_padding(ids, pad)  # (B, L) each
            items = self.table(ids)  # (B, L, dim + T)
            items = items if self.table.dim == self.shape.dim else items[..., : self.shape.dim]
            candidate = vectors[:, self.shape.names.index(target.name)]  # (B, dim)
            pending.append(HistoryTensors(candidate, items, real))
        if pending:  # these histories have no first-order weights
            first = torch.cat([first, first.new_zeros(len(first), len(pending), first.shape[2])], 1)
        if self.crossed is not None:
            first = torch.cat([first, self.crossed(batch.ids)], 1)
        return Fields(
            vectors,
            batch.dense,
            first,
            self.gates,
            self._gate_gradient,
            tuple(pending),
            self.gate_numbers,
        )


class Network(nn.Module):
    """Inputs, sequence blocks where the option `sequence` adds them, and the ranker's core.

    Args:
        inputs: makes `Fields` of a batch.
        core: `forward(fields)` gives logits (B, L).
        sequence: completes the fields of pending histories; None where there are none, or where
            the core does it itself (`din`, `bst`).
        senet: weights the complete fields; None without the option `senet`.
    """

    def __init__(
        self,
        inputs: Inputs,
        core: nn.Module,
        sequence: SequenceBlocks | None = None,
        senet: SENet | None = None,
    ) -> None:
        super().__init__()
        self.inputs, self.core, self.sequence, self.senet = inputs, core, sequence, senet

    def fields(self, batch: Batch) -> Fields:
        """The core's input."""
        return completed(replace(self.inputs(batch), weighting=self.senet), self.sequence)

    def forward(self, batch: Batch) -> Tensor:
        return self.core(self.fields(batch))


def completed(fields: Fields, sequence: SequenceBlocks | None) -> Fields:
    """Fields with their histories, unless the core adds these, and with SENet's weights."""
    if sequence is not None:
        return sequence(fields)
    return fields if fields.histories else fields.with_histories(())


def histories(layout: Layout) -> list[tuple[IdColumn, IdColumn]]:
    """(history, the candidate's feature of the same table), for every history in the layout.

    Columns of a data frame may have no side: a single-id feature that shares its table with a list
    is then taken as the candidate's.
    """
    singles = {c.table: c for c in layout.ids if not c.ragged and c.side is Side.CONTEXT}
    singles |= {c.table: c for c in layout.ids if not c.ragged and c.side is Side.ITEM}
    lists = [c for c in layout.ids if c.ragged and c.side is not Side.ITEM]
    return [(c, singles[c.table]) for c in lists if c.table in singles]


def gate_inputs(
    layout: Layout, names: tuple[str, ...], pooled: int, config: BackboneConfig
) -> Part:
    """The inputs of the LHUC gates.

    Args:
        layout: columns of ids and numbers.
        names: the fields.
        pooled: how many of them, from the first, are pooled features; the rest are histories that
            are compared with the candidate.
        config: the ranker's options.

    Raises ConfigError if `lhuc` names an unknown feature, or is true and the user has none.
    """
    lhuc = config.lhuc
    if lhuc is False:
        return Part((), ())
    numbers = {c.name: tuple(range(c.first, c.first + c.width)) for c in layout.dense}
    if lhuc is True:
        side = {c.name: c.side for c in (*layout.ids, *layout.dense)}
        own = tuple(k for k, name in enumerate(names[:pooled]) if side[name] is Side.USER)
        read = [name for name in numbers if side[name] is Side.USER and config.gates_read_numbers]
        if not own and not read:
            kind = "feature" if config.gates_read_numbers else "id feature"
            raise ConfigError(
                f"lhuc = true: the user has no {kind}, so there is no input for the gates; name "
                f"features in lhuc ({', '.join([*names, *numbers])}), or declare {_article(kind)} "
                "of the user"
            )
        return Part(own, tuple(k for name in read for k in numbers[name]))
    for name in lhuc:
        if name not in names and name not in numbers:
            known = ", ".join([*names, *numbers])
            raise ConfigError(f"lhuc names {name!r}: features are {known}")
    return Part(
        tuple(names.index(name) for name in lhuc if name in names),
        tuple(k for name in lhuc if name not in names for k in numbers[name]),
    )


def beside_gates(layout: Layout, names: tuple[str, ...], gates: Part) -> Part | None:
    """All inputs but those of the user and the context that gate; None without gates."""
    if not gates.fields and not gates.numbers:
        return None
    of_user = (Side.USER, Side.CONTEXT)
    side = {c.name: c.side for c in layout.ids}
    taken = {k for k in gates.fields if side[names[k]] in of_user}
    spans = [range(c.first, c.first + c.width) for c in layout.dense if c.side in of_user]
    taken_numbers = {k for span in spans for k in span} & set(gates.numbers)
    return Part(
        tuple(k for k in range(len(names)) if k not in taken),
        tuple(k for k in range(layout.dense_width) if k not in taken_numbers),
    )


def _article(kind: str) -> str:
    return f"an {kind}" if kind.startswith("id") else f"a {kind}"
