"""Values of events that give a task no label are reported, and impossible ones refused."""

import re

import numpy as np
import polars as pl
import pytest

from tamis.cascade import check_task_values
from tamis.data import Dataset, Events, Table
from tamis.schema import Behaviour, DataError, TaskConfig

NAN, INF = float("nan"), float("inf")
STARS = TaskConfig(name="stars", behaviour=("rate",), kind="multiclass", classes=(1, 3, 5))
WATCH = TaskConfig(name="watch", kind="watch_time")
DONE = TaskConfig(name="done", behaviour=("watch",), kind="completion")
PRICE = TaskConfig(name="price", behaviour=("rate",), kind="regression")


def log(watched=(), rated=()):
    """Events of user u on item i, one a second from 2024-01-01 on: watches, then ratings."""
    value = np.array([*watched, *rated], np.float32)
    n = len(value)
    time = 1_704_067_200_000 + 1000 * np.arange(n, dtype=np.int64)
    none, behaviour = np.zeros(n, np.int32), np.repeat([0, 1], [len(watched), len(rated)])
    events = Events(
        none, none, behaviour.astype(np.uint8), time, time,
        value, np.full(n, -1, np.int64), np.zeros(n, np.int16),
    )  # fmt: skip
    tables = [Table(name, pl.Series([name[0]]), pl.DataFrame()) for name in ("users", "items")]
    return Dataset(*tables, events, (Behaviour(name="watch"), Behaviour(name="rate")))


def test_values_that_tasks_can_learn_need_no_remark():
    data = log([0, 12.5], [1, 3, 5])
    assert check_task_values([STARS, WATCH, DONE, PRICE, TaskConfig(name="watch")], data) == []
    assert check_task_values([STARS, WATCH], log()) == []


@pytest.mark.parametrize(
    ("task", "data", "message"),
    [
        (WATCH, log([3, -5, -INF]), "'watch': 2 of the 3 values of `watch` are negative or "
         "infinite, such as -5 (user u, item i, 2024-01-01T00:00:01); correct or remove"),
        (DONE, log([1, INF]), "1 of the 2 values of `watch` are negative or infinite, such as inf"),
        (PRICE, log((), [INF, 1]), "1 of the 2 values of `rate` are infinite, such as inf"),
        (WATCH, log([NAN, NAN]), "none of these 2 events has a value; name its column in [events]"),
        (STARS, log((), [2, 4]), "2 of the 2 `rate` events have a value that is not among the "
         "classes 1, 3, 5, such as 2 (user u, item i, 2024-01-01T00:00:00); correct `classes`"),
    ],
)  # fmt: skip
def test_values_that_no_task_can_learn_are_named(task, data, message):
    with pytest.raises(DataError, match=re.escape(message)):
        check_task_values([task], data)


def test_events_that_give_no_label_are_reported():
    notes = check_task_values([STARS, WATCH], log([NAN, 4], [1, 2, NAN, 5]))
    assert notes == [
        "task 'stars': 1 of the 4 `rate` events have no value, so they give no label",
        "task 'stars': 1 of the 4 `rate` events have a value that is not among the classes 1, 3, "
        "5, such as 2 (user u, item i, 2024-01-01T00:00:03); they give no label",
        "task 'watch': 1 of the 2 `watch` events have no value, so they give no label",
    ]
