"""Pre-rankers of towers: the user's side once per request, the item's once per version."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor, nn

from tamis.features import Batch, Block, Layout, Rows
from tamis.nn import MLP, fused_table
from tamis.prerank._base import PrerankConfig, Preranker
from tamis.prerank._item_vectors import KeptItems
from tamis.prerank._numpy_layers import Layers
from tamis.prerank._sides import ITEM, USER, Sided, SideInputs, Sides
from tamis.runtime import Float32
from tamis.train import predict

ROWS = 4096
"""Candidates scored at once: what they need stays in a core's cache."""
Units = tuple[Annotated[int, Field(ge=1)], ...]


class TowerConfig(PrerankConfig):
    """What pre-rankers of towers have in common."""

    teacher: Annotated[float, Field(ge=0, le=1)] = 1.0
    """As of every pre-ranker; what the ranker says of a row holds more than one click does."""
    embedding_dim: Annotated[int, Field(ge=1, le=1024)] = 16
    user_units: Annotated[Units, Field(min_length=1)] = (256, 128, 64)
    """Widths of the user tower's layers; the last is its vector's."""
    item_units: Annotated[Units, Field(min_length=1)] = (128, 64)
    """Of the item tower; the last must be the user vector's."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    init_std: Annotated[float, Field(gt=0)] = 0.01
    """Standard deviation of the initial embeddings."""

    @model_validator(mode="after")
    def _vectors_meet(self) -> Self:
        if self.user_units[-1] != self.item_units[-1]:
            raise ValueError(
                f"user_units end in {self.user_units[-1]} and item_units in {self.item_units[-1]}: "
                "their product needs vectors of one width"
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
        self.user_inputs = SideInputs(layout, USER, dim)
        self.item_inputs = SideInputs(layout, ITEM, dim)
        self.user = MLP(
            self.user_inputs.width,
            config.user_units[:-1],
            user_width,
            dropout=drop,
            generator=generator,
        )
        self.item = MLP(
            self.item_inputs.width,
            config.item_units[:-1],
            config.item_units[-1],
            dropout=drop,
            generator=generator,
        )

    def vectors(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The users' (B, U) and the items' (B, I)."""
        user = self.user(self.user_inputs(self.table, batch))
        return user, self.item(self.item_inputs(self.table, batch))


class TowerPreranker(Preranker):
    """A pre-ranker whose item tower's outputs are kept with the version.

    A subclass builds its `Towers` and says what follows the two vectors.
    """

    def __init__(self, config: Any = None, **options: Any) -> None:
        super().__init__(config, **options)
        self._kept: KeptItems | None = None
        self._table: Block | None = None
        """The item table of the rows of the last fit."""
        self._user: Layers | None = None
        self._sides: Sides | None = None

    @abstractmethod
    def meet(self, user: Float32, items: Float32, at: NDArray[np.integer], parts: Sided) -> Float32:
        """Logits (n, T) of users (Q, U), items (N, I) and the rows `at` (n,) of items."""

    def fit_rows(self, rows: Rows, valid: Rows | None, tasks: Sequence[Any], context: Any) -> Self:
        self._forget()
        super().fit_rows(rows, valid, tasks, context)
        parts = self._sided(rows)
        if parts is not None and parts.item.pointer is not None:
            self._table = parts.item
        return self

    def logits(self, rows: Rows) -> Float32:
        """(n, T): the towers run once per user and item; exact beside the module's forward."""
        model, parts = self._module(), self._sided(rows)
        if parts is None or not len(rows):
            return predict(model, rows)
        n = len(rows)
        user = compact(parts.user, n)
        vectors, at = self._items(parts.item, n)
        parts = Sided(user, parts.item, parts.pairs)
        return self.meet(self._user_tower(user), vectors, at, parts)

    def save(self, directory: Path | str) -> None:
        """Also writes the item tower's outputs for every item of the table that it learnt from."""
        super().save(directory)
        if self._kept is None and self._table is not None:
            self._kept = KeptItems.of(self._table, self._item_tower)
        if self._kept is not None:
            self._kept.save(Path(directory))

    @classmethod
    def load(cls, directory: Path | str, config: Any = None) -> Self:
        self = super().load(directory, config)
        self._kept = KeptItems.load(Path(directory))
        return self

    def _forget(self) -> None:
        """What was made of the weights of an earlier fit."""
        self._kept = self._user = self._table = None

    def _sided(self, rows: Rows) -> Sided | None:
        if self._sides is None or self._sides.layout is not rows.layout:
            self._sides = Sides.of(rows.layout)
        return self._sides.sided(rows)

    def _items(self, block: Block, n: int) -> tuple[Float32, NDArray[np.integer]]:
        """Vectors and each row's place among them."""
        if block.pointer is not None and self._kept is not None:
            kept = self._kept.of_table(block)
            if kept is not None:
                return kept, block.pointer
        block = compact(block, n)
        at = np.arange(n) if block.pointer is None else block.pointer
        return self._item_tower(block), at

    def _item_tower(self, block: Block) -> Float32:
        towers = self._towers()
        with torch.inference_mode():
            return towers.item(towers.item_inputs.of_block(towers.table, block)).numpy()

    def _user_tower(self, block: Block) -> Float32:
        towers = self._towers()
        if self._user is None:
            self._user = Layers.of(towers.user)
        with torch.inference_mode():
            inputs = towers.user_inputs.of_block(towers.table, block).numpy()
        return self._user(inputs)

    def _towers(self) -> Towers:
        towers = self._module()
        assert isinstance(towers, Towers)
        return towers


def spans(n: int) -> list[slice]:
    """0 … n in slices of `ROWS`."""
    return [slice(at, min(at + ROWS, n)) for at in range(0, n, ROWS)]


def compact(block: Block, n: int) -> Block:
    """Gathered where it holds more entities than there are rows."""
    if block.pointer is None or len(block.ids) <= n:
        return block
    return Block(block.ids[block.pointer], block.dense[block.pointer])
