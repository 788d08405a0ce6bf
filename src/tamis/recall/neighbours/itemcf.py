"""ItemCF: items liked by the same people as the items you liked."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numba import njit
from pydantic import Field

from tamis.data import Dataset
from tamis.index import in_blocks, scratch
from tamis.recall._common.interactions import Interests, interests
from tamis.recall.neighbours._channel import Neighbourhood, NeighbourSettings, Rows
from tamis.recall.neighbours._kernels import keep_row, packed
from tamis.runtime import Float32, Int64

ITEMS_PER_BLOCK = 512


class ItemCFConfig(NeighbourSettings):
    """Options of ItemCF."""

    similarity: Literal["cosine", "count"] = "cosine"
    """count = the plain (discounted) co-occurrence, without the divisor."""
    user_discount: Literal["log", "sqrt", "none"] = "log"
    """What a user's common likes count: 1 / log(2 + n), n the user's items; 1 / √n; or 1."""
    asymmetry: Annotated[float, Field(ge=0, le=1)] = 0.8
    """Share of the divisor's power that falls to the liked item: 0.5 = cosine; above it, candidates
    that many people like count more; 1 = the chance that who likes j likes i."""
    shrinkage: Annotated[float, Field(ge=0)] = 30.0
    """Added to the divisor: items that few people like are worse witnesses; 0 = as they are."""


class ItemCF(Neighbourhood):
    """Item-based collaborative filtering, asymmetric and shrunk.

    `sim(j,i) = Σ_u f(|I_u|) r_ui r_uj / (‖j‖^2a · ‖i‖^2(1−a) + shrinkage)` of a liked item j and a
    candidate i, `‖i‖² = Σ_u r_ui²`, `f = 1/log(2 + |I_u|)`, a = asymmetry, r the largest behaviour
    weight of a user's positive events with an item. With asymmetry = 0.5 and shrinkage = 0 this is
    the plain cosine `Σ_u f r_ui r_uj / √(Σ_u r_ui² · Σ_u r_uj²)`. Recall sums
    `r_uj · (1 + age(j))^-recency · sim(j,i)` over the user's liked items j, age = how many of them
    have a later time; with recency = 0 all vote alike.

    When to use: first, and always: a like counts at once, nothing is trained, every find has its
    reason.
    Cost: fit takes the sum of squares of the users' list lengths; recall a few hundred additions
    per liked item; memory 8 bytes per item and neighbour, twice that while fitting.
    Source: Sarwar et al. 2001, Item-based collaborative filtering recommendation algorithms; user
    discount: Breese et al. 1998; shrinkage: Bell and Koren 2007; asymmetry: Aiolli 2013.
    """

    name = "itemcf"
    Config = ItemCFConfig
    config: ItemCFConfig

    def _similar(self, data: Dataset) -> Rows:
        config, n = self.config, len(data.items)
        by_user = interests(data, config.fit_last)
        by_item = by_user.transposed(n)
        own, other = self._divisors(by_item)
        shrinkage = config.shrinkage if config.similarity == "cosine" else 0.0
        discount = _discounts(np.diff(by_user.indptr), config.user_discount)
        keep = min(config.neighbours, max(n - 1, 1))
        size = np.zeros(n, np.int32)
        item, value = np.empty((n, keep), np.int32), np.empty((n, keep), np.float32)

        def block(begin: int, end: int) -> None:
            _similar_block(
                begin,
                end,
                (by_user.indptr, by_user.other, by_user.value),
                (by_item.indptr, by_item.other, by_item.value),
                discount,
                (own, other),
                np.float32(shrinkage),
                scratch("sum", n, np.float32),
                scratch("keys", n, np.uint64),
                (size, item, value),
            )

        in_blocks(block, n, ITEMS_PER_BLOCK)
        return size, item, value

    def _divisors(self, by_item: Interests) -> tuple[Float32, Float32]:
        """(N,) each: what the item whose row it is, and its neighbour, bring to the divisor."""
        n = len(by_item.indptr) - 1
        if self.config.similarity == "count":
            return np.ones(n, np.float32), np.ones(n, np.float32)
        norm = _squares(by_item.indptr, by_item.value)
        liked = (norm**self.config.asymmetry).astype(np.float32)
        recalled = (norm ** (1 - self.config.asymmetry)).astype(np.float32)
        return (recalled, liked) if self.config.prune == "candidate" else (liked, recalled)


def _discounts(lengths: Int64, kind: str) -> Float32:
    """(users,) f of the users' numbers of items."""
    discount = {
        "log": 1 / np.log(2.0 + lengths),
        "sqrt": 1 / np.sqrt(np.maximum(lengths, 1)),
        "none": np.ones(len(lengths)),
    }[kind]
    return discount.astype(np.float32)


@njit(cache=True, nogil=True)
def _squares(indptr, value):
    """(N,) Σ_u r_ui²."""
    norm = np.zeros(len(indptr) - 1, np.float64)
    for i in range(len(norm)):
        for e in range(indptr[i], indptr[i + 1]):
            norm[i] += np.float64(value[e]) ** 2
    return norm


@njit(cache=True, nogil=True)
def _similar_block(begin, end, by_user, by_item, discount, divisor, shrinkage, total, keys, out):
    """Item by item: sums co-occurrences through the item's users, keeps the most similar."""
    user_at, user_item, user_value = by_user
    item_at, item_user, item_value = by_item
    own, other = divisor
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
        out[0][i] = keep_row(keys, m, out[1][i], out[2][i])
