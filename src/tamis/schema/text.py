"""Options of text encoders, and the texts of the items that are encoded."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from tamis.schema.component import ComponentConfig, Conditions, Needs

LENGTHS: dict[str, tuple[int, int]] = {"characters": (2, 4), "words": (1, 2)}
"""Shortest and longest n-gram where `lengths` is omitted."""
LONGEST_NGRAM = 16
NGRAMS = "ngrams"
"""The encoder that needs no files."""


def _ascending(lengths: tuple[int, int]) -> tuple[int, int]:
    low, high = lengths
    if not 1 <= low <= high <= LONGEST_NGRAM:
        raise PydanticCustomError(
            "lengths",
            "give the shortest and the longest n-gram, both within 1 and {most}, such as [2, 4]",
            {"most": LONGEST_NGRAM},
        )
    return lengths


Lengths = Annotated[tuple[int, int], AfterValidator(_ascending)]
"""Shortest and longest n-gram."""


class NGramConfig(ComponentConfig):
    """Options of the encoder of hashed n-grams."""

    unit: Literal["characters", "words"] = "characters"
    """What n-grams consist of. characters: of those within a word, which are similar for forms of a
    word and for misspellings, and need no spaces (Chinese, Japanese). words: of whole words."""
    lengths: Lengths | None = None
    """Shortest and longest n-gram, 1 to 16. If omitted: [2, 4] characters, [1, 2] words."""
    projection: Literal["learnt", "random"] = "learnt"
    """How n-grams become a vector. learnt: by a singular value decomposition of the items' texts,
    so that texts are similar, too, if their n-grams occur together in other texts (LSA). random:
    each n-gram has one coordinate and a sign by its hash; only texts with common n-grams are
    similar."""
    width: Annotated[int, Field(ge=2, le=4096)] = 128
    """Number of coordinates of a vector."""

    @property
    def ngrams(self) -> tuple[int, int]:
        """Shortest and longest n-gram."""
        return self.lengths or LENGTHS[self.unit]


class OnnxTextConfig(ComponentConfig):
    """Options of a sentence encoder in an ONNX file."""

    pooling: Literal["mean", "first"] = "mean"
    """How the vectors of the tokens become one, where the model does not do it. first: the vector
    of the first token (BGE and other models trained so)."""
    max_tokens: Annotated[int, Field(ge=2, le=8192)] = 128
    """Longer texts are cut."""


class TextConfig(NGramConfig, OnnxTextConfig):
    """The texts of the items, encoded as vectors: an attribute that all models can read."""

    only_with: ClassVar[Conditions] = {
        option: (Needs("encoder", (NGRAMS,)),) for option in NGramConfig.model_fields
    } | {option: (Needs("encoder", none_of=(NGRAMS,)),) for option in OnnxTextConfig.model_fields}

    columns: Annotated[tuple[str, ...], Field(min_length=1)]
    """Columns of text that are encoded together, such as ["title", "description"]. Lists of texts
    are joined."""
    name: Annotated[str, Field(min_length=1)] = "text_vector"
    """Name of the column of vectors. Features, channels and rules use it like any other."""
    encoder: Annotated[str, Field(min_length=1)] = NGRAMS
    """ngrams: hashed n-grams, without any download. Otherwise the folder of a sentence encoder,
    relative to the project's, with `model.onnx` and `tokenizer.json`; needs `tamis[text]`."""

    @property
    def ngram_options(self) -> NGramConfig:
        """The options of the encoder of n-grams."""
        return NGramConfig(**{key: getattr(self, key) for key in NGramConfig.model_fields})

    @property
    def onnx_options(self) -> OnnxTextConfig:
        """The options of a sentence encoder."""
        return OnnxTextConfig(**{key: getattr(self, key) for key in OnnxTextConfig.model_fields})
