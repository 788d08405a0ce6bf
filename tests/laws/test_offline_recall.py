"""Recalled offline or online, the answer is the same for the same history."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.cascade import FitContext, Home, Ragged
from tamis.recall import Offline
from tamis.stores import open_recall
from tamis.testing import queries_of, two_clans

CHANNELS = ("ease", "hot", "itemcf", "two_tower")
DATA = two_clans()
USERS = len(DATA.users)


@cache
def fitted(of):
    return Offline(of=of).fit(DATA, FitContext(seed=7))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Lists of every channel, as of the log's end, of every length."""
    place = tmp_path_factory.mktemp("stores")
    store = open_recall("", place, "laws")
    for k in range(1, len(DATA.items) + 1):
        with store.write(f"k{k}", users=USERS, items=len(DATA.items)) as draft:
            for of in CHANNELS:
                found = fitted(of).recall(asked(), k)
                draft.lists(of, 0, found.item, found.score)
    return place


def asked():
    """Everybody at the log's end with all of his past; what he has seen is excluded."""
    queries = queries_of(DATA)
    everybody = np.arange(USERS)
    bound = queries.history.indptr[USERS]
    history = replace(
        queries.history,
        **{
            name: column[: USERS + 1] if name == "indptr" else column[:bound]
            for name, column in vars(queries.history).items()
        },
    )
    return replace(
        queries,
        user=queries.user[:USERS],
        time=queries.time[:USERS],
        history=history,
        exclude=Ragged.of([queries.exclude[q] for q in everybody]),
        context=None,
    )


def reading(of, folder, k):
    """The channel as a serving version holds it, bound to the lists of length k."""
    channel = Offline(of=of)
    channel.inner, channel._facts, channel.name = fitted(of).inner, fitted(of)._facts, of
    channel.bind(Home(folder, "laws", f"k{k}", DATA.users, DATA.items))
    return channel


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(CHANNELS),
    st.integers(1, len(DATA.items)),
    st.integers(1, len(DATA.items) + 2),
    st.lists(st.integers(0, len(DATA.items) - 1), max_size=6, unique=True),
)
def test_offline_is_online_as_far_as_the_list_reaches(folder, of, stored, k, refused):
    queries = asked()
    also = Ragged.of([np.array(sorted(refused), np.int32)] * USERS)
    queries = queries.excluding(Ragged.union([queries.exclude, also]))
    offline = reading(of, folder, stored).recall(queries, k)
    online = fitted(of).inner.recall(queries, k)
    assert offline.item.shape == online.item.shape == (USERS, k)
    reach = max(0, min(k, stored - len(refused)))
    np.testing.assert_array_equal(offline.item[:, :reach], online.item[:, :reach])
    np.testing.assert_allclose(offline.score[:, :reach], online.score[:, :reach], rtol=1e-5)
    for q in range(USERS):
        assert not np.isin(offline.item[q], queries.exclude[q]).any()
        real = offline.item[q][offline.item[q] >= 0]
        assert (offline.item[q, : len(real)] >= 0).all(), "padding stands before an item"
    assert ((offline.item >= 0) == np.isfinite(offline.score)).all()


@pytest.mark.parametrize("of", CHANNELS)
def test_whoever_has_no_list_gets_nothing(folder, of):
    queries = queries_of(DATA)
    stranger = np.flatnonzero(queries.user == -1)
    found = reading(of, folder, 5).recall(queries, 3)
    assert (found.item[stranger] == -1).all()
    assert (found.item[:USERS] >= 0).any(axis=1).all()
