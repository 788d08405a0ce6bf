"""No protocol lets a model learn, or a user know, what is asked for."""

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tamis.cascade import holdout_queries
from tamis.data import Dataset, Events, Table
from tamis.schema import Behaviour, DataError
from tamis.splitting import Holdout, by_time, carve, leave_one_out

USERS, ITEMS = 5, 8


@st.composite
def logs(draw) -> Dataset:
    """Up to 60 events with ties, late arrivals, repeats and three behaviours."""
    n = draw(st.integers(6, 60))

    def column(most: int) -> np.ndarray:
        return np.array(draw(st.lists(st.integers(0, most), min_size=n, max_size=n)))

    time = np.sort(column(12)).astype(np.int64)
    events = Events(
        user=column(USERS - 1).astype(np.int32),
        item=column(ITEMS - 1).astype(np.int32),
        behaviour=column(2).astype(np.uint8),
        time=time,
        arrival=time + column(2),
        value=np.full(n, np.nan, np.float32),
        request=np.full(n, -1, np.int64),
        position=np.zeros(n, np.int16),
    )
    tables = [
        Table(name, pl.Series("id", [str(i) for i in range(size)]), pl.DataFrame())
        for name, size in (("users", USERS), ("items", ITEMS))
    ]
    behaviours = (
        Behaviour(name="like", positive=True),
        Behaviour(name="click"),
        Behaviour(name="shown", impression=True),
    )
    return Dataset(*tables, events, behaviours)


PROTOCOLS = {
    "strict": leave_one_out,
    "valid": lambda data: leave_one_out(data, "valid"),
    "refit": lambda data: leave_one_out(data, refit=True),
    "time": lambda data: by_time(data, 0.6),
    "carve": lambda data: carve(data, 0.3, seed=2),
}


def made(protocol: str, data: Dataset) -> Holdout:
    try:
        return PROTOCOLS[protocol](data)
    except DataError:
        assume(False)
        raise


def rows(data: Dataset) -> set[tuple[int, ...]]:
    e = data.events
    columns = (e.user, e.item, e.behaviour, e.time, e.arrival)
    return set(zip(*(c.tolist() for c in columns), strict=True))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@settings(max_examples=60, deadline=None)
@given(data=logs())
def test_what_is_learnt_is_known_and_what_is_asked_is_neither(protocol, data):
    holdout = made(protocol, data)
    assert rows(holdout.train) <= rows(holdout.known) <= rows(data)
    assert len(holdout) == len(holdout.targets) == len(holdout.time)
    assert (np.diff(holdout.users) > 0).all()
    assert (np.diff(holdout.targets.indptr) > 0).all()
    liked = {(u, i) for u, i, b, _, _ in rows(data) if b == 0}
    asked = set(zip(holdout.users[holdout.targets.query].tolist(),
                    holdout.targets.values.tolist(), strict=True))  # fmt: skip
    assert asked <= liked
    if protocol in ("time", "carve"):  # of leave-one-out a repeat may have been met before
        met = {(u, i) for u, i, b, _, _ in rows(holdout.known) if b != 2}
        assert not asked & met
    likes = sum(b == 0 for b in data.events.behaviour.tolist())
    known_likes = int((holdout.known.events.behaviour == 0).sum())
    assert known_likes < likes


@pytest.mark.parametrize("protocol", PROTOCOLS)
@settings(max_examples=60, deadline=None)
@given(data=logs())
def test_a_question_knows_nothing_later_than_itself(protocol, data):
    holdout = made(protocol, data)
    queries = holdout_queries(holdout)
    asked = np.repeat(queries.time, np.diff(queries.history.indptr))
    assert (queries.history.time <= asked).all()
    assert queries.user.tolist() == holdout.users.tolist()


@settings(max_examples=60, deadline=None)
@given(data=logs())
def test_validation_and_test_learn_from_the_same(data):
    valid, test = made("valid", data), made("strict", data)
    assert rows(valid.train) == rows(test.train)
    assert valid.users.tolist() == test.users.tolist()
    assert (valid.time <= test.time).all()
    gained = len(test.known.events) - len(valid.known.events)
    assert gained >= len(test)
