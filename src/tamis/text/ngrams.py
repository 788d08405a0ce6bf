"""Texts as vectors of their n-grams, hashed, weighted by rarity and projected."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl
import scipy.sparse as sp

from tamis.runtime import Float32, in_blocks, one_blas_thread
from tamis.schema import (
    Component,
    NGramConfig,
    NotFittedError,
    described,
    known_options,
    read_described,
    read_json,
    reading,
)
from tamis.text._hashing import hashed_ngrams
from tamis.text.protocols import ABOUT

BUCKETS = 2**17
"""Number of hashes of n-grams."""
BLOCK = 5_000
"""Texts that are hashed at once."""
SAMPLE = 50_000
"""Most texts on which the projection is learnt."""
OVERSAMPLES, POWER_ITERATIONS = 8, 4
"""Of the randomised decomposition: additional columns, and passes over the matrix."""


class NGramEncoder(Component):
    """Texts as unit vectors of their hashed n-grams; learns in seconds, needs no download.

    A text is the vector of its n-grams g with weight `(1 + log count) · idf(g)`,
    `idf(g) = 1 + log((1 + N) / (1 + n_g))` over the N fitted texts of which n_g have g, scaled to
    length 1. A learnt projection multiplies it by the right singular vectors of the fitted texts
    with the `width` largest singular values; a random one adds each n-gram to one coordinate with a
    sign, which leaves inner products unbiased. N-grams are hashed to 131,072 buckets by a fixed
    function: a text has the same vector in every process and on every machine.

        encoder = NGramEncoder(width=64).fit(titles)
        encoder.encode(pl.Series(["red shoes"])) @ encoder.encode(titles).T

    Cost: about a microsecond per n-gram, and the decomposition, seconds for 50,000 texts. Memory of
    a learnt projection: 4 · width bytes for each bucket in use, 67 MB at most with a width of 128.

    Source: latent semantic analysis: Deerwester et al. 1990; n-grams of words' characters:
    Bojanowski et al. 2017, Enriching Word Vectors with Subword Information; hashing: Weinberger et
    al. 2009, Feature Hashing for Large Scale Multitask Learning.
    """

    name = "ngrams"
    Config = NGramConfig
    config: NGramConfig

    def __init__(self, config: NGramConfig | None = None, **options: Any) -> None:
        super().__init__(config, **options)
        self._arrays: dict[str, Any] = {}

    @property
    def width(self) -> int:
        """Number of coordinates of a vector."""
        return self.config.width

    def fit(self, texts: pl.Series, seed: int = 0) -> Self:
        """Counts the n-grams of the texts (n,), and learns the projection of a sample of them.

        Args:
            texts: texts of the catalogue; missing and empty ones are left aside.
            seed: random seed of the sample, the decomposition and the random projection.
        """
        documents, frequency = 0, np.zeros(BUCKETS, np.int64)
        for counts in self._blocks(texts):
            documents += int((np.diff(counts.indptr) > 0).sum())
            frequency += np.bincount(counts.indices, minlength=BUCKETS)
        rarity = (1 + np.log((1 + documents) / (1 + frequency))).astype(np.float32)
        self._arrays = {"rarity": rarity}
        random = np.random.default_rng(seed)
        if self.config.projection == "random":
            self._arrays["place"] = random.integers(0, self.width, BUCKETS).astype(np.int32)
            self._arrays["sign"] = random.choice(np.array([-1, 1], np.float32), BUCKETS)
            return self
        used = np.flatnonzero(frequency)
        place = np.full(BUCKETS, -1, np.int32)
        place[used] = np.arange(len(used), dtype=np.int32)
        self._arrays["place"] = place
        self._arrays["projection"] = self._learnt(texts, len(used), random, seed)
        return self

    def encode(self, texts: pl.Series) -> Float32:
        """(n, width) float32 unit vectors of texts (n,); zero for texts without a known n-gram.

        Raises NotFittedError before `fit`.
        """
        if not self._arrays:
            raise NotFittedError("the text encoder is not fitted: call fit(texts) first")
        out = np.zeros((len(texts), self.width), np.float32)

        def block(begin: int, end: int) -> None:
            weights = self._weights(self._counts(texts[begin:end]))
            with one_blas_thread():
                out[begin:end] = self._projected(weights)

        in_blocks(block, len(texts), BLOCK)
        length = np.sqrt((out * out).sum(axis=1, keepdims=True))
        return out / np.maximum(length, 1e-12)

    def _projected(self, weights: sp.csr_matrix) -> Float32:
        """(n, width) of weights (n, buckets)."""
        place = self._arrays["place"][weights.indices]
        if self.config.projection == "random":
            signed = weights.data * self._arrays["sign"][weights.indices]
            shape = (len(weights.indptr) - 1, self.width)
            return sp.csr_matrix((signed, place, weights.indptr), shape=shape).toarray()
        known, projection = place >= 0, self._arrays["projection"]
        indptr = np.concatenate([[0], np.cumsum(known)])[weights.indptr]
        found = (weights.data[known], place[known], indptr)
        return sp.csr_matrix(found, shape=(len(indptr) - 1, len(projection))) @ projection

    def _learnt(
        self, texts: pl.Series, used: int, random: np.random.Generator, seed: int
    ) -> Float32:
        """(used, width) right singular vectors of a sample of the texts; zero columns beyond the
        number of texts and of n-grams."""
        from sklearn.utils.extmath import randomized_svd  # imported here: it takes a second

        if len(texts) > SAMPLE:
            texts = texts.gather(np.sort(random.choice(len(texts), SAMPLE, replace=False)))
        weights = self._weights(self._counts(texts))
        place = self._arrays["place"][weights.indices]
        shape = (len(texts), used)
        projection = np.zeros((used, self.width), np.float32)
        k = min(self.width, int((np.diff(weights.indptr) > 0).sum()), used)
        if k == 0:
            return projection
        with one_blas_thread():
            _, _, right = randomized_svd(
                sp.csr_matrix((weights.data, place, weights.indptr), shape=shape),
                n_components=k,
                n_oversamples=OVERSAMPLES,
                n_iter=POWER_ITERATIONS,  # pyright: ignore[reportArgumentType]
                power_iteration_normalizer="QR",
                random_state=seed,
            )
        projection[:, :k] = right.T
        return projection

    def _blocks(self, texts: pl.Series) -> Iterator[sp.csr_matrix]:
        """The counts of n-grams, block by block."""
        for begin in range(0, len(texts), BLOCK):
            yield self._counts(texts[begin : begin + BLOCK])

    def _counts(self, texts: pl.Series) -> sp.csr_matrix:
        """(n, buckets) how often each text has each n-gram."""
        words, lengths = self.config.unit == "words", self.config.ngrams
        indptr, codes = hashed_ngrams(texts, words=words, lengths=lengths, buckets=BUCKETS)
        ones = np.ones(len(codes), np.float32)
        counts = sp.csr_matrix((ones, codes, indptr), shape=(len(texts), BUCKETS))
        counts.sum_duplicates()
        return counts

    def _weights(self, counts: sp.csr_matrix) -> sp.csr_matrix:
        """The rows of counts as weights of length 1; rows without an n-gram stay empty."""
        data = (1 + np.log(counts.data)) * self._arrays["rarity"][counts.indices]
        squares = sp.csr_matrix((data * data, counts.indices, counts.indptr), counts.shape)
        length = np.sqrt(np.asarray(squares.sum(axis=1), np.float32)).ravel()
        owner = np.repeat(np.arange(len(length)), np.diff(counts.indptr))
        return sp.csr_matrix((data / length[owner], counts.indices, counts.indptr), counts.shape)

    def save(self, directory: Path) -> None:
        """Writes the fitted encoder. Raises NotFittedError before `fit`."""
        if not self._arrays:
            raise NotFittedError("the text encoder has nothing to save: call fit(texts) first")
        directory.mkdir(parents=True, exist_ok=True)
        for name, array in self._arrays.items():
            np.save(directory / f"{name}.npy", array)
        about = {
            "name": self.name,
            "options": self.config.model_dump(mode="json"),
            "arrays": described(self._arrays),
        }
        (directory / ABOUT).write_text(json.dumps(about, indent=1), "utf-8")

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Opens what `save` wrote, memory-mapped. Raises VersionError where it is damaged."""
        about = read_json(directory / ABOUT, options=dict, arrays=dict)
        with reading(directory / ABOUT):
            encoder = cls(**known_options(cls.Config, about["options"]))
            wanted = {"rarity", "place"}
            wanted |= {"sign"} if encoder.config.projection == "random" else {"projection"}
            if set(about["arrays"]) != wanted:
                raise ValueError(f"arrays {sorted(about['arrays'])}, not {sorted(wanted)}")
        encoder._arrays = read_described(directory, about["arrays"])
        return encoder
