"""Protocols of channels that read or write online state while a version serves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray

from tamis.cascade.candidates import Candidates
from tamis.cascade.protocols import Channel
from tamis.cascade.query import Queries
from tamis.data import Events, Table
from tamis.runtime import Bool, Float32, Int32


@dataclass(frozen=True, eq=False)
class Home:
    """Where the channels of a serving version find online state, and whose row numbers they use."""

    folder: Path
    """The project's folder; embedded stores are in its `stores/`."""
    project: str
    """The project's name, the prefix of its keys on a shared server."""
    version: str
    users: Table
    """Row numbers of queries ↔ external ids."""
    items: Table


@runtime_checkable
class FollowsItems(Protocol):
    """A stage that keeps what it has read of the items, and takes up their changes while it serves.

    What a stage keeps for an item must be the same, bit for bit, whether it was read when the
    stage was fitted or opened, or taken up later; learnt parameters do not change.
    """

    def update_items(self, items: Table, rows: Int32) -> None:
        """Called after items were added or their columns changed, between two requests.

        Args:
            items: the whole table as it is now; rows that were there before keep their numbers.
            rows: (m,) the rows that are new or changed, ascending and distinct.
        """
        ...


@runtime_checkable
class FollowsUsers(Protocol):
    """A stage that keeps what it has read of the users; see `FollowsItems`."""

    def update_users(self, users: Table, rows: Int32) -> None:
        """Called after users were added or their columns changed, between two requests."""
        ...


@runtime_checkable
class FollowsEvents(Protocol):
    """A stage that keeps what users did or were shown lately, and takes up events as they come."""

    def update_events(self, events: Events) -> None:
        """Called with new events, in the order of their arrival, between two requests."""
        ...

    def forget_row(self, user: int) -> None:
        """Removes what is kept of a user row."""
        ...

    def appended(self) -> dict[str, NDArray[Any]]:
        """What `update_events` has added and `forget_row` has left, for `restore`."""
        ...

    def restore(self, appended: Mapping[str, NDArray[Any]]) -> None:
        """Adds what `appended` returned to a stage that was just opened."""
        ...


@runtime_checkable
class CountsEvents(Protocol):
    """A stage that counts events per item, whoever did them: deleted users' events count, too."""

    def count_events(self, events: Events) -> None:
        """Called with new events, in the order of their arrival, between two requests. It may come
        before `update_items` of their items."""
        ...

    def appended(self) -> dict[str, NDArray[Any]]:
        """What `count_events` has added, for `restore`."""
        ...

    def restore(self, appended: Mapping[str, NDArray[Any]]) -> None:
        """Adds what `appended` returned to a stage that was just opened."""
        ...


@runtime_checkable
class TakesRows(Protocol):
    """A stage whose vectors of ids change while it serves, by the deltas of incremental updates."""

    @property
    def table_shape(self) -> tuple[int, int]:
        """Rows of its embedding table, and their width."""
        ...

    def take_rows(self, rows: Int32, values: Float32) -> None:
        """Called between two requests with new vectors (m, d) of rows (m,) of its embedding table,
        which fit `table_shape`."""
        ...


@runtime_checkable
class TakesVectors(Protocol):
    """A channel whose items' vectors change while it serves, by deltas."""

    @property
    def vectors_shape(self) -> tuple[int, int]:
        """Items of the fit, and the width of their vectors."""
        ...

    def take_vectors(self, rows: Int32, vectors: Float32, items: Table, changed: Bool) -> None:
        """Called between two requests, after `take_rows`.

        Args:
            rows: (m,) items of the fit.
            vectors: (m, d) their vectors from now on.
            items: the whole table as it is now.
            changed: (m,) whether an item's columns are other ones than at the fit: the channel
                makes the vectors of these itself, from the columns as they are now.
        """
        ...


@runtime_checkable
class UsesStore(Protocol):
    """A channel that reads online state while it serves."""

    def bind(self, home: Home) -> None:
        """Called once, after `load`, by the serving recommender. It opens no connection: a server
        that is down degrades answers but does not prevent a version from opening."""
        ...


@runtime_checkable
class Remembers(Protocol):
    """A channel that stores what was ranked and shown."""

    def remember(self, queries: Queries, ranked: Candidates, slate: Candidates) -> None:
        """Called after an answer with all ranked candidates, best first, and the slate."""
        ...


@runtime_checkable
class ForgetsUsers(Protocol):
    """A channel that stores something of users outside its version."""

    def forget_stored(self, user: str, rows: Mapping[str, int]) -> None:
        """Removes what is stored of a deleted user.

        Args:
            user: external id.
            rows: {version: the user's row in it}, of the versions that have the user.

        Raises StoreError where the store fails.
        """
        ...


@runtime_checkable
class Precomputed(Protocol):
    """A channel that reads the lists that `tamis recall` has computed with another channel."""

    inner: Channel
    """The channel that computes the lists."""

    @property
    def address(self) -> str:
        """Address of its store, as declared."""
        ...
