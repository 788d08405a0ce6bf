"""Items that re-rank rules bring along: filtered, kept by pre-rank, ranked and explained."""

from dataclasses import dataclass

import numpy as np
import pytest

from tamis.cascade import Candidates, Guard, Queries
from tamis.cascade.insertion import with_all_inserted, with_inserted
from tamis.data import Ragged
from tamis.features import History


@dataclass
class Brings:
    """A rule with items of its own."""

    items: tuple[int, ...]

    def inserted(self, queries):
        return Ragged.of([np.array(self.items, np.int32)] * len(queries))


class Fails:
    def inserted(self, queries):
        raise OSError("the list is gone")


def asked(*excluded: list[int]) -> Queries:
    q = len(excluded)
    lists = Ragged.of([np.array(x, np.int32) for x in excluded])
    return Queries(np.zeros(q, np.int32), np.zeros(q, np.int64), History.empty(q), lists)


def recalled() -> Candidates:
    """Two queries: the items 5, 3 and 7; and 4."""
    return Candidates(
        np.array([0, 3, 4]),
        np.array([5, 3, 7, 4], np.int32),
        {
            "rank:a": np.array([1, 2, 3, 1], np.int32),
            "score:a": np.array([0.9, 0.8, 0.7, 0.6], np.float32),
            "recall": np.array([1, 2, 3, 1], np.int32),
        },
    )


def test_items_of_all_rules_are_added_once_unless_excluded() -> None:
    rules = {"pins": Brings((9, 3)), "ads": Brings((8,))}
    found = with_inserted(rules, asked([], [8]), recalled(), Guard())
    lists = [found.item[found.indptr[q] : found.indptr[q + 1]].tolist() for q in (0, 1)]
    assert lists == [[5, 3, 7, 8, 9], [4, 3, 9]]


def test_pre_rank_keeps_what_was_brought_along() -> None:
    found = with_inserted({"pins": Brings((7, 9))}, asked([], [9]), recalled(), Guard())
    assert [found.item[found.indptr[q] : found.indptr[q + 1]].tolist() for q in (0, 1)] == [
        [5, 3, 7, 9],
        [4, 7],
    ]
    assert found.columns["inserted"].tolist() == [False, False, True, True, False, True]
    assert found.columns["rank:a"].tolist() == [1, 2, 3, 0, 1, 0]
    assert np.isnan(found.columns["score:a"][[3, 5]]).all()
    assert found.columns["recall"].tolist() == [1, 2, 3, 4, 1, 2]
    best = np.array([0, 4])
    assert found.item[with_all_inserted(found, best)].tolist() == [5, 7, 9, 4, 7]


def test_nothing_changes_without_such_rules_or_where_they_fail() -> None:
    given, guard = recalled(), Guard(degrade=True)
    assert with_inserted({}, asked([], []), given, guard) is given
    assert with_inserted({"ads": Fails()}, asked([], []), given, guard) is given
    assert guard.notes == ["rerank:ads: OSError: the list is gone"]
    with pytest.raises(OSError, match="the list is gone"):
        with_inserted({"ads": Fails()}, asked([], []), given, Guard())
    assert with_all_inserted(given, np.array([1])).tolist() == [1]
