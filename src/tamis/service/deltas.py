"""Applies the deltas of incremental updates to an open version, between two requests."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Container
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from tamis.bundle import Delta, DeltaChain, DeltaFolder, Version
from tamis.cascade import TakesRows, TakesVectors
from tamis.runtime import Float32, Int32
from tamis.schema import TamisError, VersionError
from tamis.service.assembly import Parts
from tamis.service.views import Views

log = logging.getLogger("tamis.service")
T = TypeVar("T")

RETRY = 30.0
"""Seconds after which a delta that was refused is read again: it may have been put back."""


@dataclass(frozen=True)
class DeltaState:
    """The newest delta that was applied."""

    number: int
    """Its place in the sequence of its version."""
    position: int
    """Number of the last entry of the journal that it has read."""
    created: int
    """When it was made, ms since 1970 UTC."""
    newest: int
    """Time of the newest event that it has read, ms since 1970 UTC."""


class AppliedDeltas:
    """The deltas of one open version: those that were applied, and those that come.

    A delta that is missing, repeated, out of order, damaged or of another version is refused:
    answers go on with what was applied before, and `problem` says why.

    Args:
        version: the base.
        parts: what is open of it, which changes with each delta.
        views: know which items have changed since.
    """

    def __init__(self, version: Version, parts: Parts, views: Views) -> None:
        self.state: DeltaState | None = None
        """The newest delta that was applied; None: there is none."""
        self.problem: str | None = None
        """Why newer deltas are not applied; None: all are."""
        self.applied = 0
        """Number of deltas that were applied."""
        self._parts, self._views = parts, views
        self._chain = DeltaChain(version)
        self._folder = DeltaFolder(version)
        self._seen: object = None
        self._retry = float("inf")

    def catch_up(
        self,
        between: Callable[[], AbstractContextManager[Any]] = nullcontext,
        upto: int | None = None,
    ) -> int:
        """Applies what is new; returns how many deltas that are.

        between: gives a context in which no request is being answered; each delta is applied in
            one of its own. Files are read and checked outside.
        upto: number of the last delta to apply; None: all.
        """
        stamp, before = self._folder.stamp, self.applied
        if upto is None and stamp == self._seen and time.monotonic() < self._retry:
            return 0
        self._seen, self._retry = stamp, float("inf")
        try:
            for delta in self._folder.after(self._chain):
                if upto is not None and delta.number > upto:
                    self._seen = None
                    break
                check_delta(self._parts, delta)
                with between():
                    apply_delta(self._parts, delta, self._views.items.changed)
                    self._took(delta)
            self.problem = None
        except Exception as error:  # a damaged file fails in many ways; requests go on
            self._report(error)
        return self.applied - before

    def _took(self, delta: Delta) -> None:
        self._chain.advance(delta)
        self.applied += 1
        self.state = DeltaState(delta.number, delta.position, delta.created, delta.newest)

    def _report(self, error: Exception) -> None:
        known = isinstance(error, TamisError)
        text = str(error) if known else f"{type(error).__name__}: {error}"
        problem = (
            f"a delta of version {self._chain.version.name} was refused, answers go on with delta "
            f"{self._chain.number}: {text}"
        )
        if problem != self.problem:
            log.error("%s", problem, exc_info=None if known else error)
        self.problem, self._retry = problem, time.monotonic() + RETRY


def stages_of(parts: Parts) -> dict[str, object]:
    """The stages whose embeddings a delta may change, by the names that it gives them."""
    return {"rank": parts.rank, **{f"channels/{n}": c for n, c in parts.channels.items()}}


def check_delta(parts: Parts, delta: Delta) -> None:
    """Raises VersionError where a delta does not fit the open stages."""
    for name, change in delta.tables.items():
        _check_shape(name, change.rows, change.values, _stage(parts, name, TakesRows).table_shape)
    for name, change in delta.vectors.items():
        shape = _stage(parts, name, TakesVectors).vectors_shape
        _check_shape(name, change.rows, change.vectors, shape)
    unknown = set(delta.ids) - set(parts.space.vocabularies)
    if unknown:
        raise VersionError(f"the delta changes the ids of {min(unknown)}, which is no feature")


def apply_delta(parts: Parts, delta: Delta, changed: Container[int] = ()) -> None:
    """Puts the rows and vectors of a delta, which was checked, into the open stages.

    changed: rows of items whose columns have changed since the version was made. Their vectors are
        computed by this process, from the columns as they are now.
    """
    for name, change in delta.tables.items():
        _stage(parts, name, TakesRows).take_rows(change.rows, change.values)
    for name, ids in delta.ids.items():
        tables = parts.users, parts.items
        parts.space.change_ids(name, ids.expired, ids.admitted, tables)
    for name, change in delta.vectors.items():
        own = np.array([row in changed for row in change.rows.tolist()], np.bool_)
        channel = _stage(parts, name, TakesVectors)
        channel.take_vectors(change.rows, change.vectors, parts.items, own)
        parts.item_indexes.update_items(parts.items, change.rows)


def _stage(parts: Parts, name: str, kind: type[T]) -> T:
    """The stage that a delta names. Raises VersionError unless it is of that kind."""
    stage = stages_of(parts).get(name)
    if not isinstance(stage, kind):
        raise VersionError(
            f"the delta changes {name}, which takes no new vectors: it was written by another "
            "release of Tamis; upgrade tamis"
        )
    return stage


def _check_shape(name: str, rows: Int32, values: Float32, shape: tuple[int, int]) -> None:
    fits = values.shape == (len(rows), shape[1])
    if not fits or (len(rows) and not 0 <= rows.min() <= rows.max() < shape[0]):
        raise VersionError(
            f"the delta changes {values.shape[0]} rows of width {values.shape[1:]} of {name}, up "
            f"to row {rows.max(initial=-1)}; its table has the shape {shape}"
        )
