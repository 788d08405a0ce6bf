"""Base class of the neural rankers: builds the network, saves it, and opens its scoring engine."""

from __future__ import annotations

import logging
from abc import abstractmethod
from pathlib import Path
from typing import ClassVar, Self

import torch
from pydantic import BaseModel
from torch import nn

from tamis.features import Layout, Rows
from tamis.nn import SENet
from tamis.rank._engine.engine import Engine
from tamis.rank._engine.export import discard, export
from tamis.rank._engine.session import FOLDER
from tamis.rank._fields import Shape
from tamis.rank._network import Inputs, InputsConfig, Network
from tamis.rank._sequence import SequenceBlocks
from tamis.runtime import Float32
from tamis.schema import ConfigError, MissingExtraError, TrainingError, VersionError
from tamis.train import Estimator, EstimatorConfig

log = logging.getLogger("tamis.rank")


class Backbone(Estimator):
    """Base class of the neural rankers.

    A subclass declares `name`, `Config` and `config`, and implements `core`. Inputs (embeddings,
    pooling, histories), training, saving and the scoring engine are shared.
    """

    Config: ClassVar[type[BaseModel]] = InputsConfig
    first_order: ClassVar[bool] = False
    """Whether every id has a first-order weight per task (`Fields.first`)."""
    core_reads_histories: ClassVar[bool] = False
    """Whether the core turns `Fields.histories` into vectors itself; otherwise the sequence blocks
    of the option `sequence` do it before the core."""
    core_weights_fields: ClassVar[bool] = False
    """Whether the core has a SENet of its own; otherwise the option `senet` adds one before it."""
    degraded: tuple[str, ...] = ()
    """Reasons why scoring differs from what the version was written for; shown in the trace of
    every answer."""
    _engine: Engine | None = None

    @abstractmethod
    def core(self, shape: Shape, n_tasks: int, generator: torch.Generator) -> nn.Module:
        """A new module whose `forward(fields)` gives logits (B, n_tasks).

        Args:
            shape: widths of the fields.
            n_tasks: number of logits; a multiclass task has several.
            generator: source of the initial weights.
        """

    def build(self, layout: Layout, n_tasks: int, generator: torch.Generator) -> nn.Module:
        assert isinstance(self.config, InputsConfig)
        self._engine, self.degraded = None, ()
        inputs = Inputs(layout, self.config, n_tasks if self.first_order else 0, generator)
        shape, sequence = inputs.shape, None
        if shape.histories and not self.core_reads_histories:
            sequence = SequenceBlocks(shape, self.config, self.config.dropout, generator)
        core = self.core(shape, n_tasks, generator)
        return Network(inputs, core, sequence, self._senet(shape, generator))

    def _senet(self, shape: Shape, generator: torch.Generator) -> SENet | None:
        """The weights of the option `senet`."""
        config = self.config
        assert isinstance(config, InputsConfig)
        if config.senet == "none" or self.core_weights_fields:
            return None
        if len(shape.names) < 2:
            raise ConfigError(
                f"senet = {config.senet!r} weights fields, and there are {len(shape.names)}: "
                "declare at least two id features, or remove senet"
            )
        return SENet(
            len(shape.names), config.reduction, activation=config.senet, generator=generator
        )

    def logits(self, rows: Rows) -> Float32:
        """float32 (n, L) in the rows' order, before correction and calibration.

        A ranker loaded from a version scores rows of few users with many candidates by the scoring
        engine, which agrees with PyTorch up to float32 rounding.
        """
        scored = self._engine.logits(rows) if self._engine is not None else None
        return super().logits(rows) if scored is None else scored

    def save(self, directory: Path | str) -> None:
        """Writes config, layout and weights, and the scoring engine for requests.

        Raises TrainingError with `engine = "onnx"` if the network cannot be exported.
        """
        super().save(directory)
        discard(Path(directory))
        wanted, network = self.config.engine, self._module()
        if wanted == "torch" or (wanted == "auto" and self.space is not None):
            return  # a model fitted on a data frame serves no requests
        try:
            assert self.layout is not None
            export(self.layout, network, Path(directory))
        except TrainingError as error:
            if wanted == "onnx":
                raise
            log.warning("requests will be scored by PyTorch: %s", error)

    @classmethod
    def load(cls, directory: Path | str, config: EstimatorConfig | None = None) -> Self:
        """Opens what `save` wrote: weights memory-mapped, the engine warmed up.

        Args:
            directory: where `save` wrote.
            config: the cascade's current options, of which `engine` and `engine_threads` are read.

        Raises VersionError if files are missing or belong to another model. A missing or damaged
        engine raises with `engine = "onnx"`; with "auto" PyTorch scores, and `degraded` reports it.
        """
        self = super().load(directory, config)
        chosen = config if isinstance(config, InputsConfig) else self.config
        self._open_engine(Path(directory), chosen.engine, chosen.engine_threads)
        return self

    def _open_engine(self, directory: Path, wanted: str, threads: int) -> None:
        written = (directory / FOLDER).is_dir()
        if wanted == "torch" or (wanted == "auto" and not written):
            return
        network = self._module()
        assert self.layout is not None
        assert isinstance(network, Network)
        try:
            self._engine = Engine(directory, self.layout, network, threads)
        except (VersionError, MissingExtraError) as error:
            if wanted == "onnx":
                raise
            log.warning("requests are scored by PyTorch: %s", error)
            reason = str(error).replace(f"{directory}/", "")  # no file paths in answers
            self.degraded = (f"scored by PyTorch: {reason}",)

    def widths(self, n_logits: int) -> tuple[int, ...]:
        """Number of logits of each task; 1 each if the core is built before tasks are known."""
        known = self.heads.widths
        return known if sum(known) == n_logits else (1,) * n_logits
