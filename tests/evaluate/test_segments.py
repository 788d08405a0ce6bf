"""Segments and buckets by hand; what is measured of which kind of task."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from tamis.data import Dataset, Events, Table
from tamis.evaluate.segments import Known, bucketings
from tamis.evaluate.task_evaluation import TaskEvaluation, measured
from tamis.schema import Behaviour, DenseFeat, Side, SparseFeat, TaskConfig, VarLenSparseFeat

BEHAVIOURS = (Behaviour(name="impression", impression=True), Behaviour(name="click"))
SHOWN, CLICK = range(2)
NAN = float("nan")


def dataset(*rows: tuple[int, int, int, int]) -> Dataset:
    """Rows of (user, item, behaviour, time) of 5 users and 5 items."""
    user, item, behaviour, time = (np.array(c) for c in zip(*rows, strict=True))
    n = len(rows)
    events = Events(
        user.astype(np.int32),
        item.astype(np.int32),
        behaviour.astype(np.uint8),
        time.astype(np.int64),
        time.astype(np.int64),
        np.full(n, np.nan, np.float32),
        np.full(n, -1, np.int64),
        np.zeros(n, np.int16),
    )
    people = pl.DataFrame({"age": [20, 30, 40, None, 60], "sex": ["f", "m", "f", None, "f"]})
    goods = pl.DataFrame({"genre": ["a|b", "a", "b", "b", None]})
    ids = [pl.Series([f"{name}{k}" for k in range(5)]) for name in "ui"]
    return Dataset(
        Table("users", ids[0], people), Table("items", ids[1], goods), events, BEHAVIOURS
    )


LOG = dataset(
    (0, 0, CLICK, 1), (0, 1, CLICK, 2), (0, 1, CLICK, 3), (1, 0, CLICK, 4), (2, 2, SHOWN, 5),
    (3, 3, CLICK, 10), (1, 4, CLICK, 11),
)  # fmt: skip


def test_users_and_items_are_new_by_their_events_before_the_cut() -> None:
    known = Known.at(LOG, 10)
    assert known.user_events.tolist() == [3, 1, 0, 0, 0, 0]  # an impression is no history
    assert known.item_events.tolist() == [2, 2, 1, 0, 0, 0]  # but what was shown is not new
    users, items = np.array([0, 0, 1, 2, 3]), np.array([0, 3, 2, 2, 4])
    found = {name: rows.tolist() for name, rows in known.segments(users, items).items()}
    assert found == {
        "new users": [False, False, False, True, True],
        "known users": [True, True, True, False, False],
        "new items": [False, True, False, False, True],
        "known items": [True, False, True, True, False],
        "light users (1–1 events)": [False, False, True, False, False],
        "heavy users (over 2 events)": [True, True, False, False, False],
    }


def test_features_fall_into_named_buckets() -> None:
    features = [
        SparseFeat("user_id", side=Side.USER),
        DenseFeat("age"),
        SparseFeat("sex", side=Side.USER),
        VarLenSparseFeat("genre", separator="|"),
        SparseFeat("kind", column="genre"),
    ]
    found = {b.feature: b for b in bucketings(features, LOG.users, LOG.items, Known.at(LOG, 10))}
    assert set(found) == {"user's events", "item's events", "age", "sex", "kind"}
    users, items = np.array([0, 3, -1]), np.array([4, 0, 1])
    sex = found["sex"]
    assert sex.of_user
    assert sex.names == ("f", "m", "other", "missing")
    assert [sex.names[k] for k in sex.rows(users, items)] == ["f", "missing", "missing"]
    kind = found["kind"]
    assert not kind.of_user
    assert [kind.names[k] for k in kind.rows(users, items)] == ["missing", "a|b", "a"]
    age = found["age"]
    assert age.names == (
        "up to 27.5", "over 27.5, up to 35", "over 35, up to 45", "over 45", "missing",
    )  # fmt: skip
    assert age.code.tolist() == [0, 1, 2, 4, 3, 4]


WATCH = TaskConfig(name="watch", kind="watch_time", unit="ms")
TASKS = [
    TaskConfig(name="click"),
    TaskConfig(name="like|click"),
    WATCH,
    TaskConfig(name="rating", kind="multiclass", classes=(1, 2, 5)),
    TaskConfig(name="done", kind="completion", behaviour=("watch",)),
    TaskConfig(name="through", kind="completion", behaviour=("watch",), threshold=0.8),
]


def test_each_task_is_measured_by_its_kind_and_products_too() -> None:
    told = {m.name: (m.kind, m.predicted, m.score) for m in measured(TASKS)}
    assert told == {
        "click": ("binary", "click", "click"),
        "like|click": ("binary", "like|click", "like|click"),
        "watch": ("number", "watch_seconds", "watch"),
        "rating": ("number", "rating", "rating"),
        "done": ("share", "done_share", "done_share"),
        "through": ("binary", "through_share", "through_share"),
        "like": ("binary", "like", "like"),
    }


def test_labels_have_the_unit_of_the_prediction() -> None:
    labels = np.array(
        [
            [1, 1, 4000, 2, 1.5, 1.5],
            [1, 0, 1000, 0, 0.5, 0.5],
            [0, NAN, NAN, NAN, NAN, NAN],
            [0, NAN, NAN, 1, 0.0, 0.0],
        ],
        np.float32,
    )
    each = {
        "click": [0.9, 0.5, 0.2, 0.6],
        "like|click": [0.5, 0.1, 0.4, 0.4],
        "like": [0.4, 0.2, 0.1, 0.3],
        "watch": [3.0, 5.0, 1.0, 1.0],
        "watch_seconds": [3.0, 2.0, 1.0, 1.0],
        "rating": [4.0, 1.0, 3.0, 3.0],
        "done_share": [0.9, 0.6, 0.5, 0.0],
        "through_share": [0.9, 0.6, 0.5, 0.1],
    }
    scores = {name: np.array(values, np.float32) for name, values in each.items()}
    judge = TaskEvaluation(TASKS, {"side": 2})
    for part in (slice(0, 1), slice(1, 4)):
        number = np.array([0, 0, 1, 1])[part]
        some = {name: values[part] for name, values in scores.items()}
        judge.add(labels[part], some, np.zeros(4)[part], np.zeros(4)[part], {"side": number})
    found = judge.result()
    assert list(found)[-1] == "like"
    assert found["click"]["auc"] == 0.75
    assert found["like|click"]["rows"] == 2
    assert found["like"]["rows"] == 4  # a product holds for every row
    assert found["like"]["pcoc"] == pytest.approx(1.0)
    assert found["watch"]["mae"] == pytest.approx(1.0)  # |3 − 4| and |2 − 1| seconds
    assert found["watch"]["xauc"] == 0.0  # by exp(z), which has the shorter one first
    assert found["rating"]["mae"] == pytest.approx((1 + 0 + 1) / 3)  # of 5, 1, 2
    assert found["done"]["rows"] == 3
    assert found["done"]["xauc"] == 1.0
    assert found["done"]["pcoc"] == pytest.approx(1.5 / 1.5)
    assert found["through"]["positives"] == 1
    first, second = judge.by_bucket()["click"]["side"]
    assert (first.count, first.observed, second.observed) == (2, 1.0, 0.0)
    assert sum(b.count for b in judge.curve("click")) == 4
    assert judge.curve("watch") == []


def test_every_undefined_metric_has_its_reason() -> None:
    tasks = [
        TaskConfig(name="click"),
        TaskConfig(name="like|click"),
        TaskConfig(name="share"),
        WATCH,
    ]
    labels = np.array([[1, 0, 0, 3], [1, NAN, 1, 3], [1, NAN, 1, NAN]], np.float32)
    names = ("click", "like|click", "like", "share", "watch", "watch_seconds")
    scores = {name: np.array([0.5, 0.4, 0.3], np.float32) for name in names}
    judge = TaskEvaluation(tasks)
    judge.add(labels, scores, np.array([0, 1, 1]), np.array([0, 1, 1]))
    undefined = judge.undefined()
    found = judge.result()
    for task, metrics in found.items():
        missing = {metric for metric, value in metrics.items() if np.isnan(value)}
        assert set(undefined.get(task, {})) == missing
    assert undefined["click"] == dict.fromkeys(("auc", "gauc", "ne"), "all 3 labels are 1")
    assert undefined["like|click"]["auc"] == "all 1 labels are 0"
    assert undefined["share"] == {"gauc": "none of 2 users has labels of both classes"}
    assert undefined["watch"] == {"xauc": "all 2 labels are equal"}
    empty = TaskEvaluation([WATCH]).undefined()["watch"]
    assert set(empty.values()) == {"no row has a label"}
