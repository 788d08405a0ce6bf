"""Ranking rows: labels by hand, nothing looks ahead, and what is left out is counted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from tamis.cascade import Candidates, Queries, Retrieval, replay
from tamis.data import Dataset, Events, Table
from tamis.features import Histories
from tamis.filters.seen import SeenFilter
from tamis.recall import Hot
from tamis.schema import Behaviour, ProjectConfig, TrainingError

BEHAVIOURS = (
    Behaviour(name="impression", impression=True, weight=0),
    Behaviour(name="click", positive=True),
    Behaviour(name="like"),
)
SHOWN, CLICK, LIKE = range(3)


def config(**tasks: tuple[str, ...]) -> ProjectConfig:
    return ProjectConfig.model_validate(
        {
            "name": "tiny",
            "events": {"path": "e.csv"},
            "items": {"path": "i.csv", "id": "item_id"},
            "behaviours": {"click": {"positive": True}},
            "tasks": {name: {"behaviour": behaviour} for name, behaviour in tasks.items()},
            "cascade": {"channels": {"hot": {"quota": 10}}, "rank": {"use": "deepfm"}},
        }
    )


def dataset(*rows: tuple[Any, ...], users: int = 5) -> Dataset:
    """Rows of (user, item, behaviour, time[, arrival[, request]])."""
    full = [(*r, r[3], -1)[:6] if len(r) == 4 else (*r, -1)[:6] for r in rows]
    user, item, behaviour, time, arrival, request = (np.array(c) for c in zip(*full, strict=True))
    n = len(full)
    events = Events(
        user.astype(np.int32),
        item.astype(np.int32),
        behaviour.astype(np.uint8),
        time.astype(np.int64),
        arrival.astype(np.int64),
        np.full(n, np.nan, np.float32),
        request.astype(np.int64),
        np.zeros(n, np.int16),
    )
    tables = [
        Table(name, pl.Series([f"{name}{k}" for k in range(n)]), pl.DataFrame())
        for name, n in (("users", users), ("items", 5))
    ]
    return Dataset(tables[0], tables[1], events, BEHAVIOURS)


def retrieval(data: Dataset, cut: int) -> Retrieval:
    known = data.as_of(cut)
    return Retrieval(config().cascade, {"hot": Hot().fit(known)}, {"seen": SeenFilter().fit(known)})


def rows_of(queries: Queries, candidates: Candidates, labels: Any) -> set[tuple[int, ...]]:
    return {
        (int(queries.user[q]), int(i), *map(int, y))
        for q, i, y in zip(candidates.query, candidates.item, labels, strict=True)
    }


LOG = (
    (0, 0, CLICK, 10),
    (1, 1, CLICK, 11),
    (2, 2, CLICK, 12),
    (0, 1, CLICK, 100),
    (0, 2, LIKE, 110),
    (3, 0, CLICK, 120),  # no history before the cut
    (1, 2, CLICK, 250),  # after the window
)


def test_recalled_candidates_are_labelled_by_the_events_of_the_window() -> None:
    data = dataset(*LOG)
    window = (100, 200)
    made = replay.replay_window(
        config(click=("click",), any=("click", "like")),
        data,
        Histories.of(data),
        retrieval(data, 100),
        window,
        seed=0,
    )
    # Only user 0 had a past and came back; item 0 is seen, 1 was clicked, 2 was liked only.
    assert rows_of(made.queries, made.candidates, made.labels) == {(0, 1, 1, 1), (0, 2, 0, 1)}
    assert made.queries.time.tolist() == [100]
    assert made.queries.history.item.tolist() == [0]


def test_an_event_that_has_not_arrived_is_neither_history_nor_label() -> None:
    data = dataset(*LOG, (0, 3, CLICK, 90, 150))
    made = replay.replay_window(
        config(), data, Histories.of(data), retrieval(data, 100), (100, 200), seed=0
    )
    assert made.queries.history.item.tolist() == [0]
    assert rows_of(made.queries, made.candidates, made.labels) == {(0, 1, 1), (0, 2, 0)}


def test_a_window_without_returning_users_is_an_error_with_how_to_fix_it() -> None:
    data = dataset(*LOG)
    with pytest.raises(TrainingError, match=r"no user with events before .* came back.*\[split\]"):
        replay.replay_window(
            config(), data, Histories.of(data), retrieval(data, 300), (300, 400), seed=0
        )


def test_users_beyond_the_limit_are_counted() -> None:
    data = dataset(*LOG, (1, 0, CLICK, 130), (2, 0, CLICK, 131))
    made = replay.replay_window(
        config(), data, Histories.of(data), retrieval(data, 100), (100, 200), seed=0, most_users=1
    )
    assert len(made.queries) == 1
    assert made.left_out == 2


def test_returning_users_have_a_history_and_an_event_in_the_window() -> None:
    data = dataset(*LOG, (2, 3, SHOWN, 130))
    assert replay.returning_users(data, Histories.of(data), (100, 200)).tolist() == [0]
    assert replay.returning_users(data, Histories.of(data), (100, 300)).tolist() == [0, 1]


def test_sampled_negatives_keep_every_positive_label_and_their_share_of_the_others() -> None:
    rng = np.random.default_rng(0)
    past = [(u, i, CLICK, 10 + u) for u in range(400) for i in (u % 5,)]
    later = [(u, int(rng.integers(5)), CLICK if u % 2 else LIKE, 500 + u) for u in range(400)]
    data = dataset(*past, *later, users=400)
    made = {
        share: replay.replay_window(
            config(click=("click",), like=("like",)),
            data,
            Histories.of(data),
            retrieval(data, 500),
            (500, 1000),
            seed=3,
            negatives=share,
        )
        for share in (1.0, 0.25)
    }
    whole, part = made[1.0], made[0.25]
    for task in range(2):
        positives = (part.labels[:, task] == 1).sum()
        assert positives == (whole.labels[:, task] == 1).sum() > 50
        negatives = (part.labels[:, task] == 0).sum() / (whole.labels[:, task] == 0).sum()
        assert negatives == pytest.approx(0.25, abs=0.05)
    assert not np.isnan(part.labels).all(axis=1).any()
    assert len(part.labels) == len(part.candidates) < 0.5 * len(whole.labels)
    assert len(part.queries) == len(whole.queries)


def test_an_action_belongs_to_the_last_impression_before_it_in_its_request() -> None:
    data = dataset(
        (0, 0, SHOWN, 10, 10, 7),
        (0, 1, SHOWN, 10, 10, 7),
        (0, 1, CLICK, 12, 12, 7),
        (0, 1, SHOWN, 20, 20, 8),  # shown again, not clicked
        (0, 2, SHOWN, 20, 20, 8),
        (0, 2, LIKE, 21, 21, 8),
        (0, 2, CLICK, 19, 19, 8),  # before its impression: answers nothing
    )
    made = replay.impression_window(
        config(click=("click",), like=("like",)), data, Histories.of(data), (0, 100), most=100
    )
    got = [
        (int(made.queries.time[q]), int(i), *map(int, y))
        for q, i, y in zip(made.candidates.query, made.candidates.item, made.labels, strict=True)
    ]
    assert sorted(got) == [(10, 0, 0, 0), (10, 1, 1, 0), (20, 1, 0, 0), (20, 2, 0, 1)]
    past = made.queries.history
    # At 10 nothing had arrived; at 20 the two clicks had (impressions are no history).
    assert np.diff(past.indptr).tolist() == [0, 2]


def test_rows_to_learn_from_have_the_positions_of_impressions() -> None:
    data = dataset((0, 0, SHOWN, 10), (0, 1, SHOWN, 10), (0, 1, CLICK, 11), (1, 1, SHOWN, 5))
    data = replace(data, events=replace(data.events, position=np.array([2, 1, 0, 7], np.int16)))
    declared = config()
    declared = declared.model_copy(
        update={"events": declared.events.model_copy(update={"position": "place"})}
    )
    window = (Histories.of(data), (0, 100))
    rows = replay.impression_window(declared, data, *window, most=9, positions=True)
    got = zip(rows.queries.user[rows.candidates.query], rows.candidates.item, strict=True)
    place = dict(zip(got, rows.candidates.columns["position"].tolist(), strict=True))
    assert place == {(0, 0): 2, (0, 1): 1, (1, 1): 7}
    assert not replay.impression_window(declared, data, *window, most=9).candidates.columns
    undeclared = replay.impression_window(config(), data, *window, most=9, positions=True)
    assert not undeclared.candidates.columns


def test_the_latest_impressions_are_kept_and_the_dropped_ones_counted() -> None:
    data = dataset(*((0, k % 5, SHOWN, k) for k in range(10)), (0, 4, CLICK, 9))
    made = replay.impression_window(config(), data, Histories.of(data), (0, 100), most=3)
    assert made.queries.time.tolist() == [7, 8, 9]
    assert made.left_out == 7
    with pytest.raises(TrainingError, match="no impressions between"):
        replay.impression_window(config(), data, Histories.of(data), (50, 60), most=3)


def test_joined_windows_concatenate_their_rows() -> None:
    data = dataset(*LOG, (0, 3, CLICK, 205))
    parts = [
        replay.replay_window(
            config(), data, Histories.of(data), retrieval(data, cut), (cut, cut + 100), seed=0
        )
        for cut in (100, 200)
    ]
    both = replay.join(parts)
    expected = [rows_of(p.queries, p.candidates, p.labels) for p in parts]
    assert rows_of(both.queries, both.candidates, both.labels) == set.union(*expected)
    assert len(both.labels) == sum(len(p.labels) for p in parts)
    assert both.queries.time.tolist() == [t for p in parts for t in p.queries.time.tolist()]
