"""What re-rank changes: slates before and after it, and the share in which a rule is broken."""

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from tamis.cascade import Candidates, Queries
from tamis.data import Dataset, Events, Ragged, Table
from tamis.features import History
from tamis.jobs._rerank_effect import RerankEffect, cold_share, new_share
from tamis.rerank import AtMost

CATEGORIES = ["a", "a", "a", "b"]


def catalogue(**columns) -> Dataset:
    """Items with these columns, and no events."""
    frame = pl.DataFrame(columns)
    ids = pl.Series([f"i{k}" for k in range(len(frame))], dtype=pl.String)
    kinds = ("i4", "i4", "u1", "i8", "i8", "f4", "i8", "i2")
    events = Events(*(np.zeros(0, kind) for kind in kinds))
    users = Table("users", ids[:0], pl.DataFrame())
    return Dataset(users, Table("items", ids, frame), events, ())


def test_by_hand() -> None:
    """Two lists: a a b, which the rule arranges as a b a; and a a a, in which it is broken."""
    rule = AtMost(limit=1, window=2).fit(catalogue(category=CATEGORIES))
    effect = RerankEffect(SimpleNamespace(rerank={"few": rule}), 3)
    item = np.array([0, 1, 3, 0, 1, 2], np.int32)
    value = np.array([3, 2, 1, 3, 2, 1], np.float32)
    ranked = Candidates(np.array([0, 3, 6]), item, {"value": value})
    none = np.zeros(2, np.int32)
    queries = Queries(none, none.astype(np.int64), History.empty(2), Ragged.empty(2))
    effect.add(SimpleNamespace(queries=queries, ranked=ranked))
    third = {"third": lambda slates: float(slates[:, 2].sum())}
    assert effect.result(third) == {
        "rerank": {"before": {"third": 5.0}, "after": {"third": 3.0}, "broken_rules": {"few": 0.5}}
    }


def test_without_rules_there_is_nothing_to_say() -> None:
    effect = RerankEffect(SimpleNamespace(rerank={}), 3)
    effect.add(SimpleNamespace())
    assert effect.result({}) == {}


def test_the_share_of_cold_items_counts_places() -> None:
    slates = np.array([[0, 1, 2], [2, 3, -1]], np.int32)
    assert cold_share(slates, np.array([5, 0, 1, 0])) == pytest.approx(2 / 5)


def test_the_exposure_of_new_items_counts_early_places_more() -> None:
    slates = np.array([[0, 1, 2], [2, 3, -1]], np.int32)
    new = np.array([False, True, False, True])
    assert new_share(slates, new) == pytest.approx(2 / 5)
    second, third = 1 / np.log2(3), 1 / np.log2(4)
    expected = 2 * second / (2 + 2 * second + third)
    assert new_share(slates, new, seen=True) == pytest.approx(expected)
    assert np.isnan(new_share(slates[:, :0], new))
