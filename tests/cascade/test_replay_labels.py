"""Labels of every kind of task from a log, by hand: conditions, values, shares, classes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from tamis.cascade import raw_numbers
from tamis.cascade.replay import impression_window
from tamis.cascade.replay_labels import task_labels, task_weights
from tamis.data import Dataset, Events, Table
from tamis.features import Histories
from tamis.schema import Behaviour, ConfigError, ProjectConfig, TaskConfig

NAN = float("nan")
NAMES = ("impression", "click", "like", "cart", "purchase", "watch", "rate")
SHOWN, CLICK, LIKE, CART, PURCHASE, WATCH, RATE = range(7)
BEHAVIOURS = tuple(Behaviour(name=n, impression=n == "impression") for n in NAMES)
LENGTH = [100.0, 0.0, None, 50.0]


def dataset(*rows: tuple[int, int, float]) -> Dataset:
    """Events of user 0 on an item (its number), behaviour and value, one a millisecond."""
    item, behaviour, value = (np.array(c) for c in zip(*rows, strict=True))
    n = len(rows)
    time = np.arange(n, dtype=np.int64) + 100
    events = Events(
        np.zeros(n, np.int32), item.astype(np.int32), behaviour.astype(np.uint8), time, time,
        value.astype(np.float32), np.full(n, -1, np.int64), np.zeros(n, np.int16),
    )  # fmt: skip
    items = Table("items", pl.Series(["a", "b", "c", "d"]), pl.DataFrame({"length": LENGTH}))
    return Dataset(Table("users", pl.Series(["u"]), pl.DataFrame()), items, events, BEHAVIOURS)


def labels(tasks: list[TaskConfig], *rows: tuple[int, int, float]) -> np.ndarray[Any, Any]:
    """Of four rows, one per item, that every event on the item answers."""
    data = dataset(*rows)
    every = np.arange(len(rows))
    return task_labels(
        tasks, data, np.arange(4, dtype=np.int32), data.events.item.astype(np.intp), every
    )


def named(*names: str) -> list[TaskConfig]:
    return [TaskConfig(name=name) for name in names]


def test_conditions_chain_and_leave_rows_without_a_label() -> None:
    made = labels(
        named("click", "like|click", "cart|click", "purchase|cart"),
        (0, CLICK, NAN), (0, LIKE, NAN),
        (1, CLICK, NAN), (1, CART, NAN), (1, PURCHASE, NAN),
        (2, CART, NAN), (2, PURCHASE, NAN), (2, LIKE, NAN),  # of another page: never clicked
    )  # fmt: skip
    np.testing.assert_array_equal(
        made, [[1, 1, 0, NAN], [1, 0, 1, 1], [0, NAN, NAN, NAN], [0, NAN, NAN, NAN]]
    )


def test_a_condition_may_be_a_behaviour_that_no_task_predicts() -> None:
    made = labels(named("like|click"), (0, CLICK, NAN), (1, CLICK, NAN), (1, LIKE, NAN))
    np.testing.assert_array_equal(made[:, 0], [0, 1, NAN, NAN])


def test_values_are_the_last_watched_time_is_summed_and_events_are_counted() -> None:
    tasks = [
        TaskConfig(name="stars", behaviour=("rate",), kind="regression"),
        TaskConfig(name="watch", kind="watch_time"),
        TaskConfig(name="plays", behaviour=("watch",), kind="regression", value="count"),
        TaskConfig(name="seen", behaviour=("watch",), kind="watch_time", absent=0),
        TaskConfig(name="watch|click", kind="watch_time", absent=0),
    ]
    made = labels(
        tasks,
        (0, RATE, 4), (0, RATE, 2), (0, RATE, NAN), (0, WATCH, 30), (0, WATCH, 12),
        (1, WATCH, 5), (1, CLICK, NAN), (2, CLICK, NAN),
    )  # fmt: skip
    np.testing.assert_array_equal(
        made, [[2, 42, 2, 42, NAN], [NAN, 5, 1, 5, 5], [NAN, NAN, 0, 0, 0], [NAN, NAN, 0, 0, NAN]]
    )


def test_completion_is_a_share_of_the_duration_and_missing_without_one() -> None:
    tasks = [TaskConfig(name="done", behaviour=("watch",), kind="completion", duration="length")]
    rows = [(item, WATCH, 25.0) for item in range(4)]
    np.testing.assert_array_equal(labels(tasks, *rows)[:, 0], [0.25, NAN, NAN, 0.5])


def test_classes_are_values_or_behaviours() -> None:
    tasks = [
        TaskConfig(name="stars", behaviour=("rate",), kind="multiclass", classes=(1, 3, 5)),
        TaskConfig(name="deed", behaviour=("cart", "purchase"), kind="multiclass",
                   value="behaviour"),
    ]  # fmt: skip
    made = labels(
        tasks,
        (0, RATE, 5), (0, CART, NAN), (0, PURCHASE, NAN), (1, RATE, 4), (1, CART, NAN),
        (2, RATE, 1), (3, PURCHASE, NAN), (3, CART, NAN),
    )  # fmt: skip
    np.testing.assert_array_equal(made, [[2, 2], [NAN, 1], [0, 0], [NAN, 1]])


def config(**tasks: dict[str, Any]) -> ProjectConfig:
    return ProjectConfig.model_validate(
        {
            "name": "tiny",
            "events": {"path": "e.csv", "value": "value"},
            "items": {"path": "i.csv", "id": "item_id"},
            "behaviours": {name: {} for name in NAMES},
            "tasks": tasks,
            "cascade": {"channels": {"hot": {"quota": 10}}, "rank": {"use": "dnn"}},
        }
    )


def test_impressions_are_labelled_by_the_events_after_them() -> None:
    data = dataset(
        (0, SHOWN, NAN), (0, WATCH, 10), (0, SHOWN, NAN), (0, CLICK, NAN), (0, WATCH, 7),
        (3, SHOWN, NAN), (3, WATCH, NAN),
    )  # fmt: skip
    watch = {"kind": "watch_time"}
    made = impression_window(
        config(click={}, watch=watch), data, Histories.of(data), (0, 200), most=10
    )
    assert made.candidates.item.tolist() == [0, 0, 3]
    np.testing.assert_array_equal(made.labels, [[0, 10], [1, 7], [0, NAN]])


def test_durations_come_with_the_rows_or_an_error_names_the_column() -> None:
    done = {"behaviour": ["watch"], "kind": "completion"}
    data = dataset((0, SHOWN, NAN))
    raw = raw_numbers(config(done={**done, "duration": "length"}), data.items)
    np.testing.assert_array_equal(raw["length"], [100, 0, NAN, 50, NAN])
    with pytest.raises(ConfigError, match=r"\[tasks.done\] duration = 'size': .* it has length"):
        raw_numbers(config(done={**done, "duration": "size"}), data.items)


def test_rows_weigh_as_the_last_event_of_the_task_or_as_their_impression() -> None:
    data = dataset(
        (0, SHOWN, NAN), (0, CLICK, NAN), (0, CLICK, NAN), (1, SHOWN, NAN), (2, SHOWN, NAN),
        (2, LIKE, NAN),
    )  # fmt: skip
    weights = {
        "w": np.array([0.5, 2, 3, 0.25, 0, 7], np.float32),
        "v": np.array([1, 1, 1, 4, 1, 9], np.float32),
    }
    data = replace(data, events=replace(data.events, weights=weights))
    tasks = {"click": {}, "like": {"sample_weight": "v"}}
    whole = config(**tasks)
    plain = impression_window(whole, data, Histories.of(data), (0, 200), most=10)
    np.testing.assert_array_equal(plain.weights, [[1, 1], [1, 4], [1, 9]])  # click has no column
    events = whole.events.model_copy(update={"sample_weight": "w"})
    whole = whole.model_copy(update={"events": events})
    made = impression_window(whole, data, Histories.of(data), (0, 200), most=10)
    assert made.candidates.item.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(made.weights, [[3, 1], [0.25, 4], [0, 9]])
    none = impression_window(config(click={}), data, Histories.of(data), (0, 200), most=10)
    assert none.weights is None
    # without impressions, rows that no event follows weigh 1
    row, event = np.array([1, 1, 0]), np.array([1, 2, 5])
    both = task_weights(["w", None], named("click", "like"), data, row, event, 3)
    np.testing.assert_array_equal(both, [[1, 1], [3, 1], [1, 1]])
