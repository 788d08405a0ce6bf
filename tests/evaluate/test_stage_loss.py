"""Stage loss: each case by hand, and the sum."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.data import Ragged
from tamis.evaluate import STAGES, StageRecord, lost_at, stage_loss


def ragged(*lists) -> Ragged:
    return Ragged.of([np.array(sorted(x), np.int32) for x in lists])


RECORD = StageRecord(
    recalled=ragged([1, 2, 3, 4, 5, 6], [9]),
    filtered=ragged([1, 3, 4, 5, 6], [9]),
    preranked=ragged([1, 4, 5, 6], [9]),
    ranked=ragged([1, 5], []),
    slate=ragged([1, 6], []),
)


@pytest.mark.parametrize(
    ("item", "stage"),
    [
        (0, "not_recalled"),
        (2, "filtered"),
        (3, "prerank_cut"),
        (4, "rank_cut"),
        (5, "rerank_displaced"),
        (1, "shown"),
        (6, "shown"),  # ranked below the slate, lifted into it by re-rank
    ],
)
def test_each_stage(item, stage) -> None:
    assert STAGES[lost_at(ragged([item], []), RECORD)[0]] == stage


def test_queries_do_not_mix() -> None:
    """Item 1 is shown to the first query and was never recalled for the second."""
    shares = stage_loss(ragged([1, 0], [1, 9]), RECORD)
    assert shares == {
        "not_recalled": 0.5,
        "filtered": 0.0,
        "prerank_cut": 0.0,
        "rank_cut": 0.25,
        "rerank_displaced": 0.0,
        "shown": 0.25,
    }


def test_positives_excluded_before_recall_count_as_filtered() -> None:
    fields = {**vars(RECORD), "excluded": ragged([0], [])}
    assert STAGES[lost_at(ragged([0], []), StageRecord(**fields))[0]] == "filtered"


SETS = st.sets(st.integers(0, 7))


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(SETS, SETS, SETS, SETS, SETS, SETS), min_size=1, max_size=4))
def test_shares_equal_the_naive_version_and_sum_to_one(rows) -> None:
    """Whatever the lists are, nested or not."""
    positives, *lists = (ragged(*column) for column in zip(*rows, strict=True))
    record = StageRecord(*lists)
    expected = dict.fromkeys(STAGES, 0)
    for wanted, recalled, filtered, preranked, ranked, slate in rows:
        for item in wanted:
            stages = (
                (item in slate, "shown"),
                (item not in recalled, "not_recalled"),
                (item not in filtered, "filtered"),
                (item not in preranked, "prerank_cut"),
                (item not in ranked, "rank_cut"),
                (True, "rerank_displaced"),
            )
            expected[next(name for here, name in stages if here)] += 1
    shares = stage_loss(positives, record)
    total = sum(expected.values())
    if total:
        assert sum(shares.values()) == pytest.approx(1)
        assert shares == pytest.approx({name: n / total for name, n in expected.items()})
    else:
        assert all(np.isnan(share) for share in shares.values())
