"""Declared interests: the best items of the categories that a user chose at signup."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from tamis.cascade import FitContext, Queries, Recalled
from tamis.data import Dataset, Labels, Ragged, Table, codes_of, item_categories, spread, with_names
from tamis.recall._common.following import FollowingChannel
from tamis.recall._common.item_columns import (
    column_of,
    publication_column,
    publication_of,
    role_of,
)
from tamis.recall._common.item_popularity import ItemPopularity
from tamis.recall._common.postings import ListSelection, Postings, best_of_lists
from tamis.runtime import Int32
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


class DeclaredInterests(FollowingChannel):
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
        c = self.config
        reading = {
            "columns": self._columns(context),
            "published": publication_column(context),
        }
        theirs = self._of_signup(data.users)
        labels, _ = self._labels(data.items, reading).among(theirs.names)
        published = publication_of(self.name, data.items, reading["published"])
        popularity = ItemPopularity.fit(data, published, c.half_life, c.new_item_weight)
        key, n = popularity.keys()[labels.row], len(labels.names)
        self._arrays = {
            **Postings.of(labels.code, labels.row, key, n).arrays(),
            **popularity.arrays(),
            "names": labels.names,
            "user_indptr": theirs.indptr,
            "user_interest": codes_of(labels.names, theirs.names.tolist())[theirs.code],
        }
        return {"reading": reading, **popularity.facts()}

    def _columns(self, context: FitContext) -> list[tuple[str, str]]:
        """The items' columns, and the separator of each one's values; empty: none."""
        declared = context.items
        how_to_fix = 'declare [items] category = "COLUMN", or set the channel\'s `columns`'
        columns = self.config.columns or (role_of(self.name, declared, "category", "", how_to_fix),)
        own = None if declared is None else (declared.category, declared.category_separator or "")
        return [
            (name, self.config.separator or (own[1] if own and name == own[0] else ""))
            for name in columns
        ]

    def _labels(self, items: Table, reading: dict[str, Any]) -> Labels:
        """The interests that each item belongs to."""
        lists: list[pl.Series] = []
        for number, (name, split) in enumerate(reading["columns"]):
            column_of(self.name, items, name)
            lists.append(item_categories(items, name, split or None).alias(str(number)))
        return Labels.of(pl.DataFrame(lists).select(pl.concat_list(pl.all()).alias("w"))["w"])

    def _of_signup(self, users: Table) -> Labels:
        """The interests of users in `user_column`."""
        name = self.config.user_column
        if not name:
            return Labels.of(pl.Series([[]] * len(users), dtype=pl.List(pl.String)))
        column_of(self.name, users, name)
        return Labels.of(item_categories(users, name, self.config.user_separator))

    def _of_items(self, items: Table, rows: Int32) -> dict[str, NDArray[Any]] | None:
        reading, c = self._reading, self.config
        if reading is None:
            return None
        part = items.part(rows)
        popularity = ItemPopularity.within(
            self._arrays, self._facts or {}, c.half_life, c.new_item_weight
        )
        published = publication_of(self.name, part, reading["published"])
        popularity = popularity.replaced(rows, published, len(items))
        labels = self._labels(part, reading)
        arrays = self._with_names(labels.names)
        code = codes_of(arrays["names"], labels.names.tolist())[labels.code]
        row = rows[labels.row]
        lists = Postings.within(arrays).replaced(rows, code, row, popularity.keys(row))
        return arrays | lists.arrays() | popularity.arrays()

    def _of_users(self, users: Table, rows: Int32) -> dict[str, NDArray[Any]] | None:
        if self._reading is None:
            return None
        theirs = self._of_signup(users.part(rows))
        arrays = self._with_names(theirs.names)
        code = codes_of(arrays["names"], theirs.names.tolist())[theirs.code]
        before = Ragged(arrays["user_indptr"], arrays["user_interest"])
        after = before.replaced(rows, Ragged(theirs.indptr, code), len(users))
        return arrays | {"user_indptr": after.indptr, "user_interest": after.values}

    def _with_names(self, names: NDArray[np.str_]) -> dict[str, NDArray[Any]]:
        """The arrays that number the interests, with further ones `names` (m,)."""
        arrays = self._arrays
        every, number = with_names(arrays["names"], names)
        if len(every) == len(number):
            kept = (*Postings.names(), "names", "user_indptr", "user_interest")
            return {name: arrays[name] for name in kept}
        lists = Postings.within(arrays).renumbered(number, len(every))
        users = {
            "user_indptr": arrays["user_indptr"],
            "user_interest": number[arrays["user_interest"]],
        }
        return {**lists.arrays(), **users, "names": every}

    def _recall(self, queries: Queries, k: int) -> Recalled:
        query, interest = self._interests(queries)
        once = np.unique(np.stack([query, interest]), axis=1)
        chosen = ListSelection.summed(once[0], once[1], np.ones(once.shape[1]), len(queries))
        postings = Postings.within(self._arrays)
        chosen = ListSelection(chosen.indptr, chosen.lists, -postings.best(chosen.lists))
        return best_of_lists(postings, chosen, queries, k, self._n_items, self._arrays["published"])

    def _interests(self, queries: Queries) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(query, list) pairs (n,): the request's interests, else the user's own."""
        arrays, n = self._arrays, len(queries)
        given = ((),) * n if queries.context is None else queries.context.interests
        sizes = np.array([len(words) for words in given], np.int64)
        code = codes_of(arrays["names"], [word for words in given for word in words])
        query = np.repeat(np.arange(n), sizes)
        known = (queries.user >= 0) & (queries.user < len(arrays["user_indptr"]) - 1)
        without = np.flatnonzero((sizes == 0) & known)
        owner, own = spread(arrays["user_indptr"], arrays["user_interest"], queries.user[without])
        named = code >= 0
        return (
            np.concatenate([query[named], without[owner]]).astype(np.int64),
            np.concatenate([code[named], own]).astype(np.int64),
        )
