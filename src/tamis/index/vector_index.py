"""The index of vectors: exact while that is fast, tuned to a set recall beyond; and its changes."""

from __future__ import annotations

import json
import threading
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tamis.index._codes import ShortCodes
from tamis.index._inverted_lists import InvertedLists
from tamis.index._overlay import Overlay
from tamis.index._search import Approximate, Base, Lists, Search
from tamis.index._tuning import least_effort
from tamis.runtime import Bool, Float32, Int32, in_blocks
from tamis.schema import ConfigError, DataError, VersionError

EXACT_BELOW = 30_000
"""Vectors up to which a full scan answers one query in well under a millisecond."""
QUERIES_PER_BLOCK = 256
TUNING_QUERIES = 1000
CODES_FROM = 1000
"""Vectors from which on there are enough to learn codes from."""
DEPTHS = (10, 30, 100, 300, 1000)
"""List lengths for which the effort is tuned, besides the channel's own."""


@dataclass(frozen=True)
class IndexReport:
    """What the build chose and measured."""

    kind: str
    """exact; ivf-flat or ivf-sq8: inverted lists, the nearest searched; pq: short codes of all
    vectors, the most promising rescored."""
    size: int
    """Rows that can be found."""
    lists: int = 0
    probes: int = 0
    """Lists searched per query for `k`."""
    rescored: int = 0
    """Vectors scored exactly per query for `k`, after their codes."""
    k: int = 0
    """List length at which recall was measured."""
    recall: float = 1.0
    """Share of exact search's best k that was found, on the tuning queries: enough above the
    target that unseen queries reach it too."""
    target: float = 1.0


class VectorIndex:
    """Rows of largest inner product with a query; opened memory-mapped.

    The base never changes. `add` and `remove` make an overlay on it (vectors beside it,
    tombstones in it), which every later search honours; one thread may change it while others
    search. `compact` builds the next version's base out of both.
    """

    def __init__(self, base: Base, report: IndexReport, absent: Bool | None = None) -> None:
        self.report, self._base = report, base
        self._overlay = Overlay.none(base.vectors.shape[1], absent)
        self._write = threading.Lock()

    @property
    def vectors(self) -> Float32:
        """(N, d) of the base's rows; changes are not in it."""
        return self._base.vectors

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

        From `exact_below` rows on, the cheapest of three answers that finds `target_recall` of the
        exact best k: inverted lists, of which the nearest few are searched; short codes of all
        vectors, whose most promising are scored exactly; or a full scan. How few are enough is
        read off a sample of `queries` (Q, d) not used otherwise (user vectors, say), or of the
        vectors where none are given (which then neither find themselves nor shape the lists), with
        99 % confidence for as many unseen queries; likewise for other list lengths.
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
        base = Base(vectors, int(there.sum()))
        report = IndexReport("exact", base.size, k=k, target=target_recall)
        if base.size >= max(exact_below, 16):
            base, report = _nearer(base, there, queries, report, seed)
        return cls(base, report, ~there)

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
        run = Search(self._base, self._overlay, allowed, k)

        def block(begin: int, end: int) -> None:
            bounds = indptr[begin : end + 1]
            out = (item[begin:end], score[begin:end])
            if isinstance(allowed, np.ndarray) or allowed is None:
                run.best(queries[begin:end], bounds, refused, *out)
            else:
                listed = (allowed.indptr[begin : end + 1], allowed.values)
                run.listed(queries[begin:end], listed, bounds, refused, *out)

        if k and len(queries):
            in_blocks(block, len(queries), QUERIES_PER_BLOCK)
        return item, score

    def __len__(self) -> int:
        """Rows that can be found."""
        overlay = self._overlay
        base = int((~overlay.gone).sum()) if len(overlay.gone) else len(self.vectors)
        return base + len(overlay.rows)

    def holds(self, row: int) -> bool:
        """Can `row` be found?"""
        overlay, n = self._overlay, len(self.vectors)
        base = 0 <= row < n and not (len(overlay.gone) and overlay.gone[row])
        return bool(base or np.isin(row, overlay.rows))

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
            k=self.report.k,
            target_recall=self.report.target,
            queries=queries,
            present=there,
            exact_below=exact_below,
            seed=seed,
        )

    def save(self, directory: Path) -> None:
        """Writes `vectors.npy`, `index.json`, what searches it, and the overlay."""
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
            about = json.loads((directory / "index.json").read_text("utf-8"))
            depths = tuple((depth, effort) for depth, effort in about.pop("depths"))
            report = IndexReport(**about)
            vectors = np.asarray(np.load(directory / "vectors.npy", mmap_mode="r"))
            overlay = _read_overlay(directory / "overlay.npz", len(vectors))
            near = _read_near(directory, report.kind)
            index = cls(Base(vectors, report.size, near, depths), report)
            index._overlay = overlay
        except (OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
            raise VersionError(
                f"{directory} does not hold a whole vector index ({error}); "
                f"train the version again or roll back to another"
            ) from error
        return index


def _read_near(directory: Path, kind: str) -> Approximate | None:
    if kind == "exact":
        return None
    import faiss

    flags = faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY
    read = faiss.read_index(str(directory / "near.faiss"), flags)
    if kind == "pq":
        return ShortCodes(read, np.load(directory / "coded.npy"))
    return InvertedLists(read, kind, np.zeros(0, np.int32))


def _read_overlay(path: Path, base: int) -> Overlay:
    with np.load(path) as saved:
        gone = np.zeros(base if len(saved["gone"]) else 0, np.bool_)
        gone[saved["gone"]] = True
        return Overlay(saved["rows"], saved["vectors"], gone, int(saved["buried"]))


def _nearer(
    base: Base, there: Bool, queries: Float32 | None, report: IndexReport, seed: int
) -> tuple[Base, IndexReport]:
    """The base with whatever answers at the target for the least cost; as it is if a scan does."""
    random, k = np.random.default_rng(seed), min(report.k, base.size - 1)
    asked = np.zeros((0, base.vectors.shape[1]), np.float32)
    if queries is not None:
        queries = np.ascontiguousarray(queries, np.float32)
        asked = queries[random.permutation(len(queries))[:TUNING_QUERIES]]
    own = np.zeros(0, np.int64)
    if len(asked) < TUNING_QUERIES // 10:  # too few for any confidence
        own = random.permutation(np.flatnonzero(there))[: min(TUNING_QUERIES, base.size // 4)]
    asked = np.concatenate([asked, base.vectors[own]])
    itself = _OwnRow(len(asked), own.astype(np.int32))
    depths = sorted({min(d, base.size - 1) for d in (*DEPTHS, k)})
    nearest = VectorIndex(base, report, ~there).search(asked, depths[-1], itself)[0]
    best, cost = (base, report), float(base.size)
    for kind in (ShortCodes, InvertedLists) if base.size >= CODES_FROM else (InvertedLists,):
        near = kind.fill(base.vectors, there, own, seed)
        needed = near.needed(asked, nearest)
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
                lists=near.most if lists else 0,
                probes=effort if lists else 0,
                rescored=0 if lists else effort,
                recall=found,
            ),
        )
    return best


def _efforts(
    near: Approximate, needed: Int32, depths: list[int], target: float, size: int
) -> dict[int, int]:
    """Depth → the effort it needs, as long as that costs less than a scan."""
    found: dict[int, int] = {}
    for depth in depths:
        effort = least_effort(needed[:, :depth], target, near.most)
        if effort is None or near.cost(effort) >= size:
            break
        found[depth] = effort
    return found


@dataclass(frozen=True, eq=False)
class _OwnRow:
    """Excludes from the last queries, which are rows of the base, these rows."""

    queries: int
    values: Int32

    @property
    def indptr(self) -> NDArray[np.int64]:
        return np.maximum(np.arange(self.queries + 1) - self.queries + len(self.values), 0)
