"""Declared interests: the best items of the categories that a user chose at signup."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from tamis.cascade import FitContext, Queries, Recalled
from tamis.data import Dataset, Labels, codes_of, item_categories, spread
from tamis.recall._common.channel import BaseChannel
from tamis.recall._common.item_columns import column_of, publication_times, role_of
from tamis.recall._common.popularity import log_popularity, missing_last
from tamis.recall._common.postings import ListSelection, Postings, best_of_lists
from tamis.schema import ComponentConfig, Conditions, Needs


class DeclaredInterestsConfig(ComponentConfig):
    """Options of the declared interests channel."""

    only_with: ClassVar[Conditions] = {"user_separator": (Needs("user_column", none_of=("",)),)}

    columns: tuple[str, ...] = ()
    """Columns of the items whose values can be interests: category, brand, keywords. Empty: the
    category that [items] declares."""
    separator: str = ""
    """Separator of text columns with several values. Empty: the one that [items] declares for its
    category."""
    user_column: str = ""
    """Users' column of the interests declared at signup, for requests without any. Empty: none."""
    user_separator: str = "|"
    """Separator of `user_column` if it is a text column."""
    half_life: Annotated[float, Field(gt=0)] = 30.0
    """Days after which an event, or an item's publication, counts half; inf: all count the same."""
    new_item_weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight of an item's publication, in events of weight 1; 0: publication does not count."""


class DeclaredInterests(BaseChannel):
    """The best items of the categories (brands, keywords) that a user has declared.

    `score(i) = p(i) / max_j p(j)` over the items j of the interest, with
    `p(i) = new_item_weight · 2^(-age / half_life) + Σ r · 2^(-(end - t) / half_life)` as in `city`;
    items without events and publication time rank last. The best item of each interest scores 1, so
    no interest dominates because its items are more popular; an item of several interests counts
    once, with its largest score. The interests are those of the request (`interests`), else those
    in the users' `user_column`; values that no item has are ignored, upper and lower case are not
    distinguished. Without interests, nothing is returned.

    When to use: together with hot, for new users who answer a questionnaire.
    Cost: fit: one sort of the items and their values. Recall: reads about k items. Memory: 12 bytes
    per item and value.
    Source: preference elicitation at signup: Rashid et al. 2002, Getting to Know You: Learning New
    User Preferences in Recommender Systems.
    """

    name = "declared_interests"
    Config = DeclaredInterestsConfig
    config: DeclaredInterestsConfig
    reads = ("interests",)

    def _fit(self, data: Dataset, context: FitContext) -> dict[str, Any]:
        labels = Labels.of(self._words(data, context))
        published = publication_times(self.name, data, context)
        popularity = missing_last(
            log_popularity(data, self.config.half_life, published, self.config.new_item_weight)
        )
        key, n = popularity[labels.row], len(labels.names)
        top = np.full(n, -np.inf)
        np.maximum.at(top, labels.code, key)
        postings = Postings.of(labels.code, labels.row, key - top[labels.code], n)
        self._arrays = {**postings.arrays(), "names": labels.names, "published": published}
        self._arrays |= self._of_users(data, labels.names)
        return {}

    def _words(self, data: Dataset, context: FitContext) -> pl.Series:
        """(items,) list column: every item's values of `columns`."""
        declared = context.items
        columns = self.config.columns or (
            role_of(
                self.name,
                declared,
                "category",
                "",
                'declare [items] category = "COLUMN", or set the channel\'s `columns`',
            ),
        )
        lists: list[pl.Series] = []
        for number, name in enumerate(columns):
            column_of(self.name, data.items, name)
            split = self.config.separator
            if not split and declared is not None and name == declared.category:
                split = declared.category_separator or ""
            lists.append(item_categories(data.items, name, split or None).alias(str(number)))
        return pl.DataFrame(lists).select(pl.concat_list(pl.all()).alias("words"))["words"]

    def _of_users(self, data: Dataset, names: NDArray[np.str_]) -> dict[str, NDArray[Any]]:
        """Each user's declared interests as a CSR of posting list numbers."""
        name = self.config.user_column
        if not name:
            empty = np.zeros(len(data.users) + 1, np.int64)
            return {"user_indptr": empty, "user_interest": np.zeros(0, np.int32)}
        column_of(self.name, data.users, name)
        theirs = Labels.of(item_categories(data.users, name, self.config.user_separator))
        number = codes_of(names, theirs.names.tolist())[theirs.code]
        known = number >= 0
        counts = np.bincount(theirs.row[known], minlength=len(data.users))
        return {
            "user_indptr": np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            "user_interest": number[known],
        }

    def _recall(self, queries: Queries, k: int) -> Recalled:
        query, interest = self._interests(queries)
        once = np.unique(np.stack([query, interest]), axis=1)
        chosen = ListSelection.summed(once[0], once[1], np.ones(once.shape[1]), len(queries))
        postings = Postings.within(self._arrays)
        return best_of_lists(postings, chosen, queries, k, self._n_items, self._arrays["published"])

    def _interests(self, queries: Queries) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(query, list) pairs (n,): the request's interests, else the user's own."""
        arrays, n = self._arrays, len(queries)
        given = ((),) * n if queries.context is None else queries.context.interests
        sizes = np.array([len(words) for words in given], np.int64)
        code = codes_of(arrays["names"], [word for words in given for word in words])
        query = np.repeat(np.arange(n), sizes)
        without = np.flatnonzero((sizes == 0) & (queries.user >= 0))
        owner, own = spread(arrays["user_indptr"], arrays["user_interest"], queries.user[without])
        named = code >= 0
        return (
            np.concatenate([query[named], without[owner]]).astype(np.int64),
            np.concatenate([code[named], own]).astype(np.int64),
        )
