"""Checks of the gate on figures written by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tamis.cascade import Candidates
from tamis.data import Ragged
from tamis.evaluate import Interval, ndcg
from tamis.jobs._gate import quality_checks
from tamis.jobs._judge import (
    SlateComparison,
    TaskComparison,
    VersionComparison,
    _compared,
    auc_error,
    condensed,
    random_ndcg,
)
from tamis.schema import GateConfig, TaskConfig


def compared(rarer: float) -> VersionComparison:
    """A version whose AUC is 0 on 44 rows, where the serving version has .9."""
    task = TaskComparison(
        rows=44,
        positives=rarer,
        auc=0.0,
        auc_error=0.1,
        serving_auc=0.9,
        calibration=None,
        serving_calibration=None,
        rarer=rarer,
    )
    return VersionComparison(None, {"cart": task})


def test_an_auc_of_a_handful_of_rows_is_not_judged() -> None:
    (check,) = quality_checks(GateConfig(), compared(9), {"cart": 0.9})
    assert check.passed
    assert check.text == (
        "AUC of cart is not judged: 9 of 44 rows are of the rarer class, and it takes 10"
    )
    beside, since = quality_checks(GateConfig(), compared(10), {"cart": 0.9})
    assert not beside.passed
    assert not since.passed


def test_the_error_of_an_auc_is_the_larger_one_of_both_versions() -> None:
    """An AUC of 1 or 0 has no error of its own, whatever the number of rows."""
    label = np.array([1.0] * 12 + [0.0] * 12, np.float32)
    ours, theirs = 1 - label, np.tile(np.array([0.2, 0.8], np.float32), 12)
    found = _compared(TaskConfig(name="cart", behaviour=("cart",)), label, ours, theirs)
    assert (found.auc, found.serving_auc, found.rarer) == (0.0, 0.5, 12)
    assert auc_error(0.0, 12, 12) == 0
    assert found.auc_error == pytest.approx(auc_error(0.5, 12, 12))
    assert found.auc_error > 0.1


def test_ranked_candidates_are_reduced_to_what_their_user_was_shown() -> None:
    # Queries 1 and 2 of three: their users were shown 4 and 9, 2 and 9. An item that
    # the catalogue lacks (-1) is never among them: its key would be that of the query before.
    shown = Ragged.of([np.array([9], np.int32), np.array([4, 9]), np.array([2, 9])])
    ranked = Candidates(np.array([0, 4, 7]), np.array([7, 9, -1, 4, -1, 9, 4], np.int32), {})
    found = condensed(ranked, shown, first=1)
    assert found.matrix(3).tolist() == [[9, 4, -1], [9, -1, -1]]


def slates(new: float, serving: float, random: float = 0.0, half: float = 0.01) -> SlateComparison:
    """NDCGs whose difference has an interval of ± `half`, of 500 users."""
    gap = new - serving
    return SlateComparison(new, serving, Interval(gap, gap - half, gap + half), 500, random)


@pytest.mark.parametrize(
    ("whole", "shown", "failing"),
    [
        (slates(0.38, 0.54), slates(0.56, 0.58, 0.45), set()),  # another choice of items
        (slates(0.54, 0.54), slates(0.53, 0.58, 0.45), {"NDCG@10 of what was shown"}),
        (
            slates(0.02, 0.54),
            slates(0.58, 0.58, 0.45),
            {"NDCG@10 of the slates"},
        ),  # others above what was shown
        (slates(0.45, 0.54), None, {"NDCG@10 of the slates"}),
        (slates(0.45, 0.54, half=0.1), None, set()),
        # A serving version without an order of its own: a tenth of its NDCG is what it can lose.
        (slates(0.5, 0.5), slates(0.49, 0.50, 0.50, half=0.001), set()),
        (slates(0.5, 0.5), slates(0.48, 0.50, 0.50), {"NDCG@10 of what was shown"}),
    ],
)
def test_slates_and_the_order_of_what_was_shown_are_judged_apart(
    whole: SlateComparison, shown: SlateComparison | None, failing: set[str]
) -> None:
    checks = quality_checks(GateConfig(), VersionComparison(whole, shown=shown), {})
    assert {check.name for check in checks if not check.passed} == failing


def test_the_ndcg_of_a_random_order_is_the_mean_over_all_orders() -> None:
    lists = Candidates(np.array([0, 3, 3]), np.array([5, 6, 7], np.int32), {})
    positives = Ragged.of([np.array([6, 9], np.int32), np.array([1], np.int32)])
    every = np.array(list(itertools.permutations([5, 6, 7])), np.int32)
    same = Ragged.of([positives[0]] * len(every))
    mean = ndcg(every, same, 2).mean()
    np.testing.assert_allclose(random_ndcg(lists, positives, 2), [mean, 0.0])
