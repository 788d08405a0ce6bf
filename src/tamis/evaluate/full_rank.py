"""Full-rank evaluation of given vectors: every item is scored for every user, in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch

from tamis.data import Ragged
from tamis.evaluate.metrics import mean_accuracy
from tamis.index import best_first, offer_row
from tamis.runtime import Float32, Int32, threads
from tamis.runtime.compiled import njit
from tamis.schema import ConfigError, DataError
from tamis.train import torch_threads

USERS = 256
"""Users whose products with a tile of items are held at once, per thread."""
ITEMS = 4096
"""Items of a tile: 256 × 4096 products are 4 MB."""


@dataclass(frozen=True, eq=False)
class FullRank:
    """The result of a full ranking of all items."""

    metrics: dict[str, float]
    """hit@k, recall@k, ndcg@k and mrr@k, means over the users who have a target; NaN for none."""
    lists: Int32
    """(U, largest k) each user's best items, best first, padded by -1."""
    scores: Float32
    """(U, largest k) their inner products, padded by -inf."""
    seconds: float
    """From vectors to metrics."""


def full_rank(
    user_vectors: Float32,
    item_vectors: Float32,
    seen: Ragged | None,
    targets: Ragged,
    ks: Sequence[int] = (10, 20),
) -> FullRank:
    """Ranks all items (I, d) by inner product for each user (U, d), and evaluates the lists.

    Exact in float32; equal products are ordered by row. Each thread holds USERS × ITEMS products,
    whatever U and I are.

    Args:
        seen: per user the item rows that are masked; None masks nothing.
        targets: per user the distinct item rows that should be found; a target that is masked, or
            that is no row of `item_vectors`, is a miss.
        ks: list lengths.

    Raises:
        ConfigError: `ks` is empty or holds a number below 1.
        DataError: shapes or numbers of lists do not fit each other.
    """
    began = perf_counter()
    if not ks or min(ks) < 1:
        raise ConfigError(f"ks = {list(ks)}: at least one list length, each at least 1")
    users, items = (np.ascontiguousarray(x, np.float32) for x in (user_vectors, item_vectors))
    masked = Ragged.empty(len(users)) if seen is None else seen
    _check(users, items, masked, targets)
    lists, scores = best_of_all(users, items, max(ks), masked)
    places = np.zeros(lists.shape, np.bool_)
    wanted = targets.values[np.lexsort((targets.values, targets.query))]
    _find(lists, targets.indptr, wanted, places)
    metrics = mean_accuracy(places, np.diff(targets.indptr), ks)
    return FullRank(metrics, lists, scores, perf_counter() - began)


def best_of_all(users: Float32, items: Float32, k: int, seen: Ragged) -> tuple[Int32, Float32]:
    """(U, k) item rows of each user's largest inner products without the seen, and the products.

    Best first. Users are split over threads; each thread multiplies one tile at a time and keeps
    the best of it, so that the products stay in the cache and threads do not wait for each other.
    """
    n = len(users)
    lists = np.full((n, k), -1, np.int32)
    scores = np.full((n, k), -np.inf, np.float32)

    def block(begin: int) -> None:
        end = min(begin + USERS, n)
        memory = np.empty((end - begin) * min(ITEMS, len(items)), np.float32)
        found = np.zeros(end - begin, np.int64)
        mine = torch.from_numpy(users[begin:end])
        bounds = seen.indptr[begin : end + 1]
        for first in range(0, len(items), ITEMS):
            rows = items[first : first + ITEMS]
            products = memory[: (end - begin) * len(rows)].reshape(end - begin, len(rows))
            torch.mm(mine, torch.from_numpy(rows).T, out=torch.from_numpy(products))
            _keep_best(
                products, first, bounds, seen.values, found, lists[begin:end], scores[begin:end]
            )
        _sort(found, lists[begin:end], scores[begin:end])

    with torch_threads(1), ThreadPoolExecutor(threads()) as pool:
        for _ in pool.map(block, range(0, n if len(items) else 0, USERS)):
            pass
    return lists, scores


def _check(users: Float32, items: Float32, seen: Ragged, targets: Ragged) -> None:
    if users.ndim != 2 or items.ndim != 2 or users.shape[1] != items.shape[1]:
        raise DataError(
            f"vectors of users {users.shape} and items {items.shape}: both must be tables of "
            f"equally wide rows"
        )
    for name, lists in (("seen", seen), ("targets", targets)):
        if len(lists) != len(users):
            raise DataError(f"{name} has {len(lists)} lists for {len(users)} users: one each")


@njit(cache=True, nogil=True)
def _keep_best(products, first, bounds, seen, found, item, score):
    """Offers row `first + j` with `products[u, j]` to the heap of each user u, except the seen.

    `found` (U,) is the size of each heap so far. NaN and -inf are never kept.
    """
    n = products.shape[1]
    none = np.zeros(0, np.bool_)
    for u in range(len(products)):
        row = products[u]
        for e in range(bounds[u], bounds[u + 1]):
            at = seen[e] - first
            if 0 <= at < n:
                row[at] = -np.inf
        found[u] = offer_row(item[u], score[u], found[u], row, first, none)


@njit(cache=True, nogil=True)
def _sort(found, item, score):
    for u in range(len(found)):
        best_first(item[u], score[u], found[u])


@njit(cache=True, nogil=True)
def _find(lists, indptr, wanted, out):
    """Which places (U, k) of `lists` hold one of the user's `wanted`, ascending within a user."""
    for u in range(len(lists)):
        mine = wanted[indptr[u] : indptr[u + 1]]
        for place in range(lists.shape[1]):
            row = lists[u, place]
            if row < 0:
                break
            at = np.searchsorted(mine, row)
            out[u, place] = at < len(mine) and mine[at] == row
