"""Protocols of channels that read or write online state while a version serves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from tamis.cascade.candidates import Candidates
from tamis.cascade.protocols import Channel
from tamis.cascade.query import Queries
from tamis.data import Table


@dataclass(frozen=True, eq=False)
class Home:
    """Where a serving version's channels find online state, and whose rows theirs are."""

    folder: Path
    """The project's; embedded stores lie in its `stores/`."""
    project: str
    """The project's name, which begins its keys on a shared server."""
    version: str
    users: Table
    """Row numbers of queries ↔ external ids."""
    items: Table


@runtime_checkable
class UsesStore(Protocol):
    """A channel that reads online state once it serves."""

    def bind(self, home: Home) -> None:
        """Called once, after `load`, by the serving recommender. Opens no connection yet: a server
        that is away degrades answers, it does not keep a version from being opened."""
        ...


@runtime_checkable
class Remembers(Protocol):
    """A channel that learns from answers as they are given."""

    def remember(self, queries: Queries, ranked: Candidates, slate: Candidates) -> None:
        """After an answer: everything that was ranked, best first, and what of it is shown."""
        ...


@runtime_checkable
class Precomputed(Protocol):
    """A channel that reads, once bound, what `tamis recall` wrote of another one."""

    inner: Channel
    """The one that computes."""

    @property
    def address(self) -> str:
        """Of its store, as declared."""
        ...
