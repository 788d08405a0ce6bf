"""What every neural ranker shares: its inputs as vectors, a network on them, one logit per task."""

from __future__ import annotations

import logging
from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, Field
from torch import Tensor, nn

from tamis.features import Batch, IdColumn, Layout, Rows
from tamis.nn import CrossedColumns, FieldPooling, fused_table
from tamis.rank.fields import Fields, Shape
from tamis.rank.sequence import SequenceConfig, sequence_block, trimmed
from tamis.rank.tower import Tower
from tamis.schema import ConfigError, MissingExtraError, Side, TrainingError, VersionError
from tamis.train import Estimator, EstimatorConfig

if TYPE_CHECKING:
    from tamis.rank.engine import Engine

Float32 = NDArray[np.float32]
log = logging.getLogger("tamis.rank")
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


class Backbone(Estimator):
    """A neural ranker: a subclass names its `Config` and builds its core."""

    Config: ClassVar[type[BaseModel]] = InputsConfig
    first_order: ClassVar[bool] = False
    """Whether every id has a first-order weight per task (`Fields.first`)."""
    degraded: tuple[str, ...] = ()
    """What is not as the version was written, for the trace of every answer."""
    _engine: Engine | None = None

    @abstractmethod
    def core(self, shape: Shape, n_tasks: int, generator: torch.Generator) -> nn.Module:
        """A fresh module whose `forward(fields)` gives logits (B, n_tasks)."""

    def build(self, layout: Layout, n_tasks: int, generator: torch.Generator) -> nn.Module:
        assert isinstance(self.config, InputsConfig)
        self._engine, self.degraded = None, ()
        inputs = Inputs(layout, self.config, n_tasks if self.first_order else 0, generator)
        return Network(inputs, self.core(inputs.shape, n_tasks, generator))

    def logits(self, rows: Rows) -> Float32:
        """(n, L) in the rows' order, before correction and calibration. A ranker opened from a
        version scores few users' many candidates by the engine, as equal as float32 allows."""
        scored = self._engine.logits(rows) if self._engine is not None else None
        return super().logits(rows) if scored is None else scored

    def save(self, directory: Path | str) -> None:
        """Writes config, layout and weights, and for requests the scoring engine."""
        super().save(directory)
        from tamis.rank import engine  # it is made of this file's inputs

        engine.discard(Path(directory))
        wanted, network = self.config.engine, self._module()
        if wanted == "torch" or (wanted == "auto" and self.space is not None):
            return  # a frame's rows are no requests
        try:
            assert self.layout is not None
            engine.export(self.layout, network, Path(directory))
        except TrainingError as error:
            if wanted == "onnx":
                raise
            log.warning("requests will be scored by PyTorch: %s", error)

    @classmethod
    def load(cls, directory: Path | str, config: EstimatorConfig | None = None) -> Self:
        """Opens what `save` wrote, weights memory-mapped, the engine warm.

        Raises VersionError where files are missing or belong to another model. A damaged engine
        raises with `engine = "onnx"`; with "auto" PyTorch scores, and `degraded` says so.
        """
        self = super().load(directory, config)
        chosen = config if isinstance(config, InputsConfig) else self.config
        self._open_engine(Path(directory), chosen.engine, chosen.engine_threads)
        return self

    def _open_engine(self, directory: Path, wanted: str, threads: int) -> None:
        from tamis.rank import engine

        written = (directory / engine.FOLDER).is_dir()
        if wanted == "torch" or (wanted == "auto" and not written):
            return
        network = self._module()
        assert self.layout is not None
        assert isinstance(network, Network)
        try:
            self._engine = engine.Engine(directory, self.layout, network, threads)
        except (VersionError, MissingExtraError) as error:
            if wanted == "onnx":
                raise
            log.warning("requests are scored by PyTorch: %s", error)
            reason = str(error).replace(f"{directory}/", "")  # answers tell no paths
            self.degraded = (f"scored by PyTorch: {reason}",)

    def widths(self, n_logits: int) -> tuple[int, ...]:
        """Logits of each task; one each where a core is built without tasks."""
        known = self.heads.widths
        return known if sum(known) == n_logits else (1,) * n_logits

    def tower(self, shape: Shape, width: int, generator: torch.Generator) -> Tower:
        """The configured hidden layers over `width` inputs, gated where `lhuc` says so."""
        c = self.config
        return Tower(
            width,
            c.hidden_units,
            gate_features=shape.gate,
            dropout=c.dropout,
            activation=c.activation,
            batch_norm=c.batch_norm,
            generator=generator,
        )


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
