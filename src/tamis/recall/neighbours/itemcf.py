"""ItemCF: item-based collaborative filtering."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field

from tamis.data import Dataset
from tamis.recall._common.interactions import Interests, interests
from tamis.recall.neighbours._channel import Neighbourhood, NeighbourSettings, Prune
from tamis.recall.neighbours._kernels import SimilarItems, keep_row, packed
from tamis.runtime import Float32, Int64, in_blocks, scratch
from tamis.runtime.compiled import njit
from tamis.schema import Conditions, Needs

ITEMS_PER_BLOCK = 512


class ItemCFConfig(NeighbourSettings):
    """Options of ItemCF."""

    only_with: ClassVar[Conditions] = {
        "asymmetry": (Needs("similarity", ("cosine",)),),
        "shrinkage": (Needs("similarity", ("cosine",)),),
    }

    similarity: Literal["cosine", "count"] = "cosine"
    """cosine: co-occurrence divided by the items' norms. count: (discounted) co-occurrence, not
    divided."""
    user_discount: Literal["log", "sqrt", "none"] = "log"
    """Weight of a co-occurrence by the user's number of items n. log: 1 / log(2 + n). sqrt: 1 / √n.
    none: 1."""
    asymmetry: Annotated[float, Field(ge=0, le=1)] = 0.8
    """Exponent a of the liked item's norm in the divisor; the candidate's is 1 − a. 0.5: cosine;
    larger values favour popular candidates; 1: the conditional probability of liking i given j."""
    shrinkage: Annotated[float, Field(ge=0)] = 30.0
    """Constant added to the divisor, which lowers the similarities of items with few users; 0: no
    shrinkage."""


class ItemCF(Neighbourhood):
    """Item-based collaborative filtering with an asymmetric, shrunk cosine.

    `sim(j,i) = Σ_u f(|I_u|) r_ui r_uj / (‖j‖^2a · ‖i‖^2(1−a) + shrinkage)` of a liked item j and a
    candidate i, with `‖i‖² = Σ_u r_ui²`, `f(n) = 1/log(2 + n)` and a = asymmetry. The interest
    value r of a user and an item is made of the weights of his likes of it: the largest, or the sum
    over their behaviours (`combine`). A like is an event of a positive behaviour, or of one that
    declares a weight above 0. With asymmetry = 0.5 and shrinkage = 0 this is the cosine
    `Σ_u f r_ui r_uj / √(Σ_u r_ui² · Σ_u r_uj²)`. The score of i is the sum of
    `r_uj · (1 + age(j))^-recency · sim(j,i)` over the user's liked items j, where age(j) is the
    number of liked items with a later time.

    When to use: as the first personalised channel: new likes count at once, the fit is fast, and
    every recalled item can be explained by a liked one.
    Cost: fit: proportional to the sum of the squares of the users' numbers of items. Recall: a few
    hundred additions per liked item. Memory: 8 bytes per item and neighbour, twice that in the fit.
    Source: Sarwar et al. 2001, Item-based collaborative filtering recommendation algorithms; user
    discount: Breese et al. 1998; shrinkage: Bell and Koren 2007; asymmetry: Aiolli 2013.
    """

    name = "itemcf"
    Config = ItemCFConfig
    config: ItemCFConfig

    def _similar(self, data: Dataset, prune: Prune) -> SimilarItems:
        config, n = self.config, len(data.items)
        by_user = interests(data, config.fit_last, config.combine)
        by_item = by_user.transposed(n)
        divisors = self._divisors(by_item, prune)
        shrinkage = config.shrinkage if config.similarity == "cosine" else 0.0
        discount = _discounts(np.diff(by_user.indptr), config.user_discount)
        keep = min(config.neighbours, max(n - 1, 1))
        out = SimilarItems.empty(n, keep)

        def block(begin: int, end: int) -> None:
            _similar_block(
                begin=begin,
                end=end,
                by_user=by_user.compiled(),
                by_item=by_item.compiled(),
                discount=discount,
                divisors=divisors,
                shrinkage=np.float32(shrinkage),
                total=scratch("sum", n, np.float32),
                keys=scratch("keys", n, np.uint64),
                out=out,
            )

        in_blocks(block, n, ITEMS_PER_BLOCK)
        return out

    def _divisors(self, by_item: Interests, prune: Prune) -> _Divisors:
        """The two factors of the divisor; which one is the liked item's depends on `prune`."""
        n = len(by_item.indptr) - 1
        if self.config.similarity == "count":
            return _Divisors(np.ones(n, np.float32), np.ones(n, np.float32))
        norm = _squares(by_item.indptr, by_item.value)
        liked = (norm**self.config.asymmetry).astype(np.float32)
        recalled = (norm ** (1 - self.config.asymmetry)).astype(np.float32)
        if prune == "candidate":
            return _Divisors(own=recalled, other=liked)
        return _Divisors(own=liked, other=recalled)


class _Divisors(NamedTuple):
    """The two factors of the similarity's divisor, for a row of similar items."""

    own: Float32
    """(I,) factor of the item whose row it is."""
    other: Float32
    """(I,) factor of the similar item."""


def _discounts(lengths: Int64, kind: str) -> Float32:
    """(users,) float32 weight f of the users' numbers of items (users,)."""
    discount = {
        "log": 1 / np.log(2.0 + lengths),
        "sqrt": 1 / np.sqrt(np.maximum(lengths, 1)),
        "none": np.ones(len(lengths)),
    }[kind]
    return discount.astype(np.float32)


@njit(cache=True, nogil=True)
def _squares(indptr, value):
    """(I,) float64 Σ_u r_ui² of the lists (I + 1,) int64 with values (n,) float32."""
    norm = np.zeros(len(indptr) - 1, np.float64)
    for i in range(len(norm)):
        for e in range(indptr[i], indptr[i + 1]):
            norm[i] += np.float64(value[e]) ** 2
    return norm


@njit(cache=True, nogil=True)
def _similar_block(begin, end, by_user, by_item, discount, divisors, shrinkage, total, keys, out):
    """Items [begin, end): sums co-occurrences through the item's users, keeps the most similar.

    Args:
        by_user, by_item: ValuedLists of the same pairs, by user (items) and by item (users).
        discount: (users,) float32. divisors: _Divisors. shrinkage: float32.
        total: (I,) float32 scratch, zero before and after. keys: (I,) uint64 scratch.
        out: SimilarItems of all items, of which rows [begin, end) are written.
    """
    user_at, user_item, user_value = by_user.indptr, by_user.item, by_user.value
    item_at, item_user, item_value = by_item.indptr, by_item.item, by_item.value
    own, other = divisors.own, divisors.other
    touched = np.empty(len(total) + 1, np.int32)
    for i in range(begin, end):
        n = 0
        for e in range(item_at[i], item_at[i + 1]):
            u = item_user[e]
            r = item_value[e] * discount[u]
            for f in range(user_at[u], user_at[u + 1]):
                j = user_item[f]
                before = total[j]
                after = before + r * user_value[f]
                total[j] = after
                touched[n] = j
                n += (before == 0) & (after != 0)
        m = 0
        for t in range(n):
            j = touched[t]
            similar = total[j] / (own[i] * other[j] + shrinkage)
            total[j] = 0
            keys[m] = packed(j, similar)
            m += (j != i) & (similar > 0)
        out.size[i] = keep_row(keys, m, out.item[i], out.value[i])
