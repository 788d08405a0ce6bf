"""What every neural ranker shares: its inputs as vectors, a network on them, one logit per task."""

from __future__ import annotations

import logging
from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import torch
from pydantic import BaseModel
from torch import nn

from tamis.features import Layout, Rows
from tamis.rank import _engine as engine
from tamis.rank._fields import Shape
from tamis.rank._network import Inputs, InputsConfig, Network
from tamis.rank._tower import Tower
from tamis.runtime import Float32
from tamis.schema import MissingExtraError, TrainingError, VersionError
from tamis.train import Estimator, EstimatorConfig

if TYPE_CHECKING:
    from tamis.rank._engine.engine import Engine

log = logging.getLogger("tamis.rank")


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
