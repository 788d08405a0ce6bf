"""How channels of a serving version reach online state, and remember what they answered.

A channel's `load` sees its own directory and its options: enough for what a version holds. What
changes while it serves, or is computed from it later, lies outside, under the project and the
version's name. So `Recommender` opens a serving version and then hands every channel that has a
`bind` its `Home`. An evaluation version, a replay and a fit bind nothing: there such a channel
computes, or returns nothing, from what it was fitted on alone.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from tamis.bundle import Kind, Version
from tamis.cascade.candidates import Candidates
from tamis.cascade.parts import Parts
from tamis.cascade.protocols import Channel
from tamis.cascade.query import Queries
from tamis.cascade.runner import Outcome
from tamis.events import Table

log = logging.getLogger("tamis.cascade")


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


def bind(parts: Parts, version: Version) -> None:
    """Hands a serving version's channels their home; an evaluation version's stay as they are."""
    if version.manifest.kind is not Kind.SERVING:
        return
    folder = version.path.parent.parent  # PROJECT/versions/NAME
    home = Home(folder, parts.config.name, version.name, parts.users, parts.items)
    for channel in parts.channels.values():
        if isinstance(channel, UsesStore):
            channel.bind(home)


def remember(channels: Mapping[str, Channel], outcome: Outcome) -> list[str]:
    """Tells the channels that care what was ranked and shown; returns what failed, in words.

    The answer is already made: a failure is logged and told, never raised.
    """
    failed: list[str] = []
    for name, channel in channels.items():
        if isinstance(channel, Remembers):
            try:
                channel.remember(outcome.queries, outcome.ranked, outcome.slate)
            except Exception as error:
                log.exception("recall channel %s could not remember an answer", name)
                failed.append(f"remember:{name}: {type(error).__name__}: {error}")
    return failed
