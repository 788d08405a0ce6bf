"""DSSM on labelled rows: a user tower and an item tower whose scaled cosine predicts the label."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from tamis.features import Batch, Layout, Rows
from tamis.nn import MLP, FieldPooling, FusedEmbedding, fused_table, unit_rows
from tamis.runtime import Float32
from tamis.schema import ConfigError, Feature, Side, TaskConfig, feature_tuple
from tamis.train import Estimator, EstimatorConfig, FitSettings, predict, task_of_label

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

    Frame = pl.DataFrame | pd.DataFrame

Units = Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)]
USER_SIDES = (Side.USER, Side.CONTEXT)
ITEM_SIDES = (Side.ITEM,)


class DSSMConfig(EstimatorConfig):
    """Options of the two towers."""

    task: Literal["binary", "multiclass", "regression"] = "binary"
    """What the label column of `fit` holds: 0 and 1; values that are ordered classes, such as
    ratings; or a number. With several labels, each is such a task. Not used if `fit` is given
    `tasks`."""
    embedding_dim: Annotated[int, Field(ge=1, le=1024)] = 16
    """Width of the id features' vectors."""
    hidden_units: Units = (128, 64)
    """Widths of each tower's layers; the last is the width of the user and item embeddings."""
    item_hidden_units: Units | None = None
    """Widths of the item tower's layers, with the same last width. If omitted: `hidden_units`."""
    activation: Literal["relu", "prelu", "dice", "gelu", "sigmoid", "tanh"] = "relu"
    """Activation of the hidden layers; the last layer is linear."""
    batch_norm: bool = False
    """Whether hidden values are normalised over the batch, before each activation."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of hidden values dropped in training."""
    similarity: Literal["cosine", "inner"] = "cosine"
    """cosine: embeddings have length 1, so that their product is the cosine. inner: the inner
    product of embeddings of any length."""
    gamma: Annotated[float, Field(gt=0)] | None = None
    """γ in logit = γ · similarity + b. If omitted: 10 for the cosine, 1 for the inner product."""
    learn_gamma: bool = True
    """Whether γ is learnt, one per task, with `gamma` as the initial value; otherwise it is
    fixed."""
    init_std: Annotated[float, Field(gt=0)] | None = None
    """Standard deviation of the initial vectors of id features. If omitted: 1 / √embedding_dim,
    vectors of about length 1. With much smaller vectors all cosines are equal at first, and a fit
    may stop before it has learnt anything."""

    @model_validator(mode="after")
    def _check_widths(self) -> Self:
        item = self.item_units
        if self.hidden_units[-1] != item[-1]:
            raise ValueError(
                f"hidden_units end in {self.hidden_units[-1]} and item_hidden_units in {item[-1]}: "
                "the product of both embeddings needs one width; set both last units to one value"
            )
        return self

    @property
    def item_units(self) -> tuple[int, ...]:
        """Widths of the item tower's layers."""
        return self.hidden_units if self.item_hidden_units is None else self.item_hidden_units

    @property
    def initial_gamma(self) -> float:
        """γ before training."""
        default = 10.0 if self.similarity == "cosine" else 1.0
        return default if self.gamma is None else self.gamma


class RowTower(nn.Module):
    """One side's embeddings: its features' vectors and numbers, side by side, through an MLP.

    Args:
        layout: layout of the rows.
        sides: whose features the tower reads.
        units: widths of the layers; the last one, that of an embedding, is linear.
        n: embeddings per row.
        config: width of the id features' vectors, and options of the hidden layers.
        generator: source of the initial weights.
    """

    def __init__(
        self,
        layout: Layout,
        sides: Collection[Side],
        units: Sequence[int],
        n: int,
        config: DSSMConfig,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.n, self.width = n, units[-1]
        ids = [c.name for c in layout.ids if c.side in sides]
        dim = config.embedding_dim
        self.pooling = None
        if ids:
            self.pooling = FieldPooling(layout, ids, dim=dim, generator=generator)
        self.numbers = [
            k for c in layout.dense if c.side in sides for k in range(c.first, c.first + c.width)
        ]
        """Columns of the layout's numbers that the tower reads."""
        self.unit_length = config.similarity == "cosine"
        self.layers = MLP(
            len(ids) * config.embedding_dim + len(self.numbers),
            units[:-1],
            n * self.width,
            dropout=config.dropout,
            activation=config.activation,
            batch_norm=config.batch_norm,
            generator=generator,
        )

    def forward(self, table: FusedEmbedding, batch: Batch) -> Tensor:
        """(B, n, width) of a batch; of length 1 if the similarity is the cosine."""
        x = batch.dense[:, self.numbers]  # (B, D)
        if self.pooling is not None:
            x = torch.cat([self.pooling(table, batch.ids).flatten(1), x], 1)  # (B, F · dim + D)
        vectors = self.layers(x).float().reshape(-1, self.width)  # (B · n, width)
        if self.unit_length:
            vectors = unit_rows(vectors)
        return vectors.view(len(batch), self.n, self.width)


class DSSMNet(nn.Module):
    """logit_k = γ_t · s_k · sim(user_t, item) + b_k for each logit k of task t.

    s is 1 for a task of one logit. For a task of K classes it rises from −1 to 1, so that a higher
    similarity shifts probability to higher classes (Goodman 1979, uniform association).

    Args:
        layout: layout of the rows.
        config: options.
        widths: number of logits of each task.
        generator: source of the initial weights.
    """

    places: Tensor
    """(L,) s_k."""
    task: Tensor
    """int64 (L,) the task of each logit."""

    def __init__(
        self,
        layout: Layout,
        config: DSSMConfig,
        widths: Sequence[int],
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        dim = config.embedding_dim
        std = dim**-0.5 if config.init_std is None else config.init_std
        self.table = fused_table(layout, dim, init_std=std, generator=generator)
        self.user = RowTower(
            layout, USER_SIDES, config.hidden_units, len(widths), config, generator
        )
        self.item = RowTower(layout, ITEM_SIDES, config.item_units, 1, config, generator)
        start = torch.full((len(widths),), math.log(config.initial_gamma))
        self.log_gamma = nn.Parameter(start, requires_grad=config.learn_gamma)
        self.bias = nn.Parameter(torch.zeros(sum(widths)))
        places = [torch.linspace(-1, 1, n) if n > 1 else torch.ones(1) for n in widths]
        task = torch.arange(len(widths)).repeat_interleave(torch.tensor(widths))
        self.register_buffer("places", torch.cat(places), persistent=False)
        self.register_buffer("task", task, persistent=False)

    @property
    def gamma(self) -> Tensor:
        """(T,) γ of each task, positive."""
        return self.log_gamma.exp()

    def forward(self, batch: Batch) -> Tensor:
        """(B, L) logits."""
        user, item = self.user(self.table, batch), self.item(self.table, batch)
        similarity = torch.linalg.vecdot(user, item)  # (B, T) of (B, T, d) and (B, 1, d)
        return similarity[:, self.task] * (self.gamma[self.task] * self.places) + self.bias


class _Embeddings(nn.Module):
    """The embeddings of one side of a batch, as a module for `predict`."""

    def __init__(self, table: FusedEmbedding, tower: RowTower) -> None:
        super().__init__()
        self.table, self.tower = table, tower

    def forward(self, batch: Batch) -> Tensor:
        vectors = self.tower(self.table, batch)  # (B, n, d)
        return vectors.squeeze(1)


class DSSM(Estimator):
    """Two towers on a frame of labelled rows: logit = γ · cos(user, item) + b.

        model = DSSM(
            user_features=[SparseFeat("user_id"), VarLenSparseFeat("liked", shares="item_id")],
            item_features=[SparseFeat("item_id"), VarLenSparseFeat("genres", separator="|")],
        )
        model.fit(train, label="click", valid=valid)
        model.evaluate(test), model.predict(test)
        model.user_embeddings(users) @ model.item_embeddings(items).T

    The products of a user's embedding and the items' order these items as `predict` does, for each
    kind of task. With several labels, each label has a user embedding and a γ of its own, and all
    share the item's embedding.

    When to use: for research on rows with labels (click or not, a rating), and for vectors that go
    into an index or a store of your own. `tamis.TwoTower` is the recall channel of event logs: it
    learns from positive events and samples its negatives. `tamis.InnerProduct` is the pre-ranker.

    Source: Huang et al. 2013, Learning Deep Structured Semantic Models for Web Search using
    Clickthrough Data.
    """

    name = "dssm"
    Config = DSSMConfig
    config: DSSMConfig

    def __init__(
        self,
        config: DSSMConfig | None = None,
        *,
        user_features: Sequence[Feature] = (),
        item_features: Sequence[Feature] = (),
        **options: Any,
    ) -> None:
        """Args:
        config: options as a typed config.
        user_features: features of the user tower (also of the request's context).
        item_features: features of the item tower. A feature may share the vectors of a feature of
            either tower (`shares`).
        options: options by name; they replace those of `config`.

        Raises ConfigError for unknown options, and for a feature declared for the other side.
        """
        if "features" in options:
            raise ConfigError(
                "DSSM has two towers: give user_features=[…] and item_features=[…] in place of "
                "features"
            )
        super().__init__(
            config,
            features=(
                *_of_side(user_features, USER_SIDES, "user_features"),
                *_of_side(item_features, ITEM_SIDES, "item_features"),
            ),
            **options,
        )

    @property
    def user_features(self) -> tuple[Feature, ...]:
        """Features of the user tower."""
        return tuple(f for f in self.features if f.side in USER_SIDES)

    @property
    def item_features(self) -> tuple[Feature, ...]:
        """Features of the item tower."""
        return tuple(f for f in self.features if f.side in ITEM_SIDES)

    def fit(
        self,
        data: Rows | Frame,
        valid: Rows | Frame | None = None,
        tasks: Sequence[str | TaskConfig] | None = None,
        context: FitSettings | None = None,
        *,
        label: str | Sequence[str] = "label",
        weight: str | None = None,
    ) -> Self:
        """As `FrameModel.fit`; without `tasks`, the option `task` says what the labels are.

        The classes of task = "multiclass" are the distinct labels of `data`.
        """
        kind = self.config.task
        if kind != "binary":
            if tasks is not None or isinstance(data, Rows):
                raise ConfigError(
                    f"DSSM: task = {kind!r} describes the label columns of a frame; give `label`, "
                    "or remove task and declare the kinds in `tasks`"
                )
            names = [label] if isinstance(label, str) else label
            tasks = [task_of_label(data, name, kind) for name in names]
        return super().fit(data, valid, tasks, context, label=label, weight=weight)

    def build(self, layout: Layout, n_tasks: int, generator: torch.Generator) -> nn.Module:
        sides = {c.side for c in (*layout.ids, *layout.dense)}
        for name, wanted in (("user_features", USER_SIDES), ("item_features", ITEM_SIDES)):
            if not sides & set(wanted):
                raise ConfigError(
                    f"DSSM has no {name}: DSSM(user_features=[SparseFeat('user_id'), …], "
                    "item_features=[SparseFeat('item_id'), …])"
                )
        widths = self.heads.widths if self.heads.n_logits == n_tasks else (1,) * n_tasks
        return DSSMNet(layout, self.config, widths, generator)

    @property
    def gamma(self) -> dict[str, float]:
        """{task: γ} of the fitted model. Raises NotFittedError before a fit."""
        return dict(zip(self.tasks, self._net().gamma.tolist(), strict=True))

    def user_embeddings(self, frame: Frame) -> Float32:
        """(n, d) embeddings of a frame's rows by the user tower, d = hidden_units[-1]; (n, T, d)
        of T labels.

        Only the columns of `user_features` are read. Raises NotFittedError before a fit, DataError
        for a missing column.
        """
        net = self._net()
        return predict(_Embeddings(net.table, net.user), self._space().side_rows(frame, USER_SIDES))

    def item_embeddings(self, frame: Frame) -> Float32:
        """(n, d) embeddings of a frame's rows by the item tower, d = hidden_units[-1].

        Only the columns of `item_features` are read. Raises as `user_embeddings`.
        """
        net = self._net()
        return predict(_Embeddings(net.table, net.item), self._space().side_rows(frame, ITEM_SIDES))

    def _net(self) -> DSSMNet:
        net = self._module()
        assert isinstance(net, DSSMNet)
        return net


def _of_side(features: Any, sides: Sequence[Side], where: str) -> tuple[Feature, ...]:
    """The features with `sides[0]` where they declare no side.

    Raises ConfigError for a feature that declares another side.
    """
    found: list[Feature] = []
    for feature in feature_tuple(features):
        if feature.side is not None and feature.side not in sides:
            raise ConfigError(
                f"{where}: feature {feature.name!r} declares side = {feature.side.value!r}, which "
                f"this tower does not read; it takes {' or '.join(sides)}, or no side"
            )
        found.append(feature.model_copy(update={"side": feature.side or sides[0]}))
    return tuple(found)
