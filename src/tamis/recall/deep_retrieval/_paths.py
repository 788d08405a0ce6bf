"""Assignment of items to paths (the E-step of Deep Retrieval), compiled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tamis.index import VectorIndex, best_first, offer
from tamis.recall._common.interactions import grouped
from tamis.runtime import Float32, Int64, in_blocks
from tamis.runtime.compiled import njit

ITEMS_PER_BLOCK, BLOCKS = 1024, 16
"""Fewest items per block, and about the number of blocks: each needs a sum per path."""


@dataclass(frozen=True, eq=False)
class PathScores:
    """s[v, c] = Σ p(path c | user) over the examples with target v, for each item's best paths."""

    path: Int64
    """(I, S) indices into `number`, best first, padded with -1."""
    score: Float32
    """(I, S) s of each path."""
    count: Float32
    """(I,) sum of the weights of the item's targets."""
    number: Int64
    """(P,) distinct path numbers, ascending."""


def path_scores(
    beams: tuple[Int64, Float32],
    targets: tuple[Int64, Int64, Float32],
    items: int,
    candidates: int,
) -> PathScores:
    """Sums the probabilities of the examples' paths for each target item.

    Args:
        beams: (n, S) path numbers and log-probabilities of n examples.
        targets: (m,) example, item row and weight of each target.
        items: number of items.
        candidates: paths of largest s kept per item.
    """
    number, place = np.unique(beams[0], return_inverse=True)
    place = place.reshape(beams[0].shape).astype(np.int32)
    chance = np.exp(beams[1])
    owner, item, weight = targets
    indptr, order = grouped(item.astype(np.int32), items)
    owner, weight = owner[order], weight[order]
    path = np.full((items, candidates), -1, np.int64)
    score = np.zeros((items, candidates), np.float32)

    def block(begin: int, end: int) -> None:
        bounds = indptr[begin : end + 1]
        total = np.zeros(len(number), np.float32)
        touched = np.empty(len(number), np.int64)
        _sum(bounds, owner, weight, place, chance, total, touched, path[begin:end],
             score[begin:end])  # fmt: skip

    in_blocks(block, items, max(ITEMS_PER_BLOCK, -(-items // BLOCKS)))
    count = np.bincount(item, targets[2], minlength=items).astype(np.float32)
    return PathScores(path, score, count, number)


@njit(cache=True, nogil=True)
def _sum(indptr, owner, weight, place, chance, total, touched, path, score):
    """Sums path probabilities of n consecutive items and keeps each one's largest.

    Args:
        indptr: (n + 1,) int64 bounds of the items' targets.
        owner, weight: (m,) int64 example and float32 weight of each target.
        place, chance: (examples, S) int32 path index and float32 probability.
        total: (P,) float32 scratch, zero before and after. touched: (P,) int64 scratch.
        path, score: (n, candidates) int64 and float32, filled with -1 and 0; the result.
    """
    for v in range(len(path)):
        n = 0
        for e in range(indptr[v], indptr[v + 1]):
            for s in range(place.shape[1]):
                p = chance[owner[e], s]
                if p > 0:
                    c = place[owner[e], s]
                    if total[c] == 0:
                        touched[n] = c
                        n += 1
                    total[c] += weight[e] * p
        found = 0
        for t in range(n):
            found = offer(path[v], score[v], found, touched[t], total[touched[t]])
            total[touched[t]] = 0
        best_first(path[v], score[v], found)


def assign_paths(
    seen: PathScores, paths: int, penalty: float, passes: int, random: np.random.Generator
) -> Int64:
    """(I, `paths`) path numbers of each item by coordinate descent; -1 where it has fewer.

    Each of an item's J paths in turn becomes the path c that maximises
    `n_v log Σ_j s[v, π_j] − penalty · Σ_c |c|^4 / 4`, where |c| is the number of items on c;
    `passes` passes over the items, each in a random order.
    """
    items = len(seen.path)
    chosen = np.full((items, paths), -1, np.int64)
    size = np.zeros(len(seen.number), np.int64)
    for _ in range(passes):
        order = random.permutation(items)
        _descend(order, seen.path, seen.score, seen.count, penalty, size, chosen)
    place = np.maximum(chosen, 0)
    return np.where(chosen >= 0, seen.number[place] if len(seen.number) else -1, -1)


@njit(cache=True, nogil=True)
def _descend(order, path, score, count, penalty, size, chosen):
    """One pass of coordinate descent over the items in `order` (I,) int64.

    Args:
        path, score, count: columns of PathScores.
        size: (P,) int64 number of items on each path, updated.
        chosen: (I, J) int64 path indices, -1 for none, updated.
    """
    for v in order:
        for j in range(chosen.shape[1]):
            if chosen[v, j] >= 0:
                size[chosen[v, j]] -= 1
                chosen[v, j] = -1
            others = 0.0
            for other in range(chosen.shape[1]):
                for s in range(path.shape[1]):
                    if chosen[v, other] >= 0 and path[v, s] == chosen[v, other]:
                        others += score[v, s]
            best, best_gain = -1, -np.inf
            for s in range(path.shape[1]):
                c = path[v, s]
                if c < 0 or score[v, s] <= 0:
                    break
                taken = False
                for other in range(chosen.shape[1]):
                    taken = taken or chosen[v, other] == c
                if taken:
                    continue
                more = (float(size[c] + 1) ** 4 - float(size[c]) ** 4) / 4
                gain = count[v] * np.log(others + score[v, s]) - penalty * more
                if gain > best_gain:
                    best, best_gain = c, gain
            if best >= 0:
                chosen[v, j] = best
                size[best] += 1


def initial_paths(vectors: Float32, liked: NDArray[np.bool_], paths: int, total: int) -> Int64:
    """(I, `paths`) initial path numbers in [0, total), -1 for items that are not `liked`.

    Items are ordered so that similar items are close (`similarity_order`), and get path numbers in
    this order, evenly spaced; so paths with a common prefix hold similar items. An item's other
    paths are those of the items nearest to it.

    Args:
        vectors: (I, dim) unit vectors. liked: (I,).
    """
    items = np.flatnonzero(liked)
    chosen = np.full((len(vectors), paths), -1, np.int64)
    if not len(items):
        return chosen
    own = np.empty(len(items), np.int64)
    own[similarity_order(vectors[items])] = np.arange(len(items)) * total // len(items)
    chosen[items, 0] = own
    near = VectorIndex.build(vectors[items], k=paths).search(vectors[items], paths)[0]
    others = np.where(near == np.arange(len(items))[:, None], -1, own[np.maximum(near, 0)])
    others[near < 0] = -1
    taken = np.argsort(others < 0, axis=1, kind="stable")[:, : paths - 1]
    chosen[items, 1:] = np.take_along_axis(others, taken, axis=1)
    return chosen


def similarity_order(vectors: Float32) -> Int64:
    """An order (n,) of vectors (n, dim) in which neighbours are similar: the set is halved
    recursively along its direction of largest variance."""
    order = np.arange(len(vectors))
    todo = [(0, len(vectors))]
    while todo:
        begin, end = todo.pop()
        if end - begin <= 2:
            continue
        part = vectors[order[begin:end]]
        part = part - part.mean(axis=0)
        spread = np.linalg.svd(part.T @ part, hermitian=True)[0][:, 0]
        order[begin:end] = order[begin:end][np.argsort(part @ spread, kind="stable")]
        middle = (begin + end) // 2
        todo += [(begin, middle), (middle, end)]
    return order
