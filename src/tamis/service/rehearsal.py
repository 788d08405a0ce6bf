"""Rehearses events and changes on a copy of a version's state: the first real ones are fast.

Kernels are compiled when they are first called, which takes seconds in a fresh installation.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

from tamis.bundle import Version
from tamis.cascade import CountsEvents, FollowsEvents, ReadsItemVectors
from tamis.filters import ExposedFilter
from tamis.journal import (
    Entry,
    Event,
    ItemDelete,
    ItemHide,
    ItemPatch,
    ItemPut,
    ItemShow,
    Numbered,
    UserDelete,
    UserPatch,
    UserPut,
)
from tamis.service.assembly import (
    FEATURES,
    HISTORIES,
    STATISTICS,
    Parts,
    part_readers,
    read_part,
)
from tamis.service.intake_rows import json_cell
from tamis.service.views import Views

log = logging.getLogger("tamis.service")
NEW = "rehearsal"
"""Id of the user and the item that come in a rehearsal; only the copy knows them."""


def rehearse(version: Version, parts: Parts, time: int) -> None:
    """Applies events and changes of users and items to a copy of the state of an open version.

    The copy is opened from the version's files, memory-mapped, and freed; `parts` does not change.
    A failure is logged: real events may go well all the same.

    Args:
        time: that of the events, ms since 1970 UTC.
    """
    try:
        state = _copy(version, parts)
        views = Views(state, version.manifest.data_until, 0)
        entries = _entries(state, time)
        for number, entry in enumerate(entries, start=1):
            views.apply([Numbered(number, entry)])
            if isinstance(entry, Event):
                views.queries(views.user_row(entry.user_id), views.earliest, None)
    except Exception:
        log.exception("no events could be rehearsed; the first ones may take longer")


def _copy(version: Version, parts: Parts) -> Parts:
    """The state of a version as its files hold it, without what only answers need."""
    readers = part_readers(parts.config, version.manifest.files)

    def opened(part: str) -> Any:
        return read_part(version.path / part, readers[part])

    reads = FollowsEvents | CountsEvents
    channels = [name for name, channel in parts.channels.items() if isinstance(channel, reads)]
    rules = [name for name, rule in parts.rerank.items() if isinstance(rule, reads)]
    rules = [n for n in rules if not isinstance(parts.rerank[n], ReadsItemVectors)]
    exposed = [n for n, rule in parts.filters.items() if isinstance(rule, ExposedFilter)]
    return replace(
        parts,
        users=parts.users.apart(),
        items=parts.items.apart(),
        space=opened(FEATURES),
        statistics=opened(STATISTICS),
        histories=opened(HISTORIES),
        channels={name: opened(f"channels/{name}") for name in channels},
        filters={name: opened(f"filters/{name}") for name in exposed},
        prerank=None,
        rank=cast("Any", None),
        rerank={name: opened(f"rerank/{name}") for name in rules},
        text=None,
        withdrawn=(),
    )


def _entries(state: Parts, time: int) -> Sequence[Entry]:
    """Events of a known and of a new user and item, changes of both, and deletions."""
    user = state.users.id_of(0) if len(state.users) else NEW
    item = state.items.id_of(0) if len(state.items) else NEW

    def events(user: str, item: str) -> list[Entry]:
        return [
            Event(
                event_id=NEW,
                user_id=user,
                item_id=item,
                behaviour=name,
                time=time,
                arrival=time,
                value=1.0,
            )
            for name in state.config.behaviours
        ]

    cells = state.items.cells(0) if len(state.items) else {}
    known = {name: json_cell(cell) for name, cell in cells.items()}
    return [
        *events(user, item),
        *events(NEW, NEW),
        ItemPut(item_id=f"{NEW} of an item", columns=known),
        ItemPatch(item_id=item, columns=known),
        UserPut(user_id=f"{NEW} of a user", columns={}),
        UserPatch(user_id=user, columns={}),
        *events(user, NEW),
        UserDelete(user_id=NEW),
        UserDelete(user_id=user),
        ItemHide(item_id=item),
        ItemShow(item_id=item),
        ItemDelete(item_id=item),
    ]
