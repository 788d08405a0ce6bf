"""A channel's vectors beside a request's rows."""

import numpy as np
import pytest
import torch

from tamis.cascade import Candidates, Queries, rotation, vectors_for
from tamis.data import Ragged
from tamis.features import Block, DenseColumn, History, Layout, Rows
from tamis.schema import ConfigError, Side

ITEMS = np.arange(12, dtype=np.float32).reshape(6, 2)


class Embedding:
    def user_vectors(self, queries):
        return np.stack([queries.user, -queries.user], 1).astype(np.float32)

    def item_vectors(self):
        return ITEMS


class Reader:
    vectors_of = "tower"


def test_vectors_are_appended_to_the_other_numbers():
    queries = Queries(
        np.array([7, 8], np.int32), np.zeros(2, np.int64), History.empty(2), Ragged.empty(2)
    )
    candidates = Candidates(np.array([0, 1, 3]), np.array([5, 0, 2], np.int32))
    layout = Layout((), (), (DenseColumn("x", Side.CROSS, 0),))
    x = np.array([[0.1], [0.2], [0.3]], np.float32)
    rows = Rows(layout, [Block(np.zeros((3, 0), np.int32), x)], 3)
    wide = vectors_for(Reader(), {"tower": Embedding()})(queries, candidates, rows)
    want = [[0.1, 7, -7, 10, 11], [0.2, 8, -8, 0, 1], [0.3, 8, -8, 4, 5]]
    np.testing.assert_allclose(wide.take(torch.arange(3)).dense, want, rtol=1e-6)
    assert [c.name for c in wide.layout.dense] == ["x", "user vector:tower", "item vector:tower"]
    assert wide.blocks[2].dense is ITEMS  # shared, not copied
    assert rows.layout is layout
    assert len(rows.blocks) == 1


def test_a_scorer_that_reads_no_vectors_gets_none():
    assert vectors_for(object(), {"tower": Embedding()}) is None


@pytest.mark.parametrize(
    ("channels", "message"),
    [
        ({"two_tower": Embedding(), "hot": object()}, "'tower' is not declared.*two_tower"),
        ({"tower": object()}, "'tower' has no vectors.*declare two_tower"),
    ],
)
def test_a_channel_without_vectors_is_refused(channels, message):
    with pytest.raises(ConfigError, match=message):
        vectors_for(Reader(), channels)


def test_rotation_recovers_the_rotation_and_keeps_products():
    draw = np.random.default_rng(0)
    old = draw.normal(size=(200, 8)).astype(np.float32)
    turn, _ = np.linalg.qr(draw.normal(size=(8, 8)))
    new = (old @ turn).astype(np.float32)
    old[3], new[5] = 0, 0  # each fit knows an item the other does not
    found = rotation(old, new)
    np.testing.assert_allclose(found, turn, atol=1e-5)
    np.testing.assert_allclose(found @ found.T, np.eye(8), atol=1e-6)


def test_a_rotation_by_90_degrees_by_hand():
    old = np.array([[1, 0], [0, 1]], np.float32)
    new = np.array([[0, 1], [-1, 0]], np.float32)
    np.testing.assert_allclose(rotation(old, new), [[0, 1], [-1, 0]], atol=1e-7)


def test_vectors_of_two_widths_are_not_rotated():
    with pytest.raises(ConfigError, match=r"shape \(6, 2\).*\(6, 3\)"):
        rotation(ITEMS, np.zeros((6, 3), np.float32))
