"""The texts of a version's items: their encoder, and an index of their vectors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from tamis.data import Table
from tamis.features import item_texts, stored_vectors
from tamis.index import VectorIndex
from tamis.runtime import Int32
from tamis.schema import TextConfig
from tamis.text import TextEncoder, load_text_encoder

ENCODER, INDEX = "encoder", "index"


@dataclass(frozen=True, eq=False)
class ItemTexts:
    """Finds items by texts; new texts are encoded as those of the items were."""

    encoder: TextEncoder
    index: VectorIndex
    """The items' vectors (I, d), unit or zero; items without a text are not found."""

    @classmethod
    def of(cls, items: Table, config: TextConfig, encoder: TextEncoder, seed: int) -> Self:
        """The texts of items whose vectors are in the column `config.name`."""
        vectors = stored_vectors(items, config.name)
        present = np.asarray(vectors.any(axis=1))
        return cls(encoder, VectorIndex.build(vectors, present=present, seed=seed))

    def update_items(self, items: Table, rows: Int32, config: TextConfig) -> None:
        """Takes up items that are new or whose texts changed, before the stages do: their vectors
        become cells of the column `config.name`, which features and channels read.

        Args:
            items: the whole table as it is now.
            rows: (m,) the rows that are new or changed.
            config: the declaration of the texts.
        """
        vectors = self.encoder.encode(item_texts(items.part(rows), config))
        known = np.asarray(vectors.any(axis=1))
        for row, vector, some in zip(rows.tolist(), vectors.tolist(), known.tolist(), strict=True):
            items.change(row, {config.name: vector if some else None}, keep=True)
        if not known.all():
            self.index.remove(rows[~known])
        if known.any():
            self.index.add(rows[known], vectors[known])

    def save(self, directory: Path) -> None:
        """Writes the encoder and the index."""
        self.encoder.save(directory / ENCODER)
        self.index.save(directory / INDEX)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Opens what `save` wrote. Raises VersionError where files are missing or damaged."""
        return cls(load_text_encoder(directory / ENCODER), VectorIndex.load(directory / INDEX))
