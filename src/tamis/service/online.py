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

from tamis.bundle import Kind, Version
from tamis.cascade import Channel, Home, Outcome, Remembers, UsesStore
from tamis.service.assembly import Parts

log = logging.getLogger("tamis.cascade")


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
