"""Exposure: nothing shown is missed, the error stays under its target, old months drop out."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.schema import ConfigError, VersionError
from tamis.stores import BloomMonths, BloomShape, month_of

JULY = 12 * 2026 + 6


def ask(filters, user, items, month):
    items = np.asarray(items, np.int32)
    lists = np.array([0, len(items)], np.int64)
    return filters.check(np.array([user]), lists, items, np.array([month]))


def add(filters, user, items, month):
    items = np.asarray(items, np.int32)
    filters.add(np.full(len(items), user), items, np.full(len(items), month, np.int64))


@pytest.mark.parametrize(
    ("per_month", "months", "target"),
    [(1, 1, 0.5), (16, 2, 0.01), (1000, 2, 0.01), (1000, 2, 0.001), (300, 12, 0.05), (7, 3, 1e-6)],
)
def test_the_shape_is_the_smallest_that_keeps_the_target(per_month, months, target):
    shape = BloomShape.of(per_month, months, target)
    m, k, n = shape.bits, shape.hashes, per_month
    each = (1 - math.exp(-k * n / m)) ** k
    assert 1 - (1 - each) ** months <= target
    assert shape.error(per_month) == pytest.approx(1 - (1 - each) ** months)
    smaller = m - 64
    best = min(((1 - math.exp(-j * n / smaller)) ** j for j in range(1, 60)) if smaller else [1.0])
    assert 1 - (1 - best) ** months > target


def test_bits_per_item_equal_the_textbook_formula():
    """1 % takes 9.59 bits an item and 7 hashes (Broder and Mitzenmacher 2004)."""
    shape = BloomShape.of(100_000, 1, 0.01)
    assert shape.bits / 100_000 == pytest.approx(9.59, abs=0.02)
    assert shape.hashes == 7


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 10**6), st.integers(0, 4)), max_size=200),
    st.integers(1, 4),
)
def test_no_false_negatives(shown, months):
    """Whatever is added in the order of its months, however much over the planned number."""
    filters = BloomMonths.create(BloomShape.of(16, months, 0.1), users=4)
    for user, item, month in sorted(shown, key=lambda event: event[2]):
        add(filters, user, [item], JULY + month)
    for user, item, month in shown:
        latest = max(m for u, _, m in shown if u == user)
        for now in range(latest, month + months):
            assert ask(filters, user, [item], JULY + now).all()


def test_the_measured_error_is_below_its_target():
    users, n = 40, 500
    shape = BloomShape.of(n, 2, 0.01)
    filters = BloomMonths.create(shape, users)
    random = np.random.default_rng(1)
    shown = random.permutation(10**6)[: 2 * n].reshape(2, n)
    for month in (0, 1):
        for user in range(users):
            add(filters, user, shown[month], JULY + month)
    assert filters.shown(7, JULY) >= n * (1 - 2 * shape.target)  # false hits are not counted
    strange = np.arange(10**6, 10**6 + 5000)
    wrong = np.concatenate([ask(filters, user, strange, JULY + 1) for user in range(users)])
    noise = 5 * math.sqrt(0.01 * 0.99 / len(wrong))
    assert wrong.mean() < 0.01 + noise
    assert wrong.mean() > 0.005  # no bits are wasted either
    one = np.concatenate([ask(filters, user, strange, JULY + 2) for user in range(users)])
    assert one.mean() == pytest.approx(0.005, abs=0.0015)


def test_false_positives_differ_between_users():
    filters = BloomMonths.create(BloomShape.of(50, 1, 0.2), 2)
    for user in (0, 1):
        add(filters, user, range(50), JULY)
    strange = np.arange(1000, 6000)
    hits = [ask(filters, user, strange, JULY) for user in (0, 1)]
    assert (hits[0] & hits[1]).mean() < 0.08  # 0.2 · 0.2, not 0.2


def test_months_drop_out():
    filters = BloomMonths.create(BloomShape.of(20, 2, 0.001), 1)
    add(filters, 0, [1], JULY)
    assert ask(filters, 0, [1, 2], JULY).tolist() == [True, False]
    assert ask(filters, 0, [1], JULY + 1).all()
    assert not ask(filters, 0, [1], JULY + 2).any()
    assert not ask(filters, 0, [1], JULY - 1).any()  # not known yet
    add(filters, 0, [5], JULY + 2)  # takes the slot of July
    add(filters, 0, [6], JULY)  # too late for it
    assert ask(filters, 0, [1, 5, 6], JULY + 2).tolist() == [False, True, False]
    assert filters.shown(0, JULY) == 0
    assert filters.shown(0, JULY + 2) == 1


def test_unknown_users_and_items_are_ignored():
    filters = BloomMonths.create(BloomShape.of(20), 2)
    filters.add(np.array([-1, 5, 0]), np.array([1, 1, -1]), np.array([JULY] * 3))
    lists = np.array([0, 1, 2, 3], np.int64)
    months = np.full(3, JULY)
    answer = filters.check(np.array([-1, 5, 0]), lists, np.array([1, 1, 1], np.int32), months)
    assert not answer.any()


@pytest.mark.parametrize("mapped", [True, False])
def test_saved_filters_are_equal(tmp_path, mapped):
    shape = BloomShape.of(30, 3, 0.02)
    filters = BloomMonths.create(shape, 5, tmp_path / "live" if mapped else None)
    add(filters, 4, range(10), JULY)
    if mapped:
        filters.flush()
        folder = tmp_path / "live"
    else:
        folder = tmp_path / "copy"
        filters.save(folder)
    again = BloomMonths.open(folder)
    assert again.shape == shape
    assert (len(again), again.nbytes) == (5, 5 * shape.row_bytes)
    assert ask(again, 4, range(10), JULY).all()
    with pytest.raises(ConfigError, match="open for reading"):
        add(again, 4, [11], JULY)
    live = BloomMonths.open(folder, writable=True)
    add(live, 4, [11], JULY)
    live.flush()
    assert ask(BloomMonths.open(folder), 4, [11], JULY).all()


def test_zero_users_are_legal(tmp_path):
    BloomMonths.create(BloomShape.of(3), 0, tmp_path)
    assert len(BloomMonths.open(tmp_path)) == 0


def test_impossible_shapes_and_files_are_errors(tmp_path):
    with pytest.raises(ConfigError, match="per_month = 0"):
        BloomShape.of(0)
    with pytest.raises(ConfigError, match="months = 65: at most 64"):
        BloomShape.of(5, 65)
    with pytest.raises(ConfigError, match="target = 1"):
        BloomShape.of(5, target=1)
    with pytest.raises(VersionError, match="does not hold a complete exposure filter"):
        BloomMonths.open(tmp_path / "nothing")
    BloomMonths.create(BloomShape.of(5), 2, tmp_path)
    np.save(tmp_path / "exposure.npy", np.zeros((1, 2, 3), np.uint64))
    with pytest.raises(VersionError, match=r"the array is \(1, 2, 3\)"):
        BloomMonths.open(tmp_path)


def test_months_are_calendar_months():
    times = np.array(["2026-07-31T23:59", "2026-08-01T00:00", "1969-12-31"], "datetime64[ms]")
    assert month_of(times.astype(np.int64)).tolist() == [JULY, JULY + 1, 12 * 1970 - 1]
