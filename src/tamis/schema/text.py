"""Options of text encoders, and the texts of the items that are encoded."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from tamis.schema.component import ComponentConfig, Conditions, Needs

LENGTHS: dict[str, tuple[int, int]] = {"characters": (2, 4), "words": (1, 2)}
"""Shortest and longest n-gram where `lengths` is omitted."""
LONGEST_NGRAM = 16


class NGramConfig(ComponentConfig):
    """Options of the encoder of hashed n-grams."""

    unit: Literal["characters", "words"] = "characters"
    """What n-grams consist of. characters: of those within a word, which are similar for forms of a
    word and for misspellings, and need no spaces (Chinese, Japanese). words: of whole words."""
    lengths: tuple[int, int] | None = None
    """Shortest and longest n-gram, 1 to 16. If omitted: [2, 4] characters, [1, 2] words."""
    projection: Literal["learnt", "random"] = "learnt"
    """How n-grams become a vector. learnt: by a singular value decomposition of the items' texts,
    so that texts are similar, too, if their n-grams occur together in other texts (LSA). random:
    each n-gram has one coordinate and a sign by its hash; only texts with common n-grams are
    similar."""
    width: Annotated[int, Field(ge=2, le=4096)] = 128
    """Number of coordinates of a vector."""

    @model_validator(mode="after")
    def _ascending(self) -> NGramConfig:
        low, high = self.ngrams
        if not 1 <= low <= high <= LONGEST_NGRAM:
            raise ValueError(
                f"lengths = [{low}, {high}]: give the shortest and the longest n-gram, both within "
                f"1 and {LONGEST_NGRAM}, such as [2, 4]"
            )
        return self

    @property
    def ngrams(self) -> tuple[int, int]:
        """Shortest and longest n-gram."""
        return self.lengths or LENGTHS[self.unit]


class TextConfig(NGramConfig):
    """The texts of the items, encoded as vectors: an attribute that all models can read."""

    only_with: ClassVar[Conditions] = {
        option: (Needs("encoder", ("ngrams",)),)
        for option in ("unit", "lengths", "projection", "width")
    }

    columns: Annotated[tuple[str, ...], Field(min_length=1)]
    """Columns of text that are encoded together, such as ["title", "description"]. Lists of texts
    are joined."""
    name: Annotated[str, Field(min_length=1)] = "text_vector"
    """Name of the column of vectors. Features, channels and rules use it like any other."""
    encoder: Annotated[str, Field(min_length=1)] = "ngrams"
    """ngrams: hashed n-grams, without any download."""

    @property
    def ngram_options(self) -> NGramConfig:
        """The options of the encoder of n-grams."""
        return NGramConfig(**{key: getattr(self, key) for key in NGramConfig.model_fields})
