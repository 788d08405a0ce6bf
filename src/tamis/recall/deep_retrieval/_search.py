"""Beam search over paths and scoring of the items on them, compiled."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tamis.index import best_first, offer
from tamis.runtime import Float32, Int32, Int64, in_blocks
from tamis.runtime.compiled import inner_njit, njit

QUERIES_PER_BLOCK = 64


class PathNet(NamedTuple):
    """The fitted network p(path | user): D layers with H hidden units and K nodes each."""

    user: Float32
    """(D, H, dim) weights of the user's vector in each layer."""
    bias: Float32
    """(D, H)"""
    node: Float32
    """(D, D, K, H): added to the hidden units of layer d (first axis) for the node chosen in layer
    l (second axis)."""
    out: Float32
    """(D, H, K)"""
    out_bias: Float32
    """(D, K)"""


class Tree(NamedTuple):
    """The prefixes of paths with items, level by level, and the items of each complete path."""

    node: Int32
    """(n,) last node of each prefix, level by level, children of a prefix next to each other."""
    first: Int64
    """(n − leaves + 1,) index of the first child of each prefix that is not complete; last n."""
    roots: int
    """Number of prefixes of length 1."""
    indptr: Int64
    """(leaves + 1,)"""
    item: Int32
    """Items of leaf p: `item[indptr[p]:indptr[p + 1]]`."""

    @classmethod
    def of(cls, paths: Int64, layers: int, nodes: int) -> Tree:
        """The tree of `paths` (I, J), the items' path numbers (digits in base `nodes`) or -1."""
        item, column = np.nonzero(paths >= 0)
        order = np.lexsort((item, paths[item, column]))
        number, item = paths[item, column][order], item[order].astype(np.int32)
        leaf, start = np.unique(number, return_index=True)
        levels = [np.unique(leaf // nodes ** (layers - d)) for d in range(1, layers + 1)]
        node = [level % nodes for level in levels]
        begin = np.cumsum([0, *map(len, levels)])
        first: list[Int64] = []
        for d in range(layers - 1):
            first.append(begin[d + 1] + np.searchsorted(levels[d + 1] // nodes, levels[d]))
        flat = np.concatenate([*first, begin[-1:]]).astype(np.int64)
        return cls(
            np.concatenate(node).astype(np.int32),
            flat,
            len(levels[0]),
            np.append(start, len(number)).astype(np.int64),
            item,
        )


def best_paths(net: PathNet, users: Float32, beam: int) -> tuple[Int64, Float32]:
    """The most probable paths of each of `users` (n, dim), whether they hold items or not.

    Returns path numbers (n, beam) and log-probabilities (n, beam), best first, padded with -1 and
    -inf.
    """
    path = np.full((len(users), beam), -1, np.int64)
    score = np.full((len(users), beam), -np.inf, np.float32)
    all_paths = Tree(
        node=np.zeros(0, np.int32),
        first=np.zeros(1, np.int64),
        roots=0,
        indptr=np.zeros(1, np.int64),
        item=np.zeros(0, np.int32),
    )

    def block(begin: int, end: int) -> None:
        _search(
            users=users[begin:end],
            net=net,
            tree=all_paths,
            path=path[begin:end],
            score=score[begin:end],
        )

    in_blocks(block, len(users), QUERIES_PER_BLOCK)
    return path, score


def recall_items(
    net: PathNet,
    tree: Tree,
    users: Float32,
    vectors: Float32,
    exclude: Any,
    beam: int,
    most: int,
    k: int,
) -> tuple[Int32, Float32, Int64]:
    """The best items on each query's `beam` most probable paths, by inner product.

    Args:
        users: (Q, dim) and vectors: (I, dim) float32 vectors of the queries and of the items.
        exclude: Ragged, the queries' excluded items.
        most: items scored per query at most, those on the most probable paths first.

    Returns item rows (Q, k), scores (Q, k), padded with -1 and -inf, and the number of items scored
    (Q,).
    """
    n = len(users)
    item = np.full((n, k), -1, np.int32)
    score = np.full((n, k), -np.inf, np.float32)
    scored = np.zeros(n, np.int64)
    leaf = np.full((n, beam), -1, np.int64)
    log_p = np.full((n, beam), -np.inf, np.float32)
    first_leaf = len(tree.node) - (len(tree.indptr) - 1)

    def block(begin: int, end: int) -> None:
        part = slice(begin, end)
        _search(users=users[part], net=net, tree=tree, path=leaf[part], score=log_p[part])
        leaf[part] = np.where(leaf[part] < 0, -1, leaf[part] - first_leaf)
        _score(
            users=users[part],
            vectors=vectors,
            leaf=leaf[part],
            indptr=tree.indptr,
            items=tree.item,
            bounds=exclude.indptr[begin : end + 1],
            excluded=exclude.values,
            refused=np.zeros(len(vectors), np.bool_),
            most=most,
            item=item[part],
            score=score[part],
            scored=scored[part],
        )

    if tree.roots:
        in_blocks(block, n, QUERIES_PER_BLOCK)
    return item, score, scored


@njit(cache=True, nogil=True)
def _search(users, net, tree, path, score):
    """Beam search of each user over the paths of the tree, or over all paths if it has no roots.

    Args:
        users: (n, dim) float32. net: PathNet. tree: Tree.
        path: (n, beam) int64, filled with -1: tree indices of complete paths, or path
            numbers if the tree has no roots.
        score: (n, beam) float32 log-probabilities, best first.
    """
    w_user, bias, w_node, w_out, out_bias = net.user, net.bias, net.node, net.out, net.out_bias
    node, first, roots = tree.node, tree.first, tree.roots
    layers, hidden = bias.shape
    k, beam = out_bias.shape[1], path.shape[1]
    codes, next_codes = np.zeros((beam, layers), np.int32), np.zeros((beam, layers), np.int32)
    at, next_at = np.zeros(beam, np.int64), np.zeros(beam, np.int64)
    log_p = np.zeros(beam, np.float32)
    choice, value = np.zeros(beam, np.int64), np.zeros(beam, np.float32)
    child = np.zeros(beam * k, np.int64)
    for q in range(len(users)):
        live, log_p[0], at[0] = 1, np.float32(0), 0
        for d in range(layers):
            base = np.dot(w_user[d], users[q])
            h = np.empty((live, hidden), np.float32)
            for b in range(live):  # loops, for numba takes seconds to compile array expressions
                for x in range(hidden):
                    h[b, x] = base[x] + bias[d, x]
                for before in range(d):
                    node_before = codes[b, before]
                    for x in range(hidden):
                        h[b, x] += w_node[d, before, node_before, x]
                for x in range(hidden):
                    h[b, x] = max(h[b, x], np.float32(0))
            logits = np.dot(h, w_out[d])
            found = 0
            for b in range(live):
                top = np.float32(-np.inf)
                for c in range(k):
                    logits[b, c] += out_bias[d, c]
                    top = max(top, logits[b, c])
                total = np.float32(0)
                for c in range(k):
                    total += np.exp(logits[b, c] - top)
                norm = log_p[b] - top - np.log(total)
                if roots == 0:
                    begin, end = np.int64(0), np.int64(k)
                elif d == 0:
                    begin, end = np.int64(0), np.int64(roots)
                else:
                    begin, end = first[at[b]], first[at[b] + 1]
                for x in range(begin, end):
                    c = x if roots == 0 else np.int64(node[x])
                    child[b * k + c] = at[b] * k + c if roots == 0 else x
                    found = offer(choice, value, found, b * k + c, np.float32(logits[b, c] + norm))
            best_first(choice, value, found)
            for s in range(found):
                b = choice[s] // k
                for before in range(d):
                    next_codes[s, before] = codes[b, before]
                next_codes[s, d] = choice[s] % k
                next_at[s], log_p[s] = child[choice[s]], value[s]
            codes, next_codes, at, next_at, live = next_codes, codes, next_at, at, found
        for s in range(live):
            path[q, s] = at[s]
            score[q, s] = log_p[s]


@inner_njit(fastmath=True)
def _dot(a, b):
    """Inner product of two float32 vectors (dim,)."""
    total = np.float32(0)
    for d in range(len(a)):
        total += a[d] * b[d]
    return total


@njit(cache=True, nogil=True)
def _score(
    users, vectors, leaf, indptr, items, bounds, excluded, refused, most, item, score, scored
):
    """The best items on each user's leaves; an item on several leaves is scored once.

    Args:
        users: (n, dim), vectors: (I, dim) float32. leaf: (n, beam) int64, padded with -1.
        indptr, items: the tree's leaves, int64 and int32.
        bounds, excluded: CSR int64 (n + 1,), int32: excluded items of each user.
        refused: (I,) bool scratch, all False before and after. most: items scored at most.
        item, score: (n, k) int32 and float32, filled with -1 and -inf. scored: (n,) int64 zeros.
    """
    for q in range(len(users)):
        for e in range(bounds[q], bounds[q + 1]):
            if 0 <= excluded[e] < len(refused):
                refused[excluded[e]] = True
        found = 0
        for s in range(leaf.shape[1]):
            if leaf[q, s] < 0:
                break
            for x in range(indptr[leaf[q, s]], indptr[leaf[q, s] + 1]):
                i = items[x]
                if not refused[i] and scored[q] < most:
                    refused[i] = True
                    scored[q] += 1
                    found = offer(item[q], score[q], found, i, _dot(users[q], vectors[i]))
        best_first(item[q], score[q], found)
        for s in range(leaf.shape[1]):
            if leaf[q, s] >= 0:
                for x in range(indptr[leaf[q, s]], indptr[leaf[q, s] + 1]):
                    refused[items[x]] = False
        for e in range(bounds[q], bounds[q + 1]):
            if 0 <= excluded[e] < len(refused):
                refused[excluded[e]] = False
