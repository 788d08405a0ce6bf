"""The contracts of online stores, as checks for any store."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl

from tamis.data import Table
from tamis.schema import StoreError
from tamis.stores import EntityKind, Leftovers, RecallStore, RowIds

USERS, ITEMS, K, DIM = 7, 5, 3, 4
USER_IDS = ("ann", "bob's: x", "ä/ö: 1", '"7"', "7", "u 5", "{}")
ITEM_IDS = ("10", "9", "ÿ", "a|b", "-1")


def check_recall_store(make: Callable[[RowIds, RowIds], RecallStore]) -> None:
    """Raises AssertionError naming the rule that a store of recalled lists breaks.

    make: opens the same store, empty at first, with users and items; each call stands for another
    process.
    """
    users, items = (
        Table(name, pl.Series(ids), pl.DataFrame())
        for name, ids in (("users", USER_IDS), ("items", ITEM_IDS))
    )
    writer, reader = make(users, items), make(users, items)
    _check_nothing(reader)
    item, score, vectors = _write(writer, "2026-01-01", seed=1)
    _check_lists(reader, "2026-01-01", item, score)
    _check_vectors(reader, "2026-01-01", vectors)
    _check_versions_apart(writer, reader, item, score)
    _check_failed_write(writer, reader)
    _check_replaced(writer, reader)
    _check_forgotten(writer, reader)
    _check_dropped(writer, reader)


def check_leftovers(make: Callable[[], Leftovers]) -> None:
    """Raises AssertionError naming the rule that a store of queues breaks; `make` as above."""
    queues, other = make(), make()
    hour, size = 3_600_000, 4

    def update(now: int, shown: list[str], left: list[str], user: str = "ann") -> None:
        queues.update(user, shown=shown, left=left, now=now, size=size, max_age=hour)

    def waiting(since: int = 0, user: str = "ann") -> list[str]:
        ((items, times),) = other.waiting([user], since)
        assert len(items) == len(times), "every item has its time"
        assert list(times) == sorted(times, reverse=True), "the newest come first"
        return list(items)

    assert waiting() == [], "a new user's queue is empty"
    update(1_000, [], ["a", "b"])
    assert waiting() == ["a", "b"], "of one answer the best comes first"
    update(2_000, [], ["b", "c"])
    assert waiting() == ["c", "a", "b"], "an item that waits keeps its place and age"
    update(3_000, ["a"], [])
    assert waiting() == ["c", "b"], "what was shown leaves"
    assert waiting(since=1_500) == ["c"], "`since` leaves out what came in before"
    update(4_000, [], ["d", "e", "f"])
    assert waiting() == ["d", "e", "f", "c"], "the first in leave where there are too many"
    update(2_500 + hour, [], [])
    assert waiting() == ["d", "e", "f"], "who is too old leaves"
    update(2_500 + hour, [], ["g"])
    assert waiting() == ["g", "d", "e", "f"], "what is not too old stays"
    assert waiting(user="bob") == [], "users have queues of their own"
    update(5_000, [], ["ä/ö: 1"], user="bob's: x")
    ((one, times), (both, _)) = other.waiting(["bob's: x", "ann"], 0)
    assert list(both) == ["g", "d", "e", "f"], "a batch answers in the order asked"
    assert (list(one), list(times)) == (["ä/ö: 1"], [5_000]), "ids and times come back as given"
    assert list(other.waiting([], 0)) == [], "no users, no queues"
    queues.forget_user("ann")
    assert waiting() == [], "the queue of a user who was deleted is gone"
    assert waiting(user="bob's: x") == ["ä/ö: 1"], "and no other one"


def _write(
    store: RecallStore, version: str, seed: int, k: int = K
) -> tuple[np.ndarray, np.ndarray, dict[EntityKind, np.ndarray]]:
    """Writes two channels in two blocks; the last user and one in the middle have no list."""
    random = np.random.default_rng(seed)
    item = np.argsort(random.random((USERS, ITEMS)), axis=1)[:, :k].astype(np.int32)
    score = -np.sort(-random.random((USERS, k)), axis=1).astype(np.float32)
    item[1, 1:], score[1, 1:] = -1, -np.inf
    item[[3, USERS - 1]], score[[3, USERS - 1]] = -1, -np.inf
    sides = {EntityKind.USERS: USERS, EntityKind.ITEMS: ITEMS}
    vectors = {s: random.normal(size=(n, DIM)).astype(np.float32) for s, n in sides.items()}
    with store.write(version) as draft:
        for rows in (slice(4, USERS), slice(0, 4)):  # in any order
            draft.lists("near", rows.start, item[rows], score[rows])
            draft.lists("far", rows.start, item[rows, :1], score[rows, :1])
            draft.vectors("near", EntityKind.USERS, rows.start, vectors[EntityKind.USERS][rows])
        draft.vectors("near", EntityKind.ITEMS, 0, vectors[EntityKind.ITEMS])
    return item, score, vectors


def _check_nothing(store: RecallStore) -> None:
    assert list(store.versions()) == [], "an empty store has no versions"
    assert dict(store.holds("2026-01-01")) == {}, "an empty store holds nothing"
    _refuses(lambda: store.lists("2026-01-01", "near", _rows(0)), "tamis recall")
    _refuses(
        lambda: store.vectors("2026-01-01", "near", EntityKind.USERS, _rows(0)), "tamis recall"
    )
    try:
        store.drop("2026-01-01")
    except Exception as error:
        raise AssertionError("dropping a version that is not there must do nothing") from error


def _check_lists(store: RecallStore, version: str, item: np.ndarray, score: np.ndarray) -> None:
    asked = _rows(5, -1, 0, 3, 1, 6, USERS + 9, 0)
    found, scores = store.lists(version, "near", asked)
    assert found.dtype == np.int32, f"items must be int32, not {found.dtype}"
    assert scores.dtype == np.float32, f"scores must be float32, not {scores.dtype}"
    inside = (asked >= 0) & (asked < USERS)
    want = np.where(inside[:, None], item[np.where(inside, asked, 0)], -1)
    wants = np.where(inside[:, None], score[np.where(inside, asked, 0)], -np.inf)
    np.testing.assert_array_equal(_wide(found, -1), want, "lists must come back as written")
    np.testing.assert_array_equal(_wide(scores, -np.inf), wants, "so must scores")
    alone, _ = store.lists(version, "far", _rows(0))
    np.testing.assert_array_equal(alone, item[:1, :1], "channels must not mix")
    nobody, _ = store.lists(version, "near", _rows(-1, -1))
    assert nobody.shape[0] == 2, "one row per user asked"
    assert (nobody == -1).all(), "an unknown user has no list"
    empty, _ = store.lists(version, "near", _rows())
    assert empty.shape[0] == 0, "no users, no rows"
    _refuses(lambda: store.lists(version, "other", _rows(0)), "'other' is not recalled")


def _check_vectors(store: RecallStore, version: str, vectors: dict[EntityKind, np.ndarray]) -> None:
    for side, whole in vectors.items():
        found = store.vectors(version, "near", side, _rows(2, -1, 0, 99))
        want = np.stack([whole[2], np.zeros(DIM), whole[0], np.zeros(DIM)])
        assert found.dtype == np.float32, f"vectors must be float32, not {found.dtype}"
        np.testing.assert_array_equal(found, want, f"vectors of {side} must come back as written")
    _refuses(
        lambda: store.vectors(version, "far", EntityKind.USERS, _rows(0)), "'far' is not recalled"
    )


def _check_versions_apart(
    writer: RecallStore, reader: RecallStore, item: np.ndarray, score: np.ndarray
) -> None:
    _write(writer, "2026-01-02", seed=2)
    assert list(reader.versions()) == ["2026-01-01", "2026-01-02"], "versions come in time's order"
    assert dict(reader.holds("2026-01-02")) == {"near": K, "far": 1}, "holds names channels and k"
    _check_lists(reader, "2026-01-01", item, score)


def _check_failed_write(writer: RecallStore, reader: RecallStore) -> None:
    before = reader.lists("2026-01-02", "near", _rows(0))[0]
    try:
        with writer.write("2026-01-02") as draft:
            draft.lists("near", 0, np.full((1, K), 4, np.int32), np.zeros((1, K), np.float32))
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    after = reader.lists("2026-01-02", "near", _rows(0))[0]
    np.testing.assert_array_equal(after, before, "an interrupted write must change nothing")


def _check_replaced(writer: RecallStore, reader: RecallStore) -> None:
    item, score, _ = _write(writer, "2026-01-02", seed=3)
    _check_lists(reader, "2026-01-02", item, score)
    with writer.write("2026-01-02") as draft:
        draft.lists("far", 2, np.array([[1, 0]], np.int32), np.array([[2, 1]], np.float32))
        draft.vectors("far", EntityKind.ITEMS, 1, np.ones((1, DIM), np.float32))
    assert dict(reader.holds("2026-01-02")) == {"far": 2}, "a second write replaces the first"
    found, _ = reader.lists("2026-01-02", "far", _rows(1, 2))
    np.testing.assert_array_equal(found, [[-1, -1], [1, 0]], "rows not written have no list")
    vectors = reader.vectors("2026-01-02", "far", EntityKind.ITEMS, _rows(0, 1))
    expected = np.repeat([[0.0], [1.0]], DIM, axis=1)
    np.testing.assert_array_equal(vectors, expected, "rows not written have a zero vector")
    _refuses(lambda: reader.lists("2026-01-02", "near", _rows(0)), "not recalled")


def _check_forgotten(writer: RecallStore, reader: RecallStore) -> None:
    item, score, vectors = _write(writer, "2026-01-01", seed=1)
    writer.forget_user(USER_IDS[2], {"2026-01-01": 2, "2026-01-03": 2})
    item[2], score[2], vectors[EntityKind.USERS][2] = -1, -np.inf, 0
    _check_lists(reader, "2026-01-01", item, score)
    gone, _ = reader.lists("2026-01-01", "near", _rows(2))
    assert (gone == -1).all(), "a user who was deleted has no list"
    _check_vectors(reader, "2026-01-01", vectors)


def _check_dropped(writer: RecallStore, reader: RecallStore) -> None:
    writer.drop("2026-01-02")
    assert list(reader.versions()) == ["2026-01-01"], "a dropped version is gone, and no other"
    _refuses(lambda: reader.lists("2026-01-02", "far", _rows(2)), "tamis recall")


def _refuses(ask: Callable[[], object], words: str) -> None:
    said = None
    try:
        ask()
    except StoreError as error:
        said = str(error)
    assert said is not None, "reading what is not there must raise StoreError"
    assert words in said, f"the message must say {words!r}: {said}"


def _rows(*rows: int) -> np.ndarray:
    return np.array(rows, np.int32)


def _wide(found: np.ndarray, fill: float) -> np.ndarray:
    """Padded to K columns, because a store may return fewer where all lists are short."""
    return np.pad(found, ((0, 0), (0, K - found.shape[1])), constant_values=fill)
