"""A small project for trials of a running service: its events and items are all in a journal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tamis.journal import Entry, Event, ItemPut, open_journal

T0 = 1_700_000_000_000
"""Time of the first event, ms since 1970 UTC."""
MINUTE = 60_000
TOML = """
name = "corner"
clock = "data"
groups = ["kind", "own:kind"]
[events]
[items]
title = "name"
category = "kind"
[behaviours.like]
positive = true
[split]
windows = 2
[answers]
inputs = 1.0
[cascade]
fusion = "like"
[cascade.channels.hot]
[cascade.channels.itemcf]
[cascade.filters.seen]
[cascade.rank]
use = "lr"
epochs = 1
[tasks.like]
"""


def corner_shop(folder: Path, users: int = 60, items: int = 30, turns: int = 12) -> int:
    """Writes a `tamis.toml` and fills the journal; `tamis train` takes a few seconds.

    Each of the users likes an item per turn, of one of two kinds. Returns the number of entries.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tamis.toml").write_text(TOML, "utf-8")
    journal = open_journal(folder, "corner")
    try:
        journal.append(list(_entries(users, items, turns)))
        return journal.head
    finally:
        journal.close()


def _entries(users: int, items: int, turns: int) -> Iterator[Entry]:
    for k in range(items):
        yield ItemPut(item_id=f"i{k}", columns={"name": f"Item {k}", "kind": "ab"[k % 2]})
    random = np.random.default_rng(0)
    for number in range(turns * users):
        user, at = number % users, T0 + number * 37 * MINUTE
        item = int(random.integers(items // 2)) * 2 + user % 2
        yield Event(
            event_id=f"e{number}",
            user_id=f"u{user}",
            item_id=f"i{item}",
            behaviour="like",
            time=at,
            arrival=at,
        )
