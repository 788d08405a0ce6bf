"""Vectors of the past beside training rows: each window's own, in the axes of the last fit."""

import numpy as np
import torch

from tamis.cascade import Candidates, Queries
from tamis.cascade.replay import Replay
from tamis.cascade.replay_vectors import with_vectors
from tamis.data import Ragged
from tamis.features import History, Layout, Rows
from tamis.splitting import Window

TURN = np.array([[0, 1], [-1, 0]], np.float32)
ITEMS = np.array([[1, 0], [0, 2], [3, 3]], np.float32)


class Fitted:
    """At moment 200 the axes are the last fit's; at 100 they lay a quarter turn away."""

    def __init__(self, moment):
        self.back = np.eye(2, dtype=np.float32) if moment >= 200 else TURN.T
        self.moment = moment

    def item_vectors(self):
        return ITEMS @ self.back

    def user_vectors(self, queries):
        own = np.stack([queries.user, np.full(len(queries), self.moment)], 1).astype(np.float32)
        return own @ self.back


def replay(users, sizes, items):
    n = len(users)
    queries = Queries(
        np.array(users, np.int32), np.zeros(n, np.int64), History.empty(n), Ragged.empty(n)
    )
    indptr = np.concatenate([[0], np.cumsum(sizes)])
    candidates = Candidates(indptr, np.array(items, np.int32))
    return Replay(queries, candidates, np.zeros((len(items), 1), np.float32))


def test_by_hand():
    asked = []

    def at(moment):
        asked.append(moment)
        return Fitted(moment)

    replays = [
        (Window(100, 200), replay([7, 8], [1, 2], [0, 1, 2])),
        (Window(200, 300), replay([9], [2], [2, 0])),
    ]
    rows = with_vectors(Rows(Layout((), (), ()), [], 5), "tower", replays, at, 300)
    got = rows.take(torch.arange(5)).dense.numpy()
    user, item = got[:, :2], got[:, 2:]
    np.testing.assert_allclose(user, [[7, 100], [8, 100], [8, 100], [9, 200], [9, 200]], atol=1e-4)
    np.testing.assert_allclose(item, ITEMS[[0, 1, 2, 2, 0]], atol=1e-6)
    assert asked == [300, 100, 200]  # the version's own, and for each window one fitted before it
