"""Matrix factorisation: iALS, solved, or BPR, learnt pair by pair; users are folded in."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from tamis.cascade import FitContext, Queries, at_end
from tamis.data import Dataset
from tamis.index import VectorIndex
from tamis.recall._common.channel import need_positives
from tamis.recall._common.interactions import (
    Interests,
    distinct_lists,
    interest_of_behaviour,
    interests,
)
from tamis.recall._common.vector_channel import VectorChannel, digest
from tamis.recall.mf._kernels import bpr_epoch, solve_rows
from tamis.runtime import Float32, Int32, in_blocks, read_only
from tamis.schema import ComponentConfig, TrainingError

TUNING_USERS = 1000
ROWS_PER_BLOCK = 512
TRIES = 8
"""Draws of a negative per pair and epoch: all of them liked by its user is next to impossible."""


class MFConfig(ComponentConfig):
    """Options of matrix factorisation."""

    method: Literal["ials", "bpr"] = "ials"
    """ials = weighted least squares over all pairs; bpr = liked above not liked."""
    embedding_dim: Annotated[int, Field(ge=2, le=1024)] = 64
    """Width of the vectors."""
    unobserved: Annotated[float, Field(gt=0)] = 4.0
    """κ: weight of all pairs together, whose prediction is held at 0, beside that of all liked
    pairs together: each pair's is α₀ = κ Σr / (users · items). Also of both methods' folding-in."""
    l2: Annotated[float, Field(ge=0)] = 0.03
    """λ, scaled per row by its frequency in ials and in folding-in."""
    pair_l2: Annotated[float, Field(ge=0)] = 0.01
    """λ of a step of bpr."""
    frequency_scale: Annotated[float, Field(ge=0, le=1)] = 1.0
    """ν: a row with n likes is held by λ (n + α₀ · rows of the other side)^ν; 0 = all alike."""
    epochs: Annotated[int, Field(ge=1)] = 16
    """Sweeps over both sides of ials; bpr runs `pair_epochs`."""
    pair_epochs: Annotated[int, Field(ge=1)] = 60
    """Passes of bpr over the liked pairs."""
    learning_rate: Annotated[float, Field(gt=0)] = 0.05
    """Of bpr at its first pass; it falls in a straight line towards 0."""
    warm_epochs: Annotated[int, Field(ge=1)] = 4
    """Sweeps (a quarter of the passes in bpr) when it starts from a former version's vectors."""
    last: Annotated[int, Field(ge=1)] | None = None
    """Most recent liked items of the user that make the vector at a request; None = all."""
    index_recall: Annotated[float, Field(gt=0, le=1)] = 0.98
    """Share of the exact best `index_k` that the index must find."""
    index_k: Annotated[int, Field(ge=1)] = 300
    """List length for which the index is tuned: the channel's quota."""


class MF(VectorChannel):
    """Users and items as vectors whose inner product says how much one likes the other.

    iALS minimises `Σ_liked r (1 − w·h)² + α₀ Σ_all (w·h)² + Σ_rows λ (n + α₀ m)^ν |·|²`, each side
    solved exactly in turn. BPR raises `log σ(w·h_i − w·h_j)`, j drawn uniformly from what the user
    does not like. No user vector is kept: a request's user is folded in from the history, the exact
    least-squares solution against the item vectors (iALS: the same as in training; BPR: with the
    same weights, the answer scaled freely), so that a changed history counts at once.

    When to use: many users with ten likes and more; a small model that is refitted in seconds.
    Cost: a sweep is likes × dim² + rows × dim³ / 3; memory is rows × dim; recall is one solution
    of that size and an index search.
    Source: Hu et al. 2008, Collaborative Filtering for Implicit Feedback Datasets; Rendle et al.
    2022, Revisiting the Performance of iALS; Rendle et al. 2009, BPR.
    """

    name = "mf"
    Config = MFConfig
    config: MFConfig

    def _fit(self, data: Dataset, context: FitContext) -> dict[str, Any]:
        need_positives(data, self.name)
        c = self.config
        by_user = interests(data)
        liked = np.bincount(by_user.other, minlength=len(data.items)) > 0
        users = int((np.diff(by_user.indptr) > 0).sum())
        pair = c.unobserved * float(by_user.value.sum()) / (users * int(liked.sum()))
        self._facts = {"pair_weight": pair, "liked": int(liked.sum()), "users": users}
        random = np.random.default_rng(context.seed)
        items = _initial(random, len(data.items), self.config.embedding_dim)
        warm = self._start_from(context.former, items, data)
        fit = self._fit_ials if c.method == "ials" else self._fit_bpr
        items = fit(by_user, items, warm, random)
        items[~liked] = 0
        if not np.isfinite(items).all():
            raise TrainingError(
                f"channel {self.name!r}: item vectors are not finite; raise l2 = "
                f"{self.config.l2:g} or lower learning_rate = {self.config.learning_rate:g}"
            )
        self._arrays = {
            "system": _gram(items, pair),
            "interest": interest_of_behaviour(data.behaviours),
        }
        self.index = self._built_index(data, items, liked, context.seed)
        return {**self._facts, "rows": digest(data.items.ids), "warm": warm}

    def _start_from(self, former: Any, items: Float32, data: Dataset) -> bool:
        """Copies a former fit's item vectors; items may only have been added at the end since."""
        if not isinstance(former, MF) or former._facts is None or former.index is None:
            return False
        n = former._n_items
        if (
            former.index.vectors.shape[1] != items.shape[1]
            or former.config.method != self.config.method
            or n > len(items)
            or digest(data.items.ids[:n]) != former._facts["rows"]
        ):
            return False
        known = former.index.vectors.any(axis=1)
        items[:n][known] = former.index.vectors[known]
        return True

    def _fit_ials(
        self, by_user: Interests, items: Float32, warm: bool, random: np.random.Generator
    ) -> Float32:
        by_item = by_user.transposed(len(items))
        for _ in range(self.config.warm_epochs if warm else self.config.epochs):
            users = self._solved(by_user, items, "liked")
            items = self._solved(by_item, users, "users")
        return items

    def _fit_bpr(
        self, by_user: Interests, items: Float32, warm: bool, random: np.random.Generator
    ) -> Float32:
        c = self.config
        pairs = _ascending(by_user)
        if warm:
            users = self._solved(by_user, items, "liked")
        else:
            users = _initial(random, len(by_user.indptr) - 1, items.shape[1])
        epochs = max(1, c.pair_epochs // 4) if warm else c.pair_epochs
        for epoch in range(epochs):
            rate = np.float32(c.learning_rate * (1 - epoch / epochs))
            draws = random.integers(0, len(items), (len(pairs[2]), TRIES), np.int32)
            order = random.permutation(len(pairs[2]))
            bpr_epoch(order, pairs, draws, rate, np.float32(c.pair_l2), users, items)
        return items

    def _solved(self, lists: Interests, factors: Float32, others: str) -> Float32:
        """One half sweep: every row of one side from the other side's `factors`."""
        assert self._facts is not None
        return self._solve(
            (lists.indptr, lists.other, lists.value),
            factors,
            _gram(factors, self._facts["pair_weight"]),
            self._ridge(np.diff(lists.indptr), others),
        )

    def _ridge(self, sizes: Any, others: str) -> Float32:
        """(n,) λ (n + α₀ m)^ν of rows with so many likes; m = the fact `others`."""
        assert self._facts is not None
        c, unseen = self.config, self._facts["pair_weight"] * self._facts[others]
        return (c.l2 * (sizes + unseen) ** c.frequency_scale).astype(np.float32)

    def _solve(self, lists: Any, factors: Float32, base: Float32, ridge: Float32) -> Float32:
        n = len(lists[0]) - 1
        out = np.empty((n, factors.shape[1]), np.float32)
        lists = tuple(map(read_only, lists))
        factors, base, ridge = read_only(factors), read_only(base), read_only(ridge)
        fine = in_blocks(
            lambda begin, end: solve_rows((begin, end), lists, factors, base, ridge, out),
            n,
            ROWS_PER_BLOCK,
        )
        if not all(fine):
            raise TrainingError(
                f"channel {self.name!r}: a least-squares system is singular in float32; "
                f"raise l2 = {self.config.l2:g}"
            )
        return out

    def user_vectors(self, queries: Queries) -> Float32:
        """(Q, dim) folded in from the histories of the moment; zero without a known liked item."""
        return self._folded(self._known_likes(queries), self.item_vectors(), self._arrays["system"])

    def _folded(self, likes: Interests, items: Float32, system: Float32) -> Float32:
        ridge = self._ridge(np.diff(likes.indptr), "liked")
        return self._solve((likes.indptr, likes.other, likes.value), items, system, ridge)

    def _known_likes(self, queries: Queries) -> Interests:
        """Each query's distinct liked items, later ones left out."""
        history = queries.history
        value = self._arrays["interest"][history.behaviour]
        limit = self.config.last or max(len(value), 1)
        lists = distinct_lists(history.indptr, history.item, value, limit, self._n_items)
        return Interests(*lists)

    def because(self, queries: Queries, item: int) -> int | None:
        """The liked item with the largest part `h_itemᵀ A⁻¹ r h` of the score (Hu et al. 2008)."""
        likes, items = self._known_likes(queries), self.item_vectors()
        if item >= len(items) or not len(likes.other):
            return None
        past, r = items[likes.other], likes.value[:, None]
        ridge = self._ridge(np.diff(likes.indptr), "liked")[0]
        system = self._arrays["system"] + (past * r).T @ past + ridge * np.eye(past.shape[1])
        part = (past * r) @ np.linalg.solve(system, items[item])
        return int(likes.other[part.argmax()]) if part.max() > 0 else None

    def _built_index(self, data: Dataset, items: Float32, liked: Any, seed: int) -> VectorIndex:
        """The liked items' vectors, searched as widely as some users' own queries need."""
        some = np.random.default_rng(seed).permutation(len(data.users))[:TUNING_USERS]
        asked = at_end(data, some.astype(np.int32), exclude_seen=False).history
        value = self._arrays["interest"][asked.behaviour]
        lists = distinct_lists(asked.indptr, asked.item, value, len(value), len(items))
        vectors = self._folded(Interests(*lists), items, self._arrays["system"])
        return VectorIndex.build(
            items,
            k=self.config.index_k,
            target_recall=self.config.index_recall,
            queries=vectors[vectors.any(axis=1)],
            present=liked,
            seed=seed,
        )


def _initial(random: np.random.Generator, n: int, width: int) -> Float32:
    """(n, width) normal, of length about 0.1 (Rendle et al. 2022)."""
    return random.standard_normal((n, width), np.float32) * np.float32(0.1 * width**-0.5)


def _gram(factors: Float32, weight: float) -> Float32:
    """`weight · FᵀF`, of all pairs whether observed or not."""
    return np.float32(weight) * (factors.T @ factors)


def _ascending(by_user: Interests) -> tuple[Int32, Any, Int32]:
    """(user of each pair, indptr, liked items in ascending order within each user)."""
    users = len(by_user.indptr) - 1
    owner = np.repeat(np.arange(users, dtype=np.int32), np.diff(by_user.indptr))
    return owner, by_user.indptr, by_user.other[np.lexsort((by_user.other, owner))]
