"""Protocols on a small log: training data, known data and targets of each."""

import numpy as np
import polars as pl
import pytest

from tamis.data import Dataset, Events, Table
from tamis.datasets import read_pairs
from tamis.schema import Behaviour, ConfigError, DataError
from tamis.splitting import by_time, carve, given, leave_one_out

DAY = 86_400_000


def dataset(rows, users=3, items=6, arrival=None):
    """rows: (user, item, day, behaviour 0 = like, 1 = click, 2 = shown), in order of time."""
    table = np.array(rows, np.int64).reshape(-1, 4)
    n = len(table)
    time = table[:, 2] * DAY
    events = Events(
        user=table[:, 0].astype(np.int32),
        item=table[:, 1].astype(np.int32),
        behaviour=table[:, 3].astype(np.uint8),
        time=time,
        arrival=time if arrival is None else np.array(arrival) * DAY,
        value=np.full(n, np.nan, np.float32),
        request=np.full(n, -1, np.int64),
        position=np.zeros(n, np.int16),
    )
    names = [Table(t, pl.Series("id", [f"{t}{r}" for r in range(k)]), pl.DataFrame())
             for t, k in (("users", users), ("items", items))]  # fmt: skip
    behaviours = (Behaviour(name="like", positive=True), Behaviour(name="click"),
                  Behaviour(name="shown", impression=True))  # fmt: skip
    return Dataset(*names, events, behaviours)


LOG = dataset(
    [
        (0, 0, 1, 0),
        (1, 3, 1, 0),
        (0, 1, 2, 0),
        (1, 4, 2, 0),
        (0, 5, 3, 1),  # a click between 0's likes
        (0, 2, 4, 0),
        (0, 3, 5, 0),
        (2, 0, 5, 0),
        (2, 1, 5, 0),
        (2, 2, 5, 0),  # 2's likes share one moment: the log's order counts
        (0, 4, 6, 1),  # a click after 0's last like
    ]
)


def pairs(data):
    return list(zip(data.events.user.tolist(), data.events.item.tolist(), strict=True))


def asked(holdout):
    return {int(u): holdout.targets[q].tolist() for q, u in enumerate(holdout.users)}


EARLY = [(0, 0), (1, 3), (0, 1), (1, 4), (0, 5), (2, 0)]
"""All before each user's last two likes; user 1 has only two likes, all of which stay."""


def test_strict_leave_one_out_does_not_train_on_the_validation_item():
    test = leave_one_out(LOG)
    assert pairs(test.train) == EARLY
    assert pairs(test.known) == [*EARLY[:5], (0, 2), (2, 0), (2, 1)]
    assert asked(test) == {0: [3], 2: [2]}
    assert test.time.tolist() == [5 * DAY, 5 * DAY]
    assert "strict" in test.protocol
    assert "2 of 3 users" in test.protocol


def test_the_validation_item_is_the_target_of_the_events_before_it():
    valid = leave_one_out(LOG, "valid")
    assert pairs(valid.train) == pairs(valid.known) == EARLY
    assert asked(valid) == {0: [2], 2: [1]}
    assert valid.time.tolist() == [4 * DAY, 5 * DAY]


def test_a_refit_learns_the_validation_item():
    refit = leave_one_out(LOG, refit=True)
    assert pairs(refit.train) == pairs(refit.known) == pairs(leave_one_out(LOG).known)
    assert asked(refit) == {0: [3], 2: [2]}
    assert refit.protocol != leave_one_out(LOG).protocol


def test_impossible_leave_one_out_splits_are_errors():
    with pytest.raises(ConfigError, match="refit=True needs stage='test'"):
        leave_one_out(LOG, "valid", refit=True)
    with pytest.raises(DataError, match="no user of 3 has 3 positive events"):
        leave_one_out(dataset([(0, 0, 1, 0), (0, 1, 2, 0), (0, 2, 3, 1)]))


def test_given_files_are_evaluated_at_the_end_of_train(tmp_path):
    (tmp_path / "a").write_text("0 5 3\n1 4\n")
    (tmp_path / "b").write_text("1 5 3 5\n")
    train, test = read_pairs(tmp_path / "a", tmp_path / "b")
    holdout = given(train, test)
    assert asked(holdout) == {1: [0, 2]}
    assert holdout.train is holdout.known is train
    assert holdout.time.tolist() == [1]
    with pytest.raises(DataError, match=r"different users \(2 and 3\)"):
        given(train, LOG)
    with pytest.raises(DataError, match="no positive event is held out"):
        given(LOG, dataset([(0, 0, 1, 1)]))


def test_carving_takes_a_share_of_every_user():
    rows = [(u, i, u * 20 + i, 0) for u, n in enumerate((10, 3, 1)) for i in range(n)]
    data = dataset([*rows, (0, 0, 70, 0)], items=10)  # a repeat goes with its pair
    held = carve(data, 0.2, seed=1)
    assert {u: len(t) for u, t in asked(held).items()} == {0: 2, 1: 1}
    left, wanted = set(pairs(held.train)), {(u, i) for u, t in asked(held).items() for i in t}
    assert not left & wanted
    assert left | wanted == set(pairs(data))
    assert asked(carve(data, 0.2, seed=1)) == asked(held)
    assert any(asked(carve(data, 0.2, seed=s)) != asked(held) for s in range(2, 8))
    with pytest.raises(ConfigError, match=r"share = 1\.5"):
        carve(data, 1.5)


def test_the_targets_of_a_time_split_are_later_events():
    split = by_time(LOG, 0.5)  # the event of place 5: day 4
    assert pairs(split.train) == EARLY[:5]
    assert asked(split) == {0: [2, 3]}  # user 2 has no past; a click is no target
    assert split.time.tolist() == [4 * DAY]
    assert asked(by_time(LOG, 0.5, new_users=True)) == {0: [2, 3], 2: [0, 1, 2]}
    assert asked(by_time(LOG, 0.5, first=1)) == {0: [2]}


def test_a_time_split_leaves_out_seen_items_unless_repeats_are_wanted():
    rows = [(0, 0, 1, 0), (0, 1, 2, 2), (0, 0, 5, 0), (0, 1, 5, 0), (0, 2, 6, 0)]
    data = dataset(rows)
    assert asked(by_time(data, 0.5)) == {0: [1, 2]}  # 1 was merely shown before
    assert asked(by_time(data, 0.5, repeats=True)) == {0: [0, 1, 2]}
    again = dataset([(0, 0, 1, 0), (0, 1, 1, 0), (0, 0, 5, 0), (0, 1, 6, 0)])
    assert asked(by_time(again, 0.5, repeats=True)) == {0: [0, 1]}
    with pytest.raises(DataError, match=r"on an item that its user has not seen.*--keep-seen"):
        by_time(again, 0.5)
    with pytest.raises(DataError, match="they have the same time"):
        by_time(dataset([(0, 0, 1, 0), (0, 1, 1, 0)]), 0.5)


def test_late_arrivals_are_neither_training_data_nor_targets():
    rows = [(0, 0, 1, 0), (0, 1, 2, 0), (0, 2, 3, 0), (0, 3, 4, 0)]
    split = by_time(dataset(rows, arrival=[1, 9, 3, 4]), 0.5)
    assert pairs(split.train) == [(0, 0)]
    assert asked(split) == {0: [2, 3]}


def test_a_sample_keeps_all_targets_of_a_query():
    rows = [(u, i, u + i, 0) for i in range(5) for u in range(20)]
    whole = leave_one_out(dataset(sorted(rows, key=lambda r: r[2]), users=20))
    few = whole.sample(7, seed=3)
    assert len(few) == len(few.targets) == 7
    assert asked(few).items() <= asked(whole).items()
    assert "7 of them drawn at random (seed 3)" in few.protocol
    assert whole.sample(20) is whole
