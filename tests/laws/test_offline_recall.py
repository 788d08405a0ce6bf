"""Lists recalled offline equal those computed online for the same history."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.cascade import Embeds, Home
from tamis.data import Ragged
from tamis.schema import ChannelConfig
from tamis.service import registry
from tamis.stores import open_recall
from tamis.testing import CONTEXT, queries_of, two_clans

CHANNELS = sorted(set(registry.available("recall")) - {"cached", "offline"})
"""Channels that compute their lists, and so can be declared offline."""
SETTINGS = {
    "deep_retrieval": {"epochs": 1},
    "gru4rec": {"epochs": 1},
    "rules": {"rule": [{"name": "expensive", "sort": "price desc"}]},
    "sasrec": {"epochs": 1},
}
"""Options of channels that need some, or are slow with the defaults."""
SCORED_BY_RANK = {"rules"}
"""Channels whose scores are ranks in the list, which change if other items are excluded."""
DATA = two_clans()
USERS = len(DATA.users)


def offline(of):
    """An unfitted offline channel that reads the lists of channel `of`."""
    declared = ChannelConfig(use="offline", of=of, settings=SETTINGS.get(of, {}))
    return registry.build("recall", "offline", declared)


@cache
def fitted(of):
    return offline(of).fit(DATA, CONTEXT)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Lists of every channel at the end of the log, of every length."""
    place = tmp_path_factory.mktemp("stores")
    store = open_recall("", place, "laws", DATA.users, DATA.items)
    for k in range(1, len(DATA.items) + 1):
        with store.write(f"k{k}") as draft:
            for of in CHANNELS:
                found = fitted(of).recall(known_users(), k)
                draft.lists(of, 0, found.item, found.score)
    return place


def known_users():
    """Queries of all users at the end of the log; items that they have seen are excluded."""
    queries = queries_of(DATA)
    users = np.arange(USERS)
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
        exclude=Ragged.of([queries.exclude[q] for q in users]),
        context=None,
    )


def reading(of, folder, k):
    """The channel as it is served, bound to the lists of length k."""
    channel = offline(of)
    channel.wrap(fitted(of).inner)
    channel._facts, channel.name = fitted(of)._facts, of
    channel.bind(Home(folder, "laws", f"k{k}", DATA.users, DATA.items))
    return channel


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(CHANNELS),
    st.integers(1, len(DATA.items)),
    st.integers(1, len(DATA.items) + 2),
    st.lists(st.integers(0, len(DATA.items) - 1), max_size=6, unique=True),
)
def test_offline_equals_online_up_to_the_length_of_the_stored_list(folder, of, stored, k, refused):
    queries = known_users()
    also = Ragged.of([np.array(sorted(refused), np.int32)] * USERS)
    queries = queries.excluding(Ragged.union([queries.exclude, also]))
    offline = reading(of, folder, stored).recall(queries, k)
    online = fitted(of).inner.recall(queries, k)
    assert offline.item.shape == online.item.shape == (USERS, k)
    reach = max(0, min(k, stored - len(refused)))
    np.testing.assert_array_equal(offline.item[:, :reach], online.item[:, :reach])
    if of not in SCORED_BY_RANK or not refused:
        np.testing.assert_allclose(offline.score[:, :reach], online.score[:, :reach], rtol=1e-5)
    for q in range(USERS):
        assert not np.isin(offline.item[q], queries.exclude[q]).any()
        real = offline.item[q][offline.item[q] >= 0]
        assert (offline.item[q, : len(real)] >= 0).all(), "padding comes before an item"
    assert ((offline.item >= 0) == np.isfinite(offline.score)).all()


@pytest.mark.parametrize("of", CHANNELS)
def test_users_without_a_list_get_nothing(folder, of):
    queries = queries_of(DATA)
    unknown = np.flatnonzero(queries.user == -1)
    found = reading(of, folder, 5).recall(queries, 3)
    assert (found.item[unknown] == -1).all()
    online = fitted(of).inner.recall(known_users(), 5)
    assert ((found.item[:USERS] >= 0).sum(axis=1) == (online.item[:, :3] >= 0).sum(axis=1)).all()


EMBED = [
    of for of in CHANNELS if isinstance(registry.find("recall", of)(**SETTINGS.get(of, {})), Embeds)
]


def test_some_channels_have_vectors():
    assert {"mf", "sasrec", "two_tower"} <= set(EMBED)


@pytest.mark.parametrize("of", EMBED)
def test_scores_are_products_of_the_stored_vectors(of):
    channel = fitted(of).inner
    users, items = channel.user_vectors(known_users()), channel.item_vectors()
    assert users.dtype == items.dtype == np.float32
    found = channel.recall(known_users(), 5)
    scores = (users[:, None] * items[np.maximum(found.item, 0)]).sum(axis=2)
    real = found.item >= 0
    np.testing.assert_allclose(scores[real], found.score[real], rtol=1e-4, atol=1e-6)
