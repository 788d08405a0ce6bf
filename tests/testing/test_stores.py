"""The suites of stores detect stores that violate one property each."""

from contextlib import contextmanager

import numpy as np
import pytest

from tamis.schema import StoreError
from tamis.testing import check_leftovers, check_recall_store


class MemoryRecall:
    """Recalled lists in a dictionary, {version: {(channel, part): array}}, that all openings share.

    `violates` names the property that a test breaks; empty: none.
    """

    def __init__(self, held, users, items, violates=""):
        self.held, self.violates = held, violates
        self.sizes = len(users), len(items)

    address = "memory"

    def lists(self, version, channel, users):
        if self.violates == "nothing is empty" and version not in self.held:
            return np.full((len(users), 1), -1, np.int32), np.zeros((len(users), 1), np.float32)
        if self.violates == "mixed channels" and channel == "far":
            channel = "near"
        item = self._array(version, channel, "item")
        score = self._array(version, channel, "score")
        if self.violates == "sorted users":
            users = np.sort(users)
        known = (users >= 0) & (users < len(item))
        items, scores = item[np.where(known, users, 0)], score[np.where(known, users, 0)]
        if self.violates != "unknown users":
            items[~known], scores[~known] = -1, -np.inf
        if self.violates == "one row" and (users == -1).all() and len(users):
            items, scores = items[:1], scores[:1]
        if self.violates == "no users" and not len(users):
            items = np.full((1, 1), -1, np.int32)
        if self.violates == "type of items":
            items = items.astype(np.int64)
        if self.violates == "type of scores":
            scores = scores.astype(np.float64)
        if self.violates == "scores":
            scores = -scores
        return items, scores

    def vectors(self, version, channel, side, rows):
        if self.violates == "sides" and version in self.held:
            side = "users"
        held = self._array(version, channel, side)
        known = (rows >= 0) & (rows < len(held))
        found = held[np.where(known, rows, 0)]
        if self.violates != "unknown rows":
            found[~known] = 0
        return found.astype(np.float64) if self.violates == "type of vectors" else found

    def _array(self, version, channel, part):
        found = self.held.get(version, {}).get((channel, str(part)))
        if found is not None:
            return found
        if self.violates == "error" and version not in self.held:
            raise StoreError("there is nothing")
        if self.violates == "error of a channel" and version in self.held:
            raise StoreError("run `tamis recall PROJECT`")
        what = f"channel {channel!r} is not recalled" if version in self.held else "nothing is"
        raise StoreError(f"{what} for version {version}: run `tamis recall PROJECT`")

    @contextmanager
    def write(self, version):
        draft = Draft(*self.sizes, self.violates)
        if self.violates == "failed write":
            draft.arrays = self.held.setdefault(version, {})
        if self.violates == "merged write":
            draft.arrays = {k: array.copy() for k, array in self.held.get(version, {}).items()}
        yield draft
        if self.violates == "one version":
            self.held.clear()
        self.held[version] = draft.arrays

    def holds(self, version):
        if self.violates == "holds":
            return {channel: 1 for channel, part in self.held.get(version, {}) if part == "item"}
        if self.violates == "holds nothing":
            return {"near": 0}
        arrays = self.held.get(version, {}).items()
        return {channel: len(array[0]) for (channel, part), array in arrays if part == "item"}

    def versions(self):
        if self.violates == "versions":
            return ["2026-01-01"]
        return sorted(self.held, reverse=self.violates == "order of versions")

    def forget_user(self, user, rows):
        for version, row in rows.items():
            for (_, part), array in self.held.get(version, {}).items():
                if part == "items" or self.violates == "kept":
                    continue
                rows_of = slice(None) if self.violates == "forgets others" else row
                if part != "users":
                    array[rows_of] = -1 if part == "item" else -np.inf
                elif self.violates != "kept vector":
                    array[rows_of] = 0

    def drop(self, version):
        if self.violates == "drop all":
            self.held.clear()
        elif self.violates == "drop absent":
            del self.held[version]
        elif self.violates != "drop":
            self.held.pop(version, None)


class Draft:
    """The draft of `MemoryRecall`."""

    def __init__(self, users, items, violates):
        self.rows, self.violates = {"users": users, "items": items}, violates
        self.arrays = {}

    def lists(self, channel, first, item, score):
        empty = 0 if self.violates == "unwritten rows" else -1
        self._put(channel, "item", self.rows["users"], first, item, empty)
        self._put(channel, "score", self.rows["users"], first, score, -np.inf)

    def vectors(self, channel, side, first, vectors):
        empty = 1 if self.violates == "unwritten vectors" else 0
        self._put(channel, str(side), self.rows[side], first, vectors, empty)

    def _put(self, channel, part, rows, first, block, empty):
        key = (channel, part)
        if self.violates == "order of blocks":
            first = sum(len(x) for x in [self.arrays.get(key, block[:0])])
            block = np.concatenate([self.arrays.pop(key, block[:0]), block])
            self.arrays[key], first, rows = block.copy(), 0, len(block)
            return
        if key not in self.arrays or self.arrays[key].shape[1] != block.shape[1]:
            self.arrays[key] = np.full((rows, block.shape[1]), empty, block.dtype)
        self.arrays[key][first : first + len(block)] = block


def check_memory(violates=""):
    held = {}
    check_recall_store(lambda users, items: MemoryRecall(held, users, items, violates))


def test_a_correct_store_of_lists_passes():
    check_memory()


@pytest.mark.parametrize(
    ("violates", "message"),
    [
        ("versions", "an empty store has no versions"),
        ("holds nothing", "an empty store holds nothing"),
        ("nothing is empty", "reading what is not there must raise StoreError"),
        ("error", r"the message must say 'tamis recall': there is nothing"),
        ("error of a channel", "the message must say \"'other' is not recalled\""),
        ("drop absent", "dropping a version that is not there must do nothing"),
        ("type of items", "items must be int32, not int64"),
        ("type of scores", "scores must be float32, not float64"),
        ("sorted users", "lists must come back as written"),
        ("order of blocks", "lists must come back as written"),
        ("unknown users", "lists must come back as written"),
        ("scores", "so must scores"),
        ("mixed channels", "channels must not mix"),
        ("one row", "one row per user asked"),
        ("no users", "no users, no rows"),
        ("sides", "vectors of items must come back as written"),
        ("unknown rows", "vectors of users must come back as written"),
        ("one version", "versions come in time's order"),
        ("order of versions", "versions come in time's order"),
        ("holds", "holds names channels and k"),
        ("failed write", "an interrupted write must change nothing"),
        ("merged write", "a second write replaces the first"),
        ("unwritten rows", "rows not written have no list"),
        ("type of vectors", "vectors must be float32, not float64"),
        ("unwritten vectors", "rows not written have a zero vector"),
        ("kept", "a user who was deleted has no list"),
        ("forgets others", "lists must come back as written"),
        ("kept vector", "vectors of users must come back as written"),
        ("drop", "a dropped version is gone, and no other"),
        ("drop all", "a dropped version is gone, and no other"),
    ],
)
def test_the_suite_detects_a_store_of_lists_that_violates_a_property(violates, message):
    with pytest.raises(AssertionError, match=message):
        check_memory(violates)


class MemoryLeftovers:
    """Queues in a dictionary, {user: [(time, place, item)]}, that all openings share."""

    def __init__(self, held, violates=""):
        self.held, self.violates = held, violates

    def update(self, user, *, shown, left, now, size, max_age):
        key = "everyone" if self.violates == "one queue" else user
        queue = self.held.setdefault(key, {})
        if self.violates != "shown":
            for item in shown:
                queue.pop(item, None)
        best_last = left if self.violates == "worst first" else reversed(left)
        for item in best_last:
            if item not in queue or self.violates == "renewed":
                queue.pop(item, None)
                queue[item] = now
        if self.violates != "age":
            for item in [item for item, time in queue.items() if time < now - max_age]:
                del queue[item]
        surplus = [] if self.violates == "size" else list(queue)[: max(0, len(queue) - size)]
        if self.violates == "newest leave":
            surplus = list(queue)[size:]
        for item in surplus:
            del queue[item]

    def forget_user(self, user):
        if self.violates == "forgets all":
            self.held.clear()
        elif self.violates != "kept":
            self.held.pop(user, None)

    def waiting(self, users, since):
        if self.violates == "never empty" and not users:
            return [((), ())]
        asked = sorted(users) if self.violates == "order of users" else users
        return [self._one("everyone" if self.violates == "one queue" else u, since) for u in asked]

    def _one(self, user, since):
        queue = list(self.held.get(user, {}).items())[::-1]
        if self.violates != "since":
            queue = [(item, time) for item, time in queue if time >= since]
        items, times = [item for item, _ in queue], [time for _, time in queue]
        if self.violates == "ids":
            items = [item.encode("ascii", "replace").decode() for item in items]
        if self.violates == "oldest first":
            items, times = items[::-1], times[::-1]
        if self.violates == "times":
            times = times[1:]
        return (["x"] if self.violates == "new user" and not items else items), times


def check_memory_queues(violates=""):
    held = {}
    check_leftovers(lambda: MemoryLeftovers(held, violates))


def test_a_correct_store_of_queues_passes():
    check_memory_queues()


@pytest.mark.parametrize(
    ("violates", "message"),
    [
        ("new user", "every item has its time"),
        ("times", "every item has its time"),
        ("worst first", "of one answer the best comes first"),
        ("renewed", "an item that waits keeps its place and age"),
        ("oldest first", "of one answer the best comes first|the newest come first"),
        ("shown", "what was shown leaves"),
        ("since", "`since` leaves out what came in before"),
        ("size", "the first in leave where there are too many"),
        ("newest leave", "the first in leave where there are too many"),
        ("age", "who is too old leaves"),
        ("one queue", "users have queues of their own"),
        ("order of users", "a batch answers in the order asked"),
        ("ids", "ids and times come back as given"),
        ("never empty", "no users, no queues"),
        ("kept", "the queue of a user who was deleted is gone"),
        ("forgets all", "and no other one"),
    ],
)
def test_the_suite_detects_a_store_of_queues_that_violates_a_property(violates, message):
    with pytest.raises(AssertionError, match=message):
        check_memory_queues(violates)
