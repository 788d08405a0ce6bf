"""The lift of lists of users, by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import poisson

from tamis.service.lookalike_lift import MANY, UserItems, _interval, measured

USERS, ITEMS = 8, 3


def likes(pairs) -> UserItems:
    """(user, item, time) triples."""
    columns = np.array(pairs, np.int64).reshape(-1, 3).T
    user, item = (column.astype(np.int32) for column in columns[:2])
    return UserItems(user, item, columns[2], USERS, ITEMS)


def test_the_lift_of_two_items_by_hand():
    before = likes([(0, 0, 1), (1, 0, 2), (2, 1, 1)])
    held_out = likes([(3, 0, 9), (4, 0, 9), (1, 0, 9), (5, 1, 9), (2, 1, 9)])
    known = np.ones(USERS, np.bool_)
    known[7] = False
    found = np.array([[3, 6, 0], [5, 6, -1]], np.int32)
    lift = measured(found, np.array([0, 1], np.int32), before, held_out, known)
    # of item 0: 5 of the 7 users had not liked it, 2 of them did then; of item 1: 6, and 1
    assert lift.random_rate == pytest.approx((2 / 5 + 1 / 6) / 2)
    # user 0 had liked item 0; of the others, user 3 did, and of item 1 user 5
    assert lift.rate == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert lift.lift == pytest.approx(2 / (2 * 2 / 5 + 2 * 1 / 6))
    assert (lift.items, lift.users) == (2, 3)
    assert lift.low < lift.lift < lift.high


def test_seeds_are_not_among_the_users_who_could_be_found():
    before, held_out = likes([(0, 1, 1)]), likes([(0, 0, 9), (3, 0, 9)])
    known = np.ones(USERS, np.bool_)
    found, item = np.array([[3, 4]], np.int32), np.array([0], np.int32)
    lift = measured(found, item, before, held_out, known, np.array([0], np.int32))
    assert lift.random_rate == pytest.approx(1 / 7)
    assert lift.lift == pytest.approx(1 / (2 / 7))


@given(st.integers(0, 30))
def test_the_interval_of_few_items_is_that_of_a_poisson_count(count):
    low, high = _interval(np.array([float(count)]), np.array([2.0]))
    assert poisson.cdf(count, 2 * high) == pytest.approx(0.025)
    if count:
        assert poisson.sf(count - 1, 2 * low) == pytest.approx(0.025)
    else:
        assert low == 0


def test_random_lists_have_a_lift_of_one():
    random = np.random.default_rng(1)
    users, items, n = 400, 60, 50
    pairs = random.random((users, items)) < 0.05
    user, item = (x.astype(np.int32) for x in np.nonzero(pairs))
    held_out = UserItems(user, item, np.full(len(user), 9), users, items)
    nothing = UserItems(user[:0], item[:0], np.zeros(0, np.int64), users, items)
    found = np.stack([random.permutation(users)[:n] for _ in range(items)]).astype(np.int32)
    rows = np.arange(items, dtype=np.int32)
    lift = measured(found, rows, nothing, held_out, np.ones(users, np.bool_))
    assert items >= MANY
    assert lift.low < 1 < lift.high
    assert lift.high - lift.low < 0.8


def test_the_latest_users_of_an_item_come_last():
    pairs = likes([(3, 0, 5), (1, 0, 2), (3, 0, 1), (2, 1, 9), (0, 0, 3)])
    assert pairs.users_of(0).tolist() == [1, 0, 3]
    assert pairs.users_of(2).tolist() == []
    assert pairs.per_item().tolist() == [3, 1, 0]
    assert pairs.per_item(np.array([2, 3], np.int32)).tolist() == [1, 1, 0]
    assert pairs.since(3).per_item().tolist() == [2, 1, 0]
