"""Matrix factorisation by iALS or BPR, with users folded in at request time."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from tamis.cascade import FitContext, Queries, at_end
from tamis.data import Dataset
from tamis.index import VectorIndex
from tamis.recall._common.channel import need_positives
from tamis.recall._common.interactions import (
    Interests,
    declared_interest,
    distinct_lists,
    interests,
)
from tamis.recall._common.vector_channel import (
    VectorChannel,
    digest,
    former_rows,
    known_rows,
)
from tamis.recall.mf._kernels import LikedPairs, bpr_epoch, solve_rows
from tamis.runtime import Float32, in_blocks
from tamis.schema import ComponentConfig, Conditions, Needs, TrainingError

TUNING_USERS = 1000
"""Users whose vectors the index is tuned with."""
ROWS_PER_BLOCK = 512
TRIES = 8
"""Draws of a negative per pair and epoch; the pair is skipped if the user likes all of them."""


class MFConfig(ComponentConfig):
    """Options of matrix factorisation."""

    only_with: ClassVar[Conditions] = {
        "epochs": (Needs("method", ("ials",)),),
        "pair_epochs": (Needs("method", ("bpr",)),),
        "pair_l2": (Needs("method", ("bpr",)),),
        "learning_rate": (Needs("method", ("bpr",)),),
    }

    method: Literal["ials", "bpr"] = "ials"
    """ials: weighted least squares over all pairs. bpr: ranks liked above not liked items."""
    embedding_dim: Annotated[int, Field(ge=2, le=1024)] = 64
    """Width of the vectors."""
    unobserved: Annotated[float, Field(gt=0)] = 4.0
    """κ: total weight of all pairs, which are fitted to 0, relative to that of the liked pairs; one
    pair has the weight α₀ = κ Σr / (users · items). Used by ials, and to compute user vectors with
    both methods."""
    l2: Annotated[float, Field(ge=0)] = 0.03
    """L2 regularisation λ of ials, and of the user vectors of both methods; scaled by
    `frequency_scale`."""
    pair_l2: Annotated[float, Field(ge=0)] = 0.01
    """L2 regularisation λ of a step of bpr."""
    frequency_scale: Annotated[float, Field(ge=0, le=1)] = 1.0
    """ν: the regularisation of a row with n likes is λ (n + α₀ · rows of the other side)^ν; 0: the
    same for all rows."""
    epochs: Annotated[int, Field(ge=1)] = 16
    """Sweeps of ials over both sides; for bpr see `pair_epochs`."""
    pair_epochs: Annotated[int, Field(ge=1)] = 60
    """Passes of bpr over the liked pairs."""
    learning_rate: Annotated[float, Field(gt=0)] = 0.05
    """Learning rate of bpr in the first pass; it decays linearly to 0."""
    warm_epochs: Annotated[int, Field(ge=1)] = 4
    """Sweeps of ials when it starts from the vectors of an earlier version; bpr then runs a quarter
    of `pair_epochs`."""
    last: Annotated[int, Field(ge=1)] | None = None
    """Number of the user's most recent liked items that his vector is computed from. If omitted:
    all."""
    index_recall: Annotated[float, Field(gt=0, le=1)] = 0.98
    """Minimum share of the exact best `index_k` items that the index must find."""
    index_k: Annotated[int, Field(ge=1)] = 300
    """List length for which the index is tuned: the channel's quota."""


class MF(VectorChannel):
    """Matrix factorisation: the score is the inner product of a user's and an item's vector.

    iALS minimises `Σ_liked r (1 − w·h)² + α₀ Σ_all (w·h)² + Σ_rows λ (n + α₀ m)^ν |·|²` by solving
    each side exactly in turn; r is the largest weight of a user's likes of an item. BPR maximises
    `log σ(w·h_i − w·h_j)`, where j is drawn uniformly from the items that the user does not like.
    User vectors are not stored: at a request they are computed from the history in the query, as
    the least-squares solution of iALS against the item vectors (also for BPR, where only their
    direction is meaningful), so new likes count at once.

    When to use: many users with at least ten likes; a small model that is refitted in seconds.
    Cost: fit: a sweep takes likes × dim² + rows × dim³ / 3 operations. Recall: one linear system of
    dim unknowns and an index search. Memory: rows × dim × 4 bytes.
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
        warm = self._start_from(context, items, data)
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
            "interest": declared_interest(data.behaviours),
        }
        self.index = self._built_index(data, items, liked, context.seed)
        return {**self._facts, "rows": digest(data.items.ids), "warm": warm}

    def _start_from(self, context: FitContext, items: Float32, data: Dataset) -> bool:
        """Copies the item vectors of an earlier fit; returns whether it could.

        Not possible if the earlier fit used another method or width, or if it is not known which of
        its rows the items have.
        """
        former = context.former
        if not isinstance(former, MF) or former._facts is None or former.index is None:
            return False
        given = former_rows(context, "item")
        both = known_rows(data.items.ids, former._n_items, former._facts["rows"], given)
        vectors = former.index.vectors
        if (
            vectors.shape[1] != items.shape[1]
            or former.config.method != self.config.method
            or both is None
        ):
            return False
        known = vectors[both[1]].any(axis=1)
        items[both[0][known]] = vectors[both[1][known]]
        return True

    def _fit_ials(
        self, by_user: Interests, items: Float32, warm: bool, random: np.random.Generator
    ) -> Float32:
        """(I, d) item vectors after the sweeps of iALS from initial `items`."""
        by_item = by_user.transposed(len(items))
        for _ in range(self.config.warm_epochs if warm else self.config.epochs):
            users = self._solved(by_user, items, "liked")
            items = self._solved(by_item, users, "users")
        return items

    def _fit_bpr(
        self, by_user: Interests, items: Float32, warm: bool, random: np.random.Generator
    ) -> Float32:
        """(I, d) item vectors after the passes of BPR from initial `items`."""
        c = self.config
        pairs = _liked_pairs(by_user)
        if warm:
            users = self._solved(by_user, items, "liked")
        else:
            users = _initial(random, len(by_user.indptr) - 1, items.shape[1])
        epochs = max(1, c.pair_epochs // 4) if warm else c.pair_epochs
        for epoch in range(epochs):
            rate = np.float32(c.learning_rate * (1 - epoch / epochs))
            draws = random.integers(0, len(items), (len(pairs.item), TRIES), np.int32)
            order = random.permutation(len(pairs.item))
            bpr_epoch(
                order=order,
                pairs=pairs,
                draws=draws,
                rate=rate,
                l2=np.float32(c.pair_l2),
                users=users,
                items=items,
            )
        return items

    def _solved(self, lists: Interests, factors: Float32, others: str) -> Float32:
        """Half a sweep: every row of one side from the `factors` of the other.

        others: which fact counts the rows of the other side, "liked" (items) or "users".
        """
        assert self._facts is not None
        return self._solve(
            lists,
            factors,
            _gram(factors, self._facts["pair_weight"]),
            self._ridge(np.diff(lists.indptr), others),
        )

    def _ridge(self, sizes: Any, others: str) -> Float32:
        """(rows,) regularisation λ (n + α₀ m)^ν of rows with n = `sizes` likes, m = `others`."""
        assert self._facts is not None
        c, unseen = self.config, self._facts["pair_weight"] * self._facts[others]
        return (c.l2 * (sizes + unseen) ** c.frequency_scale).astype(np.float32)

    def _solve(self, lists: Interests, factors: Float32, base: Float32, ridge: Float32) -> Float32:
        """(rows, d) solutions of `solve_rows` for all lists."""
        n = len(lists.indptr) - 1
        out = np.empty((n, factors.shape[1]), np.float32)

        def block(begin: int, end: int) -> bool:
            return solve_rows(
                begin=begin,
                end=end,
                lists=lists.compiled(),
                factors=factors,
                base=base,
                ridge=ridge,
                out=out,
            )

        if not all(in_blocks(block, n, ROWS_PER_BLOCK)):
            raise TrainingError(
                f"channel {self.name!r}: a least-squares system is singular in float32; "
                f"raise l2 = {self.config.l2:g}"
            )
        return out

    def user_vectors(self, queries: Queries) -> Float32:
        """(Q, dim) vectors computed from the queries' histories; zero without a known like."""
        return self._folded(self._known_likes(queries), self.item_vectors(), self._arrays["system"])

    def _folded(self, likes: Interests, items: Float32, system: Float32) -> Float32:
        """(Q, dim) least-squares user vectors for the item vectors `items`."""
        ridge = self._ridge(np.diff(likes.indptr), "liked")
        return self._solve(likes, items, system, ridge)

    def _known_likes(self, queries: Queries) -> Interests:
        """Each query's `last` most recent distinct liked items that the fit knew."""
        history = queries.history
        value = self._arrays["interest"][history.behaviour]
        limit = self.config.last or max(len(value), 1)
        lists = distinct_lists(history.indptr, history.item, value, limit, self._n_items)
        return Interests(*lists)

    def because(self, queries: Queries, item: int) -> int | None:
        """The liked item h with the largest part `h_itemᵀ A⁻¹ r h` of the score (Hu et al.)."""
        likes, items = self._known_likes(queries), self.item_vectors()
        if item >= len(items) or not len(likes.other):
            return None
        past, r = items[likes.other], likes.value[:, None]
        ridge = self._ridge(np.diff(likes.indptr), "liked")[0]
        system = self._arrays["system"] + (past * r).T @ past + ridge * np.eye(past.shape[1])
        part = (past * r) @ np.linalg.solve(system, items[item])
        return int(likes.other[part.argmax()]) if part.max() > 0 else None

    def _built_index(self, data: Dataset, items: Float32, liked: Any, seed: int) -> VectorIndex:
        """An index of the liked items' vectors, tuned with vectors of some users of the log."""
        some = np.random.default_rng(seed).permutation(len(data.users))[:TUNING_USERS]
        past = at_end(data, some.astype(np.int32), exclude_seen=False).history
        value = self._arrays["interest"][past.behaviour]
        lists = distinct_lists(past.indptr, past.item, value, len(value), len(items))
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
    """(n, width) normally distributed vectors of length about 0.1 (Rendle et al. 2022)."""
    return random.standard_normal((n, width), np.float32) * np.float32(0.1 * width**-0.5)


def _gram(factors: Float32, weight: float) -> Float32:
    """(d, d) `weight · FᵀF`: the part of the least-squares system that all pairs contribute."""
    return np.float32(weight) * (factors.T @ factors)


def _liked_pairs(by_user: Interests) -> LikedPairs:
    """The pairs of all users, with items ascending within each user."""
    users = len(by_user.indptr) - 1
    owner = np.repeat(np.arange(users, dtype=np.int32), np.diff(by_user.indptr))
    return LikedPairs(
        user=owner,
        indptr=by_user.indptr,
        item=by_user.other[np.lexsort((by_user.other, owner))],
    )
