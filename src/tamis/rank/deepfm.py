"""DeepFM: first order + factorisation machine + MLP over shared embeddings (Guo et al. 2017)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn

from tamis.features import Batch, Layout
from tamis.nn import MLP, FieldPooling, fm_second_order, fused_table, linear, zero_linear
from tamis.train import Estimator, EstimatorConfig


class DeepFMConfig(EstimatorConfig):
    """The shape of a DeepFM."""

    embedding_dim: Annotated[int, Field(ge=1, le=4096)] = 16
    hidden_units: tuple[Annotated[int, Field(ge=1)], ...] = (256, 128)
    """Widths of the MLP's hidden layers."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    activation: Literal["relu", "prelu", "gelu", "sigmoid", "tanh"] = "relu"
    batch_norm: bool = False
    init_std: Annotated[float, Field(gt=0)] = 0.01
    """Standard deviation of the initial embeddings."""


class DeepFMNet(nn.Module):
    """F id features and D numbers in, T logits out.

    Several tasks share the embeddings, the factorisation machine and the MLP's hidden layers; each
    has first-order weights and an output of its own.
    """

    def __init__(
        self, layout: Layout, n_tasks: int, config: DeepFMConfig, generator: torch.Generator
    ) -> None:
        super().__init__()
        dim = config.embedding_dim
        self.table = fused_table(  # a row: the vector, then a first-order weight per task
            layout,
            dim + n_tasks,
            init_std=config.init_std,
            zero_columns=n_tasks,
            generator=generator,
        )
        self.pooling = FieldPooling(layout)
        self.dense_first_order = zero_linear(layout.dense_width, n_tasks, bias=False)
        self.mlp = MLP(
            len(layout.ids) * dim + layout.dense_width,
            config.hidden_units,
            dropout=config.dropout,
            activation=config.activation,
            batch_norm=config.batch_norm,
            generator=generator,
        )
        self.heads = linear(self.mlp.out_features, n_tasks, generator=generator)

    def forward(self, batch: Batch) -> Tensor:
        vectors, weights = self.pooling.split(self.table, batch.ids)  # (B, F, dim), (B, F, T)
        first_order = weights.sum(1)  # (B, T)
        if batch.dense.shape[1]:
            first_order = first_order + self.dense_first_order(batch.dense)
        second_order = fm_second_order(vectors).unsqueeze(1)  # (B, 1)
        x = torch.cat([vectors.flatten(1), batch.dense], 1)  # (B, F · dim + D)
        return first_order + second_order + self.heads(self.mlp(x))  # (B, T)


class DeepFM(Estimator):
    """The ranker `deepfm`."""

    Config: ClassVar[type[BaseModel]] = DeepFMConfig

    def build(self, layout: Layout, n_tasks: int, generator: torch.Generator) -> nn.Module:
        assert isinstance(self.config, DeepFMConfig)
        return DeepFMNet(layout, n_tasks, self.config, generator)
