"""Which new ids get rows of their own, and which ids expire, by the events of a journal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.bundle import IdChange
from tamis.features import UNSEEN, FeatureSpace
from tamis.runtime import Int32, Int64
from tamis.schema import ConfigError, Side, SparseFeat, milliseconds
from tamis.service import Parts

DAY_MS = 86_400_000
WIDTH, DEPTH = 1 << 16, 4
"""Counters of a sketch: 1 MB for any number of ids."""


class Sketch:
    """Counts ids within a window of event time, in memory that does not grow (count-min sketch).

    A count is never too low, and too high only where other ids share all of its counters. The
    window is kept as two halves, the older of which is dropped as a whole: a count is of the last
    half to whole window.
    """

    def __init__(self, window: int) -> None:
        self._half = max(window // 2, 1)
        self._counts = np.zeros((2, DEPTH, WIDTH), np.uint16)
        self._turn: int | None = None

    def add(self, text: str, time: int) -> int:
        """Counts an event of an id at `time` (ms); returns the id's count."""
        turn = time // self._half
        if self._turn is None or turn > self._turn:
            if self._turn is None or turn > self._turn + 1:
                self._counts[:] = 0
            else:
                self._counts[turn % 2] = 0
            self._turn = turn
        at = np.frombuffer(blake2b(text.encode(), digest_size=2 * DEPTH).digest(), np.uint16)
        rows = np.arange(DEPTH)
        own = self._counts[self._turn % 2]
        own[rows, at] += own[rows, at] < np.iinfo(np.uint16).max
        return int(self._counts[:, rows, at].astype(np.int64).sum(axis=0).min())


@dataclass(eq=False)
class Admission:
    """The ids of one feature.

    Args:
        feature: declared with `spare` or `expire_days`.
        space: the feature space of the version, whose vocabulary is changed.
        seen: (size,) the time (ms) of the last event of each code before.
    """

    feature: SparseFeat
    space: FeatureSpace
    seen: Int64

    def __post_init__(self) -> None:
        self._sketch = Sketch(milliseconds(self.feature.admit_within))
        self._vocabulary = self.space.vocabularies[self.feature.name]
        self._newest = 0
        self.crowded: set[str] = set()
        """Ids that had enough events, and found no spare row, since `take_crowded`."""

    @classmethod
    def of(cls, parts: Parts, end: int) -> list[Admission]:
        """Those of a version whose data end at `end` (ms).

        Raises ConfigError for a feature that reads a column, not the ids of users or items.
        """
        found: list[Admission] = []
        for feature in parts.space.features:
            if not isinstance(feature, SparseFeat):
                continue
            if not feature.spare and feature.expire_days is None:
                continue
            if not parts.space.reads_ids(feature, parts.users, parts.items):
                raise ConfigError(
                    f"[[features]] {feature.name}: spare and expire_days are for the ids of users "
                    f"and items themselves, and this feature reads the column {feature.source!r}; "
                    "remove them there"
                )
            found.append(cls(feature, parts.space, _last_events(parts, feature, end)))
        return found

    def observe(self, texts: Sequence[str], times: Iterable[int]) -> IdChange | None:
        """Takes note of events of ids, in their order, and changes the vocabulary; None: nothing
        changes."""
        codes = self._codes(texts)
        admitted: dict[str, int] = {}
        free = self._vocabulary.free_codes() if self.feature.spare else []
        for text, code, time in zip(texts, codes.tolist(), times, strict=True):
            self._newest = max(self._newest, time)
            code = admitted.get(text, code)
            if code != UNSEEN:
                self.seen[code] = max(int(self.seen[code]), time)
            elif self.feature.spare:
                if self._sketch.add(text, time) < self.feature.admit_after:
                    continue
                if not free:
                    self.crowded.add(text)
                    continue
                admitted[text] = free.pop(0)
                self.seen[admitted[text]] = time
        expired = self._expired(set(admitted.values()))
        if not admitted and not expired:
            return None
        return IdChange(tuple(expired), admitted)

    def take_crowded(self) -> int:
        """How many ids had enough events, and found no spare row, since the last call."""
        found = len(self.crowded)
        self.crowded.clear()
        return found

    def rows(self, codes: Iterable[int]) -> tuple[Int32, Int32]:
        """(m,) the rows of codes in the fused table, and (m,) that of unseen ids."""
        start = self.space.layout.table[self.feature.name].start
        rows = np.array(sorted(codes), np.int32) + np.int32(start)
        return rows, np.full(len(rows), start + UNSEEN, np.int32)

    def _codes(self, texts: Sequence[str]) -> Int32:
        return self._vocabulary.encode(pl.Series("id", list(texts), pl.String))

    def _expired(self, fresh: set[int]) -> list[int]:
        """Codes whose ids have had no event for `expire_days`."""
        if self.feature.expire_days is None:
            return []
        before = self._newest - int(self.feature.expire_days * DAY_MS)
        old = np.flatnonzero(self.seen < before).tolist()
        held = (code for code in old if code > UNSEEN and code not in fresh)
        return [code for code in held if self._vocabulary.holds(code)]


def _last_events(parts: Parts, feature: SparseFeat, end: int) -> Int64:
    """(size,) the time (ms) of the last event of each code in the version's histories; `end` for
    codes without any."""
    of_users = parts.space.side_of(feature.name) is Side.USER
    last = _last_by_row(parts, of_users)
    vocabulary = parts.space.vocabularies[feature.name]
    seen = np.full(vocabulary.size, end, np.int64)
    codes = vocabulary.encode((parts.users if of_users else parts.items).ids)
    known = (codes > UNSEEN) & (last > 0)
    seen[codes[known]] = last[known]
    return seen


def _last_by_row(parts: Parts, of_users: bool) -> NDArray[np.int64]:
    """(n,) the time of the last event of each user, or item; 0 without any."""
    table = parts.users if of_users else parts.items
    last, block = np.zeros(len(table), np.int64), 10_000
    late = np.iinfo(np.int64).max - 1
    for at in range(0, parts.histories.n_users, block):
        users = np.arange(at, min(at + block, parts.histories.n_users), dtype=np.int32)
        times = np.full(len(users), late, np.int64)
        history = parts.histories.at(users, times)
        rows = np.repeat(users, np.diff(history.indptr)) if of_users else history.item
        np.maximum.at(last, rows, history.time)
    return last
