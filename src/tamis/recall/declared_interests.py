"""Declared interests: what a newcomer ticked on the way in."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from tamis.cascade import FitContext, Queries, Recalled
from tamis.data import Dataset, Labels, codes_of, item_categories, spread
from tamis.recall._common.channel import BaseChannel
from tamis.recall._common.popularity import births, column_of, floored, log_worth, role_of
from tamis.recall._common.postings import Chosen, Postings, walk
from tamis.schema import ComponentConfig


class DeclaredInterestsConfig(ComponentConfig):
    """Options of the declared interests channel."""

    columns: tuple[str, ...] = ()
    """Items' columns whose words can be interests: category, brand, keywords; () = the category
    that [items] declares."""
    separator: str = ""
    """Splits text columns of several words; "" = as [items] declares for its category."""
    user_column: str = ""
    """Users' column of the interests declared at signup, for requests that name none; "" = none."""
    user_separator: str = "|"
    """Splits `user_column` where it is text."""
    half_life: Annotated[float, Field(gt=0)] = 30.0
    """Days after which an event, or an item's birth, counts half; inf = all count alike."""
    newborn: Annotated[float, Field(ge=0)] = 1.0
    """What being published counts, in events of weight 1."""


class DeclaredInterests(BaseChannel):
    """The best items of the categories (brands, keywords) that a user has declared.

    The interests are the request's (`interests`), else those of the users' `user_column`; words
    that no item has are passed over, capitals do not matter. Within an interest, items stand by
    time-decayed likes, birth counting as `newborn`, those without either last; each interest's best
    item scores 1, so that interests take turns however popular their items are. An item of several
    counts where it is best. Without interests: nothing.

    When to use: beside hot, for new users who answer a questionnaire.
    Cost: fit one sort of the items and their words; recall walks k items; memory 12 bytes an
    item and word.
    Source: preference elicitation at signup: Rashid et al. 2002, Getting to Know You: Learning New
    User Preferences in Recommender Systems.
    """

    name = "declared_interests"
    Config = DeclaredInterestsConfig
    config: DeclaredInterestsConfig
    reads = ("interests",)

    def _fit(self, data: Dataset, context: FitContext) -> dict[str, Any]:
        labels = Labels.of(self._words(data, context))
        born = births(self.name, data, context)
        worth = floored(log_worth(data, self.config.half_life, born, self.config.newborn))
        key, n = worth[labels.row], len(labels.names)
        top = np.full(n, -np.inf)
        np.maximum.at(top, labels.code, key)
        postings = Postings.of(labels.code, labels.row, key - top[labels.code], n)
        self._arrays = {**postings.arrays(), "names": labels.names, "born": born}
        self._arrays |= self._of_users(data, labels.names)
        return {}

    def _words(self, data: Dataset, context: FitContext) -> pl.Series:
        """(items,) lists of every item's words."""
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
        """Each user's own declared interests, as a CSR of list numbers."""
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
        chosen = Chosen.summed(once[0], once[1], np.ones(once.shape[1]), len(queries))
        postings = Postings.within(self._arrays)
        return walk(postings, chosen, queries, k, self._n_items, self._arrays["born"])

    def _interests(self, queries: Queries) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(query, list) pairs: the request's interests, else the user's own."""
        arrays, n = self._arrays, len(queries)
        said = ((),) * n if queries.context is None else queries.context.interests
        sizes = np.array([len(words) for words in said], np.int64)
        code = codes_of(arrays["names"], [word for words in said for word in words])
        query = np.repeat(np.arange(n), sizes)
        silent = np.flatnonzero((sizes == 0) & (queries.user >= 0))
        owner, own = spread(arrays["user_indptr"], arrays["user_interest"], queries.user[silent])
        named = code >= 0
        return (
            np.concatenate([query[named], silent[owner]]).astype(np.int64),
            np.concatenate([code[named], own]).astype(np.int64),
        )
