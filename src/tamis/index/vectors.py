"""The index of vectors: exact while that is fast, inverted lists tuned to a set recall beyond."""

from __future__ import annotations

import json
import threading
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tamis.index.kernels import keep_best, offer_columns, score_listed, sort_heaps
from tamis.index.lists import fewest_probes, fill, needed
from tamis.index.overlay import Overlay
from tamis.index.topk import in_blocks, scratch
from tamis.schema import ConfigError, DataError, VersionError

Bool = NDArray[np.bool_]
Float32 = NDArray[np.float32]
Int32 = NDArray[np.int32]

EXACT_BELOW = 30_000
"""Vectors up to which a full scan answers one query in well under a millisecond."""
QUERIES_PER_BLOCK = 256
PRODUCTS_PER_BLOCK = 4_000_000
"""Inner products that a full scan holds at once (16 MB)."""
TUNING_QUERIES = 1000
WORTH_IT = 4
"""Beyond this fraction of the lists (1 / 4), searching them is no faster than a full scan."""
ROWS_STEP = 16_384
SCORE_ALLOWED = 0.1
"""Share of rows allowed up to which they are all scored, exactly."""
DEPTHS = (10, 30, 100, 300, 1000)
"""List lengths for which the probes are tuned, besides the channel's own."""


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
    """Rows that can be found."""
    lists: int = 0
    probes: int = 0
    """Lists searched per query for `k`: the fewest that reach the target on unseen queries too."""
    k: int = 0
    """List length at which recall was measured."""
    recall: float = 1.0
    """Share of exact search's best k that was found, on the tuning queries."""
    target: float = 1.0
    depths: tuple[tuple[int, int], ...] = ()
    """(list length, probes it needs), ascending: longer lists reach into more of them."""


class VectorIndex:
    """Rows of largest inner product with a query; opened memory-mapped.

    The base never changes. `add` and `remove` make an overlay on it (vectors beside it,
    tombstones in it), which every later search honours; one thread may change it while others
    search. `compact` builds the next version's base out of both.
    """

    def __init__(
        self, vectors: Float32, report: IndexReport, ivf: Any = None, absent: Bool | None = None
    ) -> None:
        self.vectors, self.report, self._ivf = vectors, report, ivf
        self._overlay = Overlay.none(vectors.shape[1], absent)
        self._write = threading.Lock()

    @classmethod
    def build(
        cls,
        vectors: Float32,
        *,
        k: int = 100,
        target_recall: float = 0.98,
        queries: Float32 | None = None,
        present: Bool | None = None,
        exact_below: int = EXACT_BELOW,
        seed: int = 0,
    ) -> VectorIndex:
        """Indexes `vectors` (N, d), N >= 0, or those of the rows where `present` (N,).

        From `exact_below` rows on, inverted lists are searched with the fewest probes that find
        `target_recall` of the exact best k, with 99 % confidence for as many unseen queries:
        measured on a sample of `queries` (Q, d) not used otherwise (user vectors, say), or of the
        vectors where none are given (which then neither find themselves nor form the lists).
        Where that takes a quarter of the lists or more, the index stays exact.
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
        there = np.ones(len(vectors), np.bool_) if present is None else np.asarray(present, bool)
        size = int(there.sum())
        exact = cls(vectors, IndexReport("exact", size, k=k, target=target_recall), None, ~there)
        if size < max(exact_below, 2):
            return exact
        return _tuned(exact, queries, seed) or exact

    def search(
        self,
        queries: Float32,
        k: int,
        exclude: Lists | None = None,
        allowed: Lists | Bool | None = None,
    ) -> tuple[Int32, Float32]:
        """Rows (Q, k) int32 of the largest inner products, best first, and these (Q, k) float32.

        exclude: per query, rows that may not be returned.
        allowed: the only rows that may be: one mask (M,) for all queries (rows from M on are not),
            or a list of rows, ascending, per query. Lists, and masks of few rows
            (`SCORE_ALLOWED`), are scored exactly.
        Padded by -1 and -inf.
        """
        queries = np.ascontiguousarray(queries, np.float32)
        item = np.full((len(queries), k), -1, np.int32)
        score = np.full((len(queries), k), -np.inf, np.float32)
        none = np.zeros(len(queries) + 1, np.int64)
        indptr = none if exclude is None else exclude.indptr
        refused = np.zeros(0, np.int32) if exclude is None else exclude.values
        run = _Search(self, allowed, k)

        def block(begin: int, end: int) -> None:
            bounds = indptr[begin : end + 1]
            out = (item[begin:end], score[begin:end])
            if isinstance(allowed, np.ndarray) or allowed is None:
                run.best(queries[begin:end], bounds, refused, *out)
            else:
                listed = (allowed.indptr[begin : end + 1], allowed.values)
                run.listed(queries[begin:end], listed, bounds, refused, *out)

        if k and len(run):
            in_blocks(block, len(queries), QUERIES_PER_BLOCK)
        return item, score

    def __len__(self) -> int:
        """Rows that can be found."""
        overlay = self._overlay
        base = int((~overlay.gone).sum()) if len(overlay.gone) else len(self.vectors)
        return base + len(overlay.rows)

    def add(self, row: int | Int32, vector: Float32) -> None:
        """Makes `row` findable by `vector` (d,) from the next search on, instead of any before.

        Several rows (m,) with their vectors (m, d) cost one change. Cost: the size of the overlay.
        Raises DataError where a vector's width or value or a row is impossible.
        """
        with self._write:
            self._overlay = self._overlay.adding(row, vector, len(self.vectors))

    def remove(self, row: int | Int32) -> None:
        """Makes `row` (or several) unfindable from the next search on; unknown rows stay so."""
        with self._write:
            self._overlay = self._overlay.removing(row, len(self.vectors))

    @property
    def changed(self) -> int:
        """Rows added and rows of the base removed or replaced: worth a `compact` when many."""
        return len(self._overlay.rows) + self._overlay.buried

    def compact(
        self, *, queries: Float32 | None = None, exact_below: int = EXACT_BELOW, seed: int = 0
    ) -> VectorIndex:
        """A new index whose base holds what this one finds now, tuned anew to the same target.

        Rows keep their numbers; this index stays as it is for whoever still searches it.
        """
        overlay, n = self._overlay, len(self.vectors)
        vectors = np.zeros((max(n, overlay.end), self.vectors.shape[1]), np.float32)
        vectors[:n] = self.vectors
        there = np.zeros(len(vectors), np.bool_)
        there[:n] = overlay.open(None, n)
        vectors[overlay.rows], there[overlay.rows] = overlay.vectors, True
        vectors[~there] = 0.0
        return VectorIndex.build(
            vectors,
            k=self.report.k or 100,
            target_recall=self.report.target,
            queries=queries,
            present=there,
            exact_below=exact_below,
            seed=seed,
        )

    def save(self, directory: Path) -> None:
        """Writes `vectors.npy`, `index.json`, for inverted lists `ivf.faiss`, and the overlay."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        np.save(directory / "vectors.npy", self.vectors)
        (directory / "index.json").write_text(json.dumps(asdict(self.report)), encoding="utf-8")
        if self._ivf is not None:
            import faiss

            faiss.write_index(self._ivf, str(directory / "ivf.faiss"))
        self.save_overlay(directory)

    def save_overlay(self, directory: Path) -> None:
        """Writes `overlay.npz` alone, beside a base that was saved before."""
        overlay, whole = self._overlay, Path(directory) / "overlay.npz"
        part = whole.with_name("overlay.part.npz")
        np.savez(
            part,
            rows=overlay.rows,
            vectors=overlay.vectors,
            gone=np.flatnonzero(overlay.gone).astype(np.int32),
            buried=overlay.buried,
        )
        part.replace(whole)

    @classmethod
    def load(cls, directory: Path) -> VectorIndex:
        """Opens what `save` wrote, memory-mapped. Raises VersionError where it is incomplete."""
        directory = Path(directory)
        try:
            report = IndexReport(**json.loads((directory / "index.json").read_text("utf-8")))
            report = replace(report, depths=tuple((d, p) for d, p in report.depths))
            vectors = np.asarray(np.load(directory / "vectors.npy", mmap_mode="r"))
            ivf: Any = None
            if report.kind != "exact":
                import faiss

                flags = faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY
                ivf = faiss.read_index(str(directory / "ivf.faiss"), flags)
            index = cls(vectors, report, ivf)
            index._overlay = _read_overlay(directory / "overlay.npz", len(vectors))
        except (OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
            raise VersionError(
                f"{directory} does not hold a whole vector index ({error}); "
                f"train the version again or roll back to another"
            ) from error
        return index


def _read_overlay(path: Path, base: int) -> Overlay:
    with np.load(path) as saved:
        gone = np.zeros(base if len(saved["gone"]) else 0, np.bool_)
        gone[saved["gone"]] = True
        return Overlay(saved["rows"], saved["vectors"], gone, int(saved["buried"]))


class _Search:
    """One search on one state of an index; its methods run on several threads at once."""

    def __init__(self, index: VectorIndex, allowed: Lists | Bool | None, k: int) -> None:
        self.vectors, self.report, self.ivf = index.vectors, index.report, index._ivf
        self.overlay = index._overlay
        self.mask = allowed if isinstance(allowed, np.ndarray) else None
        self.side_rows, self.side = self.overlay.side(self.mask)
        rows = max(len(self.vectors), self.overlay.end)
        # in steps, or every added row would leave this thread another scratch array
        self.rows = -(-rows // ROWS_STEP) * ROWS_STEP
        self.k = k
        self.gone, self.few, self.share = self.overlay.gone, None, 1.0
        if self.mask is not None:
            open_rows = self.overlay.open(self.mask, len(self.vectors))
            self.share = float(open_rows.mean()) if len(open_rows) else 0.0
            self.gone = ~open_rows
            if self.share <= SCORE_ALLOWED:
                self.few = np.flatnonzero(open_rows)
                self.some = self.vectors[self.few]

    def __len__(self) -> int:
        return self.rows

    def best(
        self, queries: Float32, bounds: Any, excluded: Int32, item: Int32, score: Float32
    ) -> None:
        """The best of base and overlay into `item` and `score`, which are padding so far."""
        if self.few is not None:
            base = np.broadcast_to(self.few, (len(queries), len(self.few)))
            self._merge(queries, base, queries @ self.some.T, bounds, excluded, item, score)
            return
        out = (np.full_like(item, -1), np.full_like(score, -np.inf)) if len(self.side) else None
        item_, score_ = out or (item, score)
        depth = int((self.k + int(np.diff(bounds).max(initial=0))) / max(self.share, 1e-9))
        probes = 0 if self.ivf is None else _probes(self.report, depth)
        if 0 < probes <= self.report.lists // WORTH_IT:
            self._probe(queries, probes, bounds, excluded, item_, score_)
        else:
            self._scan(queries, bounds, excluded, item_, score_)
        if out is not None:
            self._merge(queries, item_, score_, bounds, excluded, item, score)

    def _merge(self, queries, rows, products, bounds, excluded, item, score) -> None:  # type: ignore[no-untyped-def]
        """The best of `rows` (Q, A) with `products` (Q, A) and of the added rows."""
        if len(self.side):
            added = np.broadcast_to(self.side_rows, (len(queries), len(self.side)))
            rows = np.concatenate([rows, added], axis=1)
            products = np.concatenate([products, queries @ self.side.T], axis=1)
        refused = scratch("refused", self.rows, np.bool_)
        keep_best(rows, products, bounds, excluded, refused, item, score)

    def _scan(self, queries, bounds, excluded, item, score) -> None:  # type: ignore[no-untyped-def]
        """Exact: every vector, as many at a time as keep the products in the caches' reach."""
        found = np.zeros(len(queries), np.int64)
        refused = scratch("refused", self.rows, np.bool_)
        step = max(1, PRODUCTS_PER_BLOCK // max(len(queries), 1))
        for first in range(0, len(self.vectors), step):
            part = self.vectors[first : first + step]
            products = (part @ queries[0])[None] if len(queries) == 1 else queries @ part.T
            offer_columns(products, first, bounds, excluded, self.gone, refused, item, score, found)
        sort_heaps(item, score, found)

    def _probe(self, queries, probes, bounds, excluded, item, score) -> None:  # type: ignore[no-untyped-def]
        """Inverted lists: asks for as many more as are excluded and keeps k. A query whose lists
        held too few is answered by a scan."""
        import faiss

        eight_bit = self.report.kind == "ivf-sq8"
        fewer = int(np.diff(bounds).max(initial=0))
        ask = min(int(self.k * (1.25 if eight_bit else 1.0)) + fewer, self.report.size)
        how = faiss.SearchParametersIVF(nprobe=probes, sel=self._selector(faiss))
        products, rows = self.ivf.search(queries, ask, params=how)
        if eight_bit:
            products = np.einsum("qd,qkd->qk", queries, self.vectors[rows])
        refused = scratch("refused", self.rows, np.bool_)
        keep_best(rows, products, bounds, excluded, refused, item, score)
        for q in np.flatnonzero((rows < 0).any(axis=1)):
            item[q], score[q] = -1, -np.inf
            one = slice(q, q + 1)
            self._scan(queries[one], bounds[q : q + 2], excluded, item[one], score[one])

    def _selector(self, faiss: Any) -> Any:
        if self.mask is not None:
            return faiss.IDSelectorBitmap(np.packbits(~self.gone, bitorder="little"))
        return faiss.IDSelectorBitmap(self.overlay.bitmap) if self.overlay.buried else None

    def listed(self, queries, listed, bounds, excluded, item, score) -> None:  # type: ignore[no-untyped-def]
        """The best of each query's own list of allowed rows, all of them scored."""
        refused = scratch("refused", self.rows, np.bool_)
        score_listed(
            queries, self.vectors, self.gone, self.side_rows, self.side, *listed, bounds,
            excluded, refused, item, score,
        )  # fmt: skip


def _probes(report: IndexReport, depth: int) -> int:
    """Lists to search for the best `depth` rows; beyond the tuned depths, in proportion."""
    for tuned, probes in report.depths:
        if depth <= tuned:
            return probes
    tuned, probes = report.depths[-1]
    return -(-probes * depth // tuned)


def _tuned(exact: VectorIndex, queries: Float32 | None, seed: int) -> VectorIndex | None:
    """The index with inverted lists of what `exact` holds; None where they are not worth it."""
    vectors, report = exact.vectors, exact.report
    overlay = exact._overlay
    there = overlay.open(None, len(vectors))
    k = min(report.k, report.size)
    random = np.random.default_rng(seed)
    asked = np.zeros((0, vectors.shape[1]), np.float32)
    if queries is not None:
        queries = np.ascontiguousarray(queries, np.float32)
        asked = queries[random.permutation(len(queries))[:TUNING_QUERIES]]
    own = np.zeros(0, np.int64)
    if len(asked) < TUNING_QUERIES // 10:  # too few for any confidence
        own = random.permutation(np.flatnonzero(there))[: min(TUNING_QUERIES, report.size // 4)]
    asked = np.concatenate([asked, vectors[own]])
    itself = _OwnRow(len(asked), own.astype(np.int32))
    depths = sorted({min(d, report.size - 1) for d in (*DEPTHS, k)})
    nearest = exact.search(asked, depths[-1], itself)[0]
    lists = fill(vectors, there, own, seed)
    most = lists.faiss.nlist
    probe = needed(lists, asked, nearest)
    found = tuple((d, fewest_probes(probe, d, report.target, most)) for d in depths)
    report = replace(report, kind=lists.kind, lists=most, k=k, depths=found)
    report = replace(report, probes=_probes(report, k))
    if report.probes > most // WORTH_IT:
        return None
    index = VectorIndex(vectors, report, lists.faiss, ~there)
    return _checked(index, asked, nearest[:, :k], itself)


@dataclass(frozen=True, eq=False)
class _OwnRow:
    """Excludes from the last queries, which are rows of the base, these rows."""

    queries: int
    values: Int32

    @property
    def indptr(self) -> NDArray[np.int64]:
        return np.maximum(np.arange(self.queries + 1) - self.queries + len(self.values), 0)


def _checked(
    index: VectorIndex, asked: Float32, nearest: Int32, itself: Lists
) -> VectorIndex | None:
    """The index with its recall measured by searching; eight-bit codes may take more probes."""
    while index.report.probes <= index.report.lists // WORTH_IT:
        found = index.search(asked, nearest.shape[1], itself)[0]
        hits = [np.isin(n, f).mean() for n, f in zip(nearest, found, strict=True)]
        recall = float(np.mean(hits))
        if recall >= index.report.target:
            index.report = replace(index.report, recall=recall)
            return index
        more = tuple((d, -(-p * 5 // 4)) for d, p in index.report.depths)
        probes = -(-index.report.probes * 5 // 4)
        index.report = replace(index.report, probes=probes, depths=more)
    return None
