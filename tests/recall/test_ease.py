"""EASE against numpy's inverse."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.events.frame import dataset_from_frame
from tamis.recall import EASE
from tamis.recall.interactions import at_end
from tamis.schema import ConfigError


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 7)), min_size=1, max_size=40),
    st.sampled_from([1.0, 0.7]),
    st.sampled_from([None, 2]),
    st.sampled_from([0.5, 20.0]),
)
def test_equals_the_closed_form(pairs, decay, last, l2):
    users, items = zip(*pairs, strict=True)
    data = dataset_from_frame(pl.DataFrame({"user_id": users, "item_id": items}))
    channel = EASE(l2=l2, decay=decay, last=last).fit(data)
    n_users, n_items = len(data.users), len(data.items)
    X, recent = np.zeros((n_users, n_items)), {u: [] for u in range(n_users)}
    for u, i in zip(data.events.user.tolist(), data.events.item.tolist(), strict=True):
        X[u, i] = 1
        recent[u] = [j for j in recent[u] if j != i] + [i]
    P = np.linalg.inv(X.T @ X + l2 * np.eye(n_items))
    B = -P / np.diag(P)[None, :]
    np.fill_diagonal(B, 0)
    queries = at_end(data, np.arange(n_users, dtype=np.int32), exclude_seen=False)
    found = channel.recall(queries, n_items)
    for u in range(n_users):
        expected = np.zeros(n_items)
        for age, j in enumerate(reversed(recent[u][-(last or 99) :])):
            expected += decay**age * B[j]
        assert sorted(found.item[u]) == list(range(n_items))
        np.testing.assert_allclose(found.score[u], expected[found.item[u]], atol=2e-5)


def test_items_nobody_liked_have_no_row():
    frame = pl.DataFrame({"user_id": [1, 1, 2], "item_id": [7, 8, 9], "stars": [5, 4, 1]})
    channel = EASE().fit(frame, value="stars", min_value=4)
    assert channel._arrays["weight"].shape == (2, 2)
    assert set(channel.recommend([1], exclude_seen=False)["item"]) == {7, 8}
    assert channel.recommend([2]).is_empty()


def test_refuses_what_does_not_fit_in_memory():
    frame = pl.DataFrame({"user_id": [1] * 600, "item_id": list(range(600))})
    with pytest.raises(ConfigError, match=r"600 liked items need a matrix of 0.0 GB, above max_gb"):
        EASE(max_gb=0.001).fit(frame)
