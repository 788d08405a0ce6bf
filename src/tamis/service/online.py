"""Connects channels of a serving version with online state, and passes answers back to them.

A channel's `load` reads its own directory in the version. State that changes while the version
serves, or that is computed later, is kept outside it, under the names of project and version.
`Recommender` therefore gives each channel with a `bind` method its `Home` after opening a serving
version. Evaluation versions, replays and fits bind nothing: there such a channel uses only what it
was fitted on.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from tamis.bundle import Kind, Version
from tamis.cascade import Channel, ForgetsUsers, Home, Outcome, Remembers, UsesStore
from tamis.service.assembly import Parts

log = logging.getLogger("tamis.cascade")


def bind(parts: Parts, version: Version) -> None:
    """Binds the channels of a serving version to their stores; does nothing for other versions."""
    if version.manifest.kind is not Kind.SERVING:
        return
    folder = version.path.parent.parent  # PROJECT/versions/NAME
    home = Home(folder, parts.config.name, version.name, parts.users, parts.items)
    for channel in parts.channels.values():
        if isinstance(channel, UsesStore):
            channel.bind(home)


def remember(channels: Mapping[str, Channel], outcome: Outcome) -> list[str]:
    """Passes the ranked list and the slate to channels that store them; returns what failed.

    The answer is already complete, so a failure is logged and reported, never raised.
    """
    failed: list[str] = []
    for name, channel in channels.items():
        # `isinstance` of a protocol is slow: only those that may have the method are asked
        if hasattr(channel, "remember") and isinstance(channel, Remembers):
            try:
                channel.remember(outcome.queries, outcome.ranked, outcome.slate)
            except Exception as error:
                log.exception("recall channel %s could not store an answer", name)
                failed.append(f"remember:{name}: {type(error).__name__}: {error}")
    return failed


def forget_user(channels: Mapping[str, Channel], user: str, rows: Mapping[str, int]) -> list[str]:
    """Removes a deleted user from the stores of channels; returns what failed.

    rows: {version: the user's row in it}.

    The deletion is in the journal already, so a failure is logged and reported, never raised.
    """
    failed: list[str] = []
    for name, channel in channels.items():
        if isinstance(channel, ForgetsUsers):
            try:
                channel.forget_stored(user, rows)
            except Exception as error:
                log.exception("recall channel %s could not forget a user", name)
                failed.append(f"{name}: {type(error).__name__}: {error}")
    return failed
