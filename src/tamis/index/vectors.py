"""The index of vectors: exact while that is fast, inverted lists tuned to a set recall beyond."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tamis.index.topk import in_blocks, scratch, select
from tamis.schema import ConfigError, DataError, VersionError

Float32 = NDArray[np.float32]
Int32 = NDArray[np.int32]

EXACT_BELOW = 30_000
"""Vectors up to which a full scan answers one query in well under a millisecond."""
SQ8_ABOVE_BYTES = 2 * 2**30
"""Size of the float32 vectors above which lists hold 8-bit codes (found items are rescored)."""
QUERIES_PER_BLOCK = 256
TUNING_QUERIES = 128
WORTH_IT = 4
"""Beyond this fraction of the lists (1 / 4), searching them is no faster than a full scan."""


class Lists(Protocol):
    """What is read of a `Ragged`: list q is `values[indptr[q]:indptr[q + 1]]`."""

    @property
    def indptr(self) -> NDArray[np.int64]: ...
    @property
    def values(self) -> Int32: ...


@dataclass(frozen=True)
class IndexReport:
    """What the build chose and measured."""

    kind: str
    """exact, ivf-flat or ivf-sq8."""
    size: int
    lists: int = 0
    probes: int = 0
    """Lists searched per query: the fewest that reached the target."""
    k: int = 0
    """List length at which recall was measured."""
    recall: float = 1.0
    """Share of exact search's best k that was found, on the tuning queries."""
    target: float = 1.0


class VectorIndex:
    """Rows of largest inner product with a query; opened memory-mapped, never changed."""

    def __init__(self, vectors: Float32, report: IndexReport, ivf: Any = None) -> None:
        self.vectors, self.report, self._ivf = vectors, report, ivf

    @classmethod
    def build(
        cls,
        vectors: Float32,
        *,
        k: int = 100,
        target_recall: float = 0.98,
        queries: Float32 | None = None,
        exact_below: int = EXACT_BELOW,
        seed: int = 0,
    ) -> VectorIndex:
        """Indexes `vectors` (N, d), N >= 0.

        Above `exact_below` rows, inverted lists are searched with the fewest probes that find
        `target_recall` of the exact best k of the tuning queries: a sample of `queries` (Q, d)
        not used otherwise (user vectors, say), or of the vectors where none are given. Where that
        takes a quarter of the lists or more, the index stays exact.
        Raises DataError where a value is not finite, ConfigError for a target outside (0, 1].
        """
        vectors = np.ascontiguousarray(vectors, np.float32)
        if vectors.ndim != 2 or not np.isfinite(vectors).all():
            raise DataError(
                f"vectors to index must be finite and (N, d), not {vectors.shape}"
                + ("" if vectors.ndim != 2 else " with NaN or infinity")
            )
        if not 0 < target_recall <= 1:
            raise ConfigError(f"target_recall = {target_recall} must be in (0, 1], 0.98 say")
        if len(vectors) < max(exact_below, 2):
            return cls(vectors, IndexReport("exact", len(vectors)))
        random = np.random.default_rng(seed)
        pool = vectors if queries is None else np.ascontiguousarray(queries, np.float32)
        sample = pool[random.permutation(len(pool))[:TUNING_QUERIES]]
        ivf, kind = _inverted_lists(vectors, seed)
        exact = cls(vectors, IndexReport("exact", len(vectors)))
        index = cls(vectors, IndexReport(kind, len(vectors), ivf.nlist), ivf)
        k = min(k, len(vectors))
        wanted = exact.search(sample, k)[0]
        probes, recall = index._tune(sample, wanted, target_recall)
        if probes > ivf.nlist // WORTH_IT:
            return exact
        ivf.nprobe = probes
        index.report = IndexReport(kind, len(vectors), ivf.nlist, probes, k, recall, target_recall)
        return index

    def search(
        self, queries: Float32, k: int, exclude: Lists | None = None
    ) -> tuple[Int32, Float32]:
        """Rows (Q, k) int32 of the largest inner products, best first, and these (Q, k) float32.

        exclude: per query, rows that may not be returned. Padded by -1 and -inf.
        """
        queries = np.ascontiguousarray(queries, np.float32)
        n = len(queries)
        item = np.full((n, k), -1, np.int32)
        score = np.full((n, k), -np.inf, np.float32)
        indptr = np.zeros(n + 1, np.int64) if exclude is None else exclude.indptr
        values = np.zeros(0, np.int32) if exclude is None else exclude.values
        scan = self._scan if self._ivf is None else self._probe

        def block(begin: int, end: int) -> None:
            bounds = indptr[begin : end + 1]
            scan(queries[begin:end], bounds, values, item[begin:end], score[begin:end])

        if len(self.vectors) and k:
            in_blocks(block, n, QUERIES_PER_BLOCK)
        return item, score

    def _scan(self, queries: Float32, bounds: Any, values: Int32, item: Int32, score: Any) -> None:
        """Exact: every vector."""
        products = queries @ self.vectors.T
        refused = scratch("refused", len(self.vectors), np.bool_)
        select(products, bounds, values, refused, item, score)

    def _probe(self, queries: Float32, bounds: Any, values: Int32, item: Int32, score: Any) -> None:
        """Inverted lists: asks for as many more as are excluded, scores them exactly, keeps k."""
        excluded = int(np.diff(bounds).max(initial=0))
        more = 1.25 if self.report.kind == "ivf-sq8" else 1.0
        ask = min(int(item.shape[1] * more) + excluded, len(self.vectors))
        products, rows = self._ivf.search(queries, ask)
        if self.report.kind == "ivf-sq8":
            products = np.einsum("qd,qkd->qk", queries, self.vectors[rows])
        products[rows < 0] = -np.inf
        if excluded:
            for q in np.flatnonzero(np.diff(bounds)):
                refused = np.isin(rows[q], values[bounds[q] : bounds[q + 1]])
                products[q, refused] = -np.inf
        none = np.zeros(len(queries) + 1, np.int64)
        place = np.full(item.shape, -1, np.int32)
        select(products, none, values[:0], np.zeros(ask, np.bool_), place, score)
        found = np.take_along_axis(rows, np.maximum(place, 0), axis=1)
        item[:] = np.where(place >= 0, found, -1)

    def _tune(self, queries: Float32, wanted: Int32, target: float) -> tuple[int, float]:
        """The fewest probes that reach the target, by doubling and then halving the gap; all
        lists where even a `WORTH_IT`th of them does not."""

        def recall(probes: int) -> float:
            self._ivf.nprobe = probes
            found = self.search(queries, wanted.shape[1])[0]
            return float(
                np.mean([np.isin(w, f).mean() for w, f in zip(wanted, found, strict=True)])
            )

        low, high = 0, 1
        most = self._ivf.nlist // WORTH_IT
        while high <= most and recall(high) < target:
            low, high = high, 2 * high
        if high > most and (low == most or recall(most) < target):
            return self._ivf.nlist, 1.0
        high = min(high, most)
        while high - low > max(1, high // 16):
            middle = (low + high) // 2
            low, high = (low, middle) if recall(middle) >= target else (middle, high)
        return high, recall(high)

    def save(self, directory: Path) -> None:
        """Writes `vectors.npy`, `index.json` and, for inverted lists, `ivf.faiss`."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        np.save(directory / "vectors.npy", self.vectors)
        (directory / "index.json").write_text(json.dumps(asdict(self.report)), encoding="utf-8")
        if self._ivf is not None:
            import faiss

            faiss.write_index(self._ivf, str(directory / "ivf.faiss"))

    @classmethod
    def load(cls, directory: Path) -> VectorIndex:
        """Opens what `save` wrote, memory-mapped. Raises VersionError where it is incomplete."""
        directory = Path(directory)
        try:
            report = IndexReport(**json.loads((directory / "index.json").read_text("utf-8")))
            vectors = np.asarray(np.load(directory / "vectors.npy", mmap_mode="r"))
            ivf: Any = None
            if report.kind != "exact":
                import faiss

                flags = faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY
                ivf = faiss.read_index(str(directory / "ivf.faiss"), flags)
                ivf.nprobe = report.probes
        except (OSError, ValueError, TypeError, RuntimeError) as error:
            raise VersionError(
                f"{directory} does not hold a whole vector index ({error}); "
                f"train the version again or roll back to another"
            ) from error
        return cls(vectors, report, ivf)


def _inverted_lists(vectors: Float32, seed: int) -> tuple[Any, str]:
    """A filled faiss index: about 4 √N lists, trained on at most 40 vectors per list."""
    import faiss

    n, d = vectors.shape
    lists = max(1, min(int(4 * n**0.5), n // 39))
    quantizer = faiss.IndexFlatIP(d)
    if vectors.nbytes > SQ8_ABOVE_BYTES:
        kind = "ivf-sq8"
        ivf = faiss.IndexIVFScalarQuantizer(
            quantizer, d, lists, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
        )
    else:
        kind = "ivf-flat"
        ivf = faiss.IndexIVFFlat(quantizer, d, lists, faiss.METRIC_INNER_PRODUCT)
    ivf.cp.seed, ivf.cp.niter = seed + 1234, 8
    ivf.cp.max_points_per_centroid = 40
    ivf.train(vectors)
    ivf.add(vectors)
    return ivf, kind
