"""A vector index: exact while that is fast, else approximate and tuned to a target recall."""

from __future__ import annotations

import json
import threading
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from tamis.index._codes import ShortCodes
from tamis.index._inverted_lists import InvertedLists
from tamis.index._overlay import Overlay
from tamis.index._search import Approximate, Base, Lists, Search
from tamis.index._tuning import least_effort
from tamis.runtime import Bool, Float32, Int32, Int64, in_blocks
from tamis.schema import (
    ConfigError,
    DataError,
    check_array,
    read_array,
    read_json,
    reading,
)

EXACT_BELOW = 30_000
"""Number of vectors below which a full scan answers one query in well under a millisecond."""
QUERIES_PER_BLOCK = 256
TUNING_QUERIES = 1000
CODES_FROM = 1000
"""Least number of vectors to train codes on."""
DEPTHS = (10, 30, 100, 300, 1000)
"""List lengths for which the effort is tuned, in addition to the requested one."""


@dataclass(frozen=True)
class IndexReport:
    """The method that the build chose, and its measured recall."""

    kind: str
    """exact: a full scan. ivf-flat, ivf-sq8: inverted lists of which the nearest are searched. pq:
    product-quantised codes of all vectors, the best of which are rescored."""
    size: int
    """Number of rows that can be found."""
    lists: int = 0
    """Number of inverted lists; 0 for other kinds."""
    probes: int = 0
    """Lists that a query for `k` rows searches."""
    rescored: int = 0
    """Vectors that a query for `k` rows scores exactly, chosen by their codes."""
    k: int = 0
    """List length at which recall was measured."""
    recall: float = 1.0
    """Share of the exact best k that is found, on the tuning queries. It exceeds the target by a
    margin, so that unseen queries reach the target with 99 % confidence."""
    target: float = 1.0
    """The target recall of the build."""


class VectorIndex:
    """Finds the rows whose vectors have the largest inner product with a query.

    A saved index is opened memory-mapped. The base never changes: `add` and `remove` change an
    overlay of added vectors and removed rows, which every later search reads. Changes are allowed
    while other threads search. `compact` builds a new base from both.
    """

    def __init__(self, base: Base, report: IndexReport, absent: Bool | None = None) -> None:
        self.report, self._base = report, base
        self._overlay = self._first = Overlay.none(base.vectors.shape[1], absent)
        self._whole: tuple[Overlay, Float32] | None = None
        self._write = threading.Lock()

    @property
    def vectors(self) -> Float32:
        """(N, d) the vectors of the base, without later changes."""
        return self._base.vectors

    def gather(self, rows: Int32 | Int64) -> Float32:
        """(m, d) the current vectors of rows (m,); zero for rows without one."""
        overlay, base = self._overlay, self.vectors
        out = np.zeros((len(rows), base.shape[1]), np.float32)
        known = (rows >= 0) & (rows < len(base))
        out[known] = base[rows[known]]
        place = overlay.place(rows)
        out[place >= 0] = overlay.vectors[place[place >= 0]]
        return out

    def unchanged(self) -> VectorIndex:
        """The index as it was built or loaded, on the same arrays."""
        index = VectorIndex(self._base, self.report)
        index._overlay = index._first = self._first
        return index

    @property
    def current(self) -> Float32:
        """(N, d) the vectors of all rows as they are now; those of the base while nothing was
        added, else a copy, which is made once for each change."""
        overlay, base = self._overlay, self.vectors
        if not len(overlay.rows):
            return base
        if self._whole is None or self._whole[0] is not overlay:
            rows = np.arange(max(len(base), overlay.end), dtype=np.int32)
            self._whole = (overlay, self.gather(rows))
        return self._whole[1]

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
        """Indexes vectors, with the cheapest search that reaches a target recall.

        From `exact_below` rows on, the cheapest of three methods is chosen: inverted lists, of
        which the nearest few are searched; product-quantised codes of all vectors, the best of
        which are scored exactly; or a full scan. The effort of each is tuned on a sample of
        queries such that as many unseen queries reach the target with 99 % confidence, for `k` and
        for other list lengths.

        Args:
            vectors: (N, d) float32, N >= 0.
            k: the list length that the target is for.
            target_recall: share of the exact best k to be found, in (0, 1].
            queries: (Q, d) to tune on, such as user vectors. If None, a sample of the indexed
                vectors; these do not count as their own result and do not train the search.
            present: (N,) rows to index; None = all.
            exact_below: number of rows below which the search is exact.
            seed: random seed of the training and of the sample.

        Raises:
            DataError: `vectors` is not a finite (N, d) array.
            ConfigError: `target_recall` is outside (0, 1].
        """
        vectors = np.ascontiguousarray(vectors, np.float32)
        if vectors.ndim != 2 or not np.isfinite(vectors).all():
            raise DataError(
                f"vectors to index must be finite and (N, d), not {vectors.shape}"
                + ("" if vectors.ndim != 2 else " with NaN or infinity")
            )
        if not 0 < target_recall <= 1:
            raise ConfigError(f"target_recall = {target_recall} must be in (0, 1], such as 0.98")
        mask = np.ones(len(vectors), np.bool_) if present is None else np.asarray(present, bool)
        base = Base(vectors, int(mask.sum()))
        report = IndexReport("exact", base.size, k=k, target=target_recall)
        if base.size >= max(exact_below, 16):
            base, report = _tuned(base, mask, queries, report, seed)
        return cls(base, report, ~mask)

    def search(
        self,
        queries: Float32,
        k: int,
        exclude: Lists | None = None,
        allowed: Lists | Bool | None = None,
    ) -> tuple[Int32, Float32]:
        """The rows of the largest inner products with each query.

        Args:
            queries: (Q, d) float32.
            k: number of rows per query.
            exclude: Q lists of rows that the query may not return.
            allowed: the only rows that may be returned: a mask (M,) for all queries, which allows
                no rows from M on, or Q lists of rows, each ascending. Lists, and masks that allow
                a share of at most `SCORE_ALLOWED`, are scored exactly.

        Returns:
            (Q, k) int32 rows, best first, padded by -1; and (Q, k) float32 inner products, padded
            by -inf.
        """
        queries = np.ascontiguousarray(queries, np.float32)
        item = np.full((len(queries), k), -1, np.int32)
        score = np.full((len(queries), k), -np.inf, np.float32)
        none = np.zeros(len(queries) + 1, np.int64)
        indptr = none if exclude is None else exclude.indptr
        refused = np.zeros(0, np.int32) if exclude is None else exclude.values
        run = Search(self._base, self._overlay, allowed, k)

        def block(begin: int, end: int) -> None:
            bounds = indptr[begin : end + 1]
            out = (item[begin:end], score[begin:end])
            if isinstance(allowed, np.ndarray) or allowed is None:
                run.best(queries[begin:end], bounds, refused, *out)
            else:
                lists = (allowed.indptr[begin : end + 1], allowed.values)
                run.best_allowed(queries[begin:end], lists, bounds, refused, *out)

        if k and len(queries):
            in_blocks(block, len(queries), QUERIES_PER_BLOCK)
        return item, score

    def __len__(self) -> int:
        """Number of rows that can be found."""
        overlay = self._overlay
        base = int((~overlay.gone).sum()) if len(overlay.gone) else len(self.vectors)
        return base + len(overlay.rows)

    def holds(self, row: int) -> bool:
        """Whether `row` can be found."""
        overlay, n = self._overlay, len(self.vectors)
        base = 0 <= row < n and not (len(overlay.gone) and overlay.gone[row])
        return bool(base or np.isin(row, overlay.rows))

    def add(self, row: int | Int32, vector: Float32) -> None:
        """Adds or replaces the vector of a row, for all searches that start later.

        Args:
            row: a row >= 0, or distinct rows (m,), which are added at once.
            vector: (d,) of one row, or (m, d).

        The cost is proportional to the size of the overlay.

        Raises:
            DataError: a vector has another width or is not finite; a row is negative or repeated.
        """
        with self._write:
            self._overlay = self._overlay.adding(row, vector, len(self.vectors))

    def remove(self, row: int | Int32) -> None:
        """Removes a row, or rows (m,), for all searches that start later; unknown rows are ignored.

        Raises:
            DataError: a row is negative or repeated.
        """
        with self._write:
            self._overlay = self._overlay.removing(row, len(self.vectors))

    @property
    def changed(self) -> int:
        """Number of rows that were added, removed or replaced; `compact` when they are many."""
        return len(self._overlay.rows) + self._overlay.buried

    def compact(
        self, *, queries: Float32 | None = None, exact_below: int = EXACT_BELOW, seed: int = 0
    ) -> VectorIndex:
        """A new index whose base holds all current rows, tuned again to the same target.

        Rows keep their numbers. This index is not changed and may be searched meanwhile. The
        arguments are those of `build`.
        """
        overlay, n = self._overlay, len(self.vectors)
        vectors = np.zeros((max(n, overlay.end), self.vectors.shape[1]), np.float32)
        vectors[:n] = self.vectors
        present = np.zeros(len(vectors), np.bool_)
        present[:n] = overlay.findable(None, n)
        vectors[overlay.rows], present[overlay.rows] = overlay.vectors, True
        vectors[~present] = 0.0
        return VectorIndex.build(
            vectors,
            k=self.report.k,
            target_recall=self.report.target,
            queries=queries,
            present=present,
            exact_below=exact_below,
            seed=seed,
        )

    def save(self, directory: Path) -> None:
        """Writes `vectors.npy`, `index.json`, the approximate index, if any, and the overlay."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        np.save(directory / "vectors.npy", self.vectors)
        about = asdict(self.report) | {"depths": self._base.depths}
        (directory / "index.json").write_text(json.dumps(about), encoding="utf-8")
        if self._base.near is not None:
            import faiss

            faiss.write_index(self._base.near.faiss, str(directory / "near.faiss"))
        if isinstance(self._base.near, ShortCodes):
            np.save(directory / "coded.npy", self._base.near.rows)
        self.save_overlay(directory)

    def save_overlay(self, directory: Path) -> None:
        """Writes only `overlay.npz`, into the folder of a base that was saved before."""
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
        """Opens a saved index, memory-mapped.

        Raises:
            VersionError: files are missing or damaged.
        """
        directory = Path(directory)
        file = directory / "index.json"
        about = read_json(file, kind=str, size=int, depths=list)
        vectors = read_array(directory / "vectors.npy", np.float32, (None, None))
        with reading(file):
            depths = tuple((depth, effort) for depth, effort in about.pop("depths"))
            report = TypeAdapter(IndexReport).validate_python(about)
            if not 0 <= report.size <= len(vectors):
                raise ValueError(f"size = {report.size}, there are {len(vectors)} vectors")
        with reading(directory):
            overlay = _read_overlay(directory / "overlay.npz", len(vectors))
            near = _read_near(directory, report.kind)
            index = cls(Base(vectors, report.size, near, depths), report)
            index._overlay = index._first = overlay
        return index


def _read_near(directory: Path, kind: str) -> Approximate | None:
    if kind == "exact":
        return None
    import faiss

    flags = faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY
    with reading(directory / "near.faiss"):
        read = faiss.read_index(str(directory / "near.faiss"), flags)
    if kind == "pq":
        return ShortCodes(read, read_array(directory / "coded.npy", np.int64, (None,), mode=None))
    return InvertedLists(read, kind, np.zeros(0, np.int32))


def _read_overlay(path: Path, base: int) -> Overlay:
    # The stream is opened here because np.load leaves it open when the archive is damaged.
    with reading(path), path.open("rb") as stream, np.load(stream) as saved:
        rows, vectors = saved["rows"], saved["vectors"]
        check_array(path, rows, np.int32, (None,))
        check_array(path, vectors, np.float32, (len(rows), None))
        gone = np.zeros(base if len(saved["gone"]) else 0, np.bool_)
        gone[saved["gone"]] = True
        return Overlay(rows, vectors, gone, int(saved["buried"]))


def _tuned(
    base: Base, present: Bool, queries: Float32 | None, report: IndexReport, seed: int
) -> tuple[Base, IndexReport]:
    """The base with the cheapest search that reaches the target; unchanged if that is a scan."""
    random, k = np.random.default_rng(seed), min(report.k, base.size - 1)
    sample = np.zeros((0, base.vectors.shape[1]), np.float32)
    if queries is not None:
        queries = np.ascontiguousarray(queries, np.float32)
        sample = queries[random.permutation(len(queries))[:TUNING_QUERIES]]
    own = np.zeros(0, np.int64)
    if len(sample) < TUNING_QUERIES // 10:  # too few for a confident estimate
        own = random.permutation(np.flatnonzero(present))[: min(TUNING_QUERIES, base.size // 4)]
    sample = np.concatenate([sample, base.vectors[own]])
    itself = _OwnRow(len(sample), own.astype(np.int32))
    depths = sorted({min(d, base.size - 1) for d in (*DEPTHS, k)})
    nearest = VectorIndex(base, report, ~present).search(sample, depths[-1], itself)[0]
    best, cost = (base, report), float(base.size)
    for kind in (ShortCodes, InvertedLists) if base.size >= CODES_FROM else (InvertedLists,):
        near = kind.fill(base.vectors, present, own, seed)
        needed = near.needed(sample, nearest)
        chosen = _efforts(near, needed, depths, report.target, base.size)
        if k not in chosen or near.cost(chosen[k]) >= cost:
            continue
        effort, lists = chosen[k], isinstance(near, InvertedLists)
        cost = near.cost(effort)
        found = float((needed[:, :k] <= effort).mean())
        best = (
            replace(base, near=near, depths=tuple(chosen.items())),
            replace(
                report,
                k=k,
                kind=near.kind,
                lists=near.max_effort if lists else 0,
                probes=effort if lists else 0,
                rescored=0 if lists else effort,
                recall=found,
            ),
        )
    return best


def _efforts(
    near: Approximate, needed: Int32, depths: list[int], target: float, size: int
) -> dict[int, int]:
    """List length → the effort that it needs, up to the first length that a scan serves cheaper."""
    found: dict[int, int] = {}
    for depth in depths:
        effort = least_effort(needed[:, :depth], target, near.max_effort)
        if effort is None or near.cost(effort) >= size:
            break
        found[depth] = effort
    return found


@dataclass(frozen=True, eq=False)
class _OwnRow:
    """Excludes from each of the last queries, which are rows of the base, its own row."""

    queries: int
    values: Int32

    @property
    def indptr(self) -> NDArray[np.int64]:
        return np.maximum(np.arange(self.queries + 1) - self.queries + len(self.values), 0)
