"""The lookalike channel: audiences computed by hand, and which items count as new."""

import numpy as np
import polars as pl
import pytest

from tamis.cascade.query_batches import at_end
from tamis.data import dataset_from_frame
from tamis.recall import Lookalike
from tamis.recall._common.interactions import interests
from tamis.recall._common.mean_vector import to_unit
from tamis.recall._common.spectral import co_liked_vectors

DAY, START = 86_400_000, 1_700_000_000_000


@pytest.fixture(scope="module")
def log():
    """Even users like items 0..9, odd ones 10..19; new are item 20, liked by three even ones, and
    item 21, liked by three odd ones."""
    random = np.random.default_rng(0)
    rows = []
    for u in range(60):
        for i in random.choice(10, 6, replace=False):
            rows.append((f"u{u}", f"i{i + 10 * (u % 2)}", START + len(rows) * DAY // 50))
    for u in (0, 2, 4, 1, 3, 5):
        rows.append((f"u{u}", f"i{20 + u % 2}", START + len(rows) * DAY // 50))
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "time"], orient="row")
    return dataset_from_frame(frame, user="user_id", item="item_id", time="time")


def names(data, rows):
    return [data.items.ids[int(i)] for i in rows if i >= 0]


def test_new_items_are_recalled_for_users_similar_to_their_first_users(log):
    channel = Lookalike(most=10).fit(log)
    users = np.array([log.users.row(f"u{u}") for u in (10, 11, 0)], np.int32)
    found = channel.recall(at_end(log, users), 4)
    assert [names(log, row) for row in found.item] == [["i20", "i21"], ["i21", "i20"], ["i21"]]
    assert found.score[0, 0] > 0.5 > found.score[0, 1]
    near = channel.audience(log.items.row("i20"), 20)
    assert {log.users.ids[int(u)] for u in near} <= {f"u{u}" for u in range(0, 60, 2)}
    assert len(channel.audience(log.items.row("i3"), 20)) == 0
    because = channel.because(at_end(log, users[:1]), log.items.row("i20"))
    assert int(log.items.ids[because][1:]) < 10


def test_an_audience_is_the_mean_of_the_first_users(log):
    channel = Lookalike(most=10, first=2).fit(log)
    row = log.items.row("i20")
    first = [log.users.row(name) for name in ("u0", "u2")]
    users = channel.user_vectors(at_end(log, np.array(first, np.int32), exclude_seen=False))
    expected = to_unit(users.mean(axis=0, keepdims=True))[0]
    np.testing.assert_allclose(channel.index.vectors[row], expected, rtol=1e-4, atol=1e-6)


def test_new_items_have_few_users_and_a_recent_first_event(log):
    everything = Lookalike(most=1000).fit(log)
    assert len(everything.index) == 22
    assert len(Lookalike(most=1).fit(log).index) == 0
    young = Lookalike(most=1000, days=0.13).fit(log)
    assert names(log, np.flatnonzero([young.index.holds(i) for i in range(22)])) == ["i20", "i21"]
    unknown_user = at_end(log, np.array([-1], np.int32))
    assert (everything.recall(unknown_user, 3).item == -1).all()


def test_item_vectors_are_those_of_a_full_decomposition(log):
    liked = interests(log)
    x = np.zeros((len(log.users), len(log.items)))
    x[np.repeat(np.arange(len(log.users)), np.diff(liked.indptr)), liked.other] = 1
    x /= np.sqrt(np.outer(x.sum(1), x.sum(0)))
    _, value, right = np.linalg.svd(x, full_matrices=False)
    expected = (right[:4].T * value[:4]) @ right[:4]
    found = co_liked_vectors(liked.indptr, liked.other, len(log.items), 4, 0).astype(float)
    np.testing.assert_allclose(found @ found.T, expected, atol=5e-3)
