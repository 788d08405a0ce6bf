"""What a text encoder does."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, Self, runtime_checkable

import polars as pl

from tamis.runtime import Float32

ABOUT = "encoder.json"
"""File of a saved encoder that names its kind and its options."""


@runtime_checkable
class TextEncoder(Protocol):
    """Turns texts into vectors of length 1: similar texts have a large inner product."""

    name: str
    """Short name of the kind, by which a saved encoder is opened."""

    @property
    def width(self) -> int:
        """Number of coordinates of a vector."""
        ...

    def fit(self, texts: pl.Series, seed: int = 0) -> Self:
        """Learns from the texts (n,) of a catalogue what it needs, if anything. Returns self."""
        ...

    def encode(self, texts: pl.Series) -> Float32:
        """(n, width) float32 unit vectors of texts (n,); zero where a text is missing or empty.

        A text's vector does not depend on the other texts.
        """
        ...

    def save(self, directory: Path) -> None:
        """Writes the fitted encoder."""
        ...

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Opens what `save` wrote. Raises VersionError where files are missing or damaged."""
        ...
