"""Base class of the tower pre-rankers: user tower once per request, item tower once per version."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor, nn

from tamis.data import Table
from tamis.features import Batch, Block, Layout, Rows
from tamis.nn import fused_table
from tamis.prerank._base import PrerankConfig, Preranker
from tamis.prerank._item_vectors import ItemVectors
from tamis.prerank._numpy_layers import NumpyMLP
from tamis.prerank._tower_inputs import ColumnKinds, TowerBlocks, TowerInputs, TowerKind
from tamis.prerank._tower_networks import Network, tower_network
from tamis.runtime import Float32, Int32
from tamis.schema import TaskConfig
from tamis.train import predict

CHUNK = 4096
"""Candidates scored at once, so few that their arrays stay in a core's cache."""
Units = tuple[Annotated[int, Field(ge=1)], ...]


class TowerConfig(PrerankConfig):
    """Options that all tower pre-rankers have in common."""

    teacher: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Weight of the fitted ranker's prediction in a label, as in every pre-ranker. The default is
    1, as the ranker's prediction for a row carries more information than a single click."""
    embedding_dim: Annotated[int, Field(ge=1, le=1024)] = 16
    """Width of the id features' vectors."""
    user_units: Annotated[Units, Field(min_length=1)] = (256, 128, 64)
    """Widths of the user tower's layers; the last is the width of the user vector."""
    item_units: Annotated[Units, Field(min_length=1)] = (128, 64)
    """Widths of the item tower's layers; the last must equal the width of the user vector."""
    user_network: Network = "mlp"
    """Network of the user tower: hidden layers, with batch normalisation (mlp_bn) or in parallel to
    the crosses of DCN; or an encoder of the user's lists of ids, such as histories, next to
    hidden layers over the other features. Networks other than mlp are computed by PyTorch, once per
    request."""
    item_network: Network = "mlp"
    """Network of the item tower; an encoder reads the item's lists of ids, such as the words of a
    text."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of hidden values dropped in training."""
    init_std: Annotated[float, Field(gt=0)] = 0.01
    """Standard deviation of the initial embeddings."""

    @model_validator(mode="after")
    def _check_widths(self) -> Self:
        if self.user_units[-1] != self.item_units[-1]:
            raise ValueError(
                f"user_units end in {self.user_units[-1]} and item_units in {self.item_units[-1]}: "
                "the product of both vectors needs one width; set both last units to the same value"
            )
        return self


class Towers(nn.Module):
    """A fused embedding, a user tower and an item tower."""

    def __init__(
        self, layout: Layout, config: TowerConfig, user_width: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        dim, drop = config.embedding_dim, config.dropout
        self.table = fused_table(layout, dim, init_std=config.init_std, generator=generator)
        user, item = config.user_network, config.item_network
        self.user_inputs = TowerInputs(layout, TowerKind.USER, dim, user, generator)
        self.item_inputs = TowerInputs(layout, TowerKind.ITEM, dim, item, generator)
        self.user = tower_network(
            user,
            "user",
            self.user_inputs.size,
            config.user_units[:-1],
            user_width,
            drop,
            generator,
        )
        self.item = tower_network(
            item,
            "item",
            self.item_inputs.size,
            config.item_units[:-1],
            config.item_units[-1],
            drop,
            generator,
        )

    def vectors(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The users' vectors (B, U) and the items' vectors (B, I)."""
        user = self.user(self.user_inputs(self.table, batch))
        return user, self.item(self.item_inputs(self.table, batch))


class TowerPreranker(Preranker):
    """Base class of pre-rankers whose item vectors are computed once and saved with the version.

    A subclass builds a module derived from `Towers`, and implements `combine`.
    """

    reads_pairs: ClassVar[bool] = True
    """Whether `combine` reads the inputs of the pair of user and item."""

    def __init__(self, config: Any = None, **options: Any) -> None:
        super().__init__(config, **options)
        self._item_vectors: ItemVectors | None = None
        self._table: Block | None = None
        """The item table of the training rows."""
        self._user_layers: NumpyMLP | None = None
        self._kinds: ColumnKinds | None = None

    @abstractmethod
    def combine(
        self, user: Float32, items: Float32, at: NDArray[np.integer], blocks: TowerBlocks
    ) -> Float32:
        """Logits float32 (n, T) of n rows.

        Args:
            user: float32 (Q, U) vectors of the users, one per entity of `blocks.user`.
            items: float32 (N, I) vectors of items.
            at: integers (n,), each row's item in `items`.
            blocks: the rows' blocks by tower.
        """

    def fit_rows(
        self, rows: Rows, valid: Rows | None, tasks: Sequence[TaskConfig], context: Any
    ) -> Self:
        """As `Distilled.fit_rows`; keeps the item table for `save`."""
        self._reset()
        super().fit_rows(rows, valid, tasks, context)
        blocks = self._split(rows)
        if blocks is not None and blocks.item.pointer is not None:
            self._table = blocks.item
        return self

    def carried(self, former: Self, rows: Rows) -> Self:
        """As `Estimator.carried`; keeps the item table for `save`."""
        self._reset()
        super().carried(former, rows)
        blocks = self._split(rows)
        if blocks is not None and blocks.item.pointer is not None:
            self._table = blocks.item
        return self

    def logits(self, rows: Rows) -> Float32:
        """float32 (n, T) in the rows' order, before correction and calibration.

        The towers run once per user and item; the logits equal those of the module's `forward` up
        to float32 rounding.
        """
        model, blocks = self._module(), self._split(rows)
        if blocks is None or not len(rows):
            return predict(model, rows)
        n = len(rows)
        user = compact(blocks.user, n)
        vectors, at = self._items(blocks.item, n)
        blocks = TowerBlocks(user, blocks.item, blocks.pairs)
        return self.combine(self._user_tower(user), vectors, at, blocks)

    def save(self, directory: Path | str) -> None:
        """As `Estimator.save`; also writes the vectors of all items of the training rows' table."""
        super().save(directory)
        if self._item_vectors is None and self._table is not None:
            self._item_vectors = ItemVectors.of(self._table, self._item_tower)
        if self._item_vectors is not None:
            self._item_vectors.save(Path(directory))

    @classmethod
    def load(cls, directory: Path | str, config: Any = None) -> Self:
        """As `Estimator.load`; the item vectors are memory-mapped."""
        self = super().load(directory, config)
        self._item_vectors = ItemVectors.load(Path(directory))
        return self

    def update_items(self, items: Table, rows: Int32) -> None:
        """Takes up new and changed items, see `FollowsItems`: their vectors are computed with the
        next rows to be scored, which hold their inputs."""
        if self._item_vectors is not None:
            self._item_vectors.expect(len(items), rows)

    def _reset(self) -> None:
        """Drops what was computed from the weights of an earlier fit."""
        self._item_vectors = self._user_layers = self._table = None

    def _split(self, rows: Rows) -> TowerBlocks | None:
        if self._kinds is None or self._kinds.layout is not rows.layout:
            self._kinds = ColumnKinds.of(rows.layout)
        return self._kinds.split(rows, pairs=self.reads_pairs)

    def _items(self, block: Block, n: int) -> tuple[Float32, NDArray[np.integer]]:
        """Item vectors float32 (N, I), and for each of n rows its item among them (n,)."""
        if block.pointer is not None and self._item_vectors is not None:
            changed = self._item_vectors.gather(block, block.pointer, self._item_tower)
            if changed is not None:
                return changed
            saved = self._item_vectors.for_table(block)
            if saved is not None:
                return saved, block.pointer
        block = compact(block, n)
        at = np.arange(n) if block.pointer is None else block.pointer
        return self._item_tower(block), at

    def _item_tower(self, block: Block) -> Float32:
        towers = self._towers()
        with torch.inference_mode():
            return towers.item(towers.item_inputs.of_block(towers.table, block)).numpy()

    def _user_tower(self, block: Block) -> Float32:
        towers = self._towers()
        with torch.inference_mode():
            values = towers.user_inputs.of_block(towers.table, block)
            if self.config.user_network != "mlp":
                return towers.user(values).numpy()
        if self._user_layers is None:
            self._user_layers = NumpyMLP.of(towers.user)
        return self._user_layers(values.flat.numpy())

    def _towers(self) -> Towers:
        towers = self._module()
        assert isinstance(towers, Towers)
        return towers


def chunks(n: int) -> list[slice]:
    """The n rows as slices of at most `CHUNK`."""
    return [slice(at, min(at + CHUNK, n)) for at in range(0, n, CHUNK)]


def compact(block: Block, n: int) -> Block:
    """The block, gathered to one entity per row if it has more entities than n rows."""
    if block.pointer is None or len(block.ids) <= n:
        return block
    return Block(block.ids[block.pointer], block.dense[block.pointer])
