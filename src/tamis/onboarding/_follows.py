"""Finds a table of the authors whom users follow among the tables without another role."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import polars as pl

from tamis.data import column_names as words
from tamis.data import id_text
from tamis.onboarding._outcomes import Declared

_HELD = 0.8
"""Least share of a column's values that must be users of the log, or authors of the items."""
_CHANNEL = {"source": "followed", "quota": 100}


def describe_follows(
    declared: Declared,
    frames: Mapping[str, pl.DataFrame],
    users: pl.Series,
    used: Collection[str],
) -> str | None:
    """Adds `follows`; returns its file, or None where no table has users and authors.

    A table is one if a column named as the log's user holds its users, and another column, in a
    table without the log's item, holds authors of the items.

    Args:
        frames: the tables by file.
        users: the log's column of users.
        used: files that have another role.
    """
    items: dict[str, Any] = declared.data.get("items", {})
    events: dict[str, Any] = declared.data["events"]
    if "author" not in items:
        return None
    authors = frames[items["path"]][items["author"]]
    item_names = {words.plain(name) for name in (events["item"], items["id"])}
    for file, frame in frames.items():
        names = {words.plain(column): column for column in frame.columns}
        user = names.get(words.plain(events["user"]))
        if file in used or user is None or item_names & set(names):
            continue
        if _held(frame[user], users) < _HELD:
            continue
        shares = {c: _held(frame[c], authors) for c in frame.columns if c != user}
        author = max(shares, key=shares.__getitem__, default=None)
        if author is None or shares[author] < _HELD:
            continue
        declared.data["follows"] = {"path": file, "user": user, "author": author}
        declared.comments["follows"] = (
            "Every row counts as known at any time; name the column `time` if the table has one."
        )
        declared.notes.append(
            f"{file} says which authors users follow: `{user}` and `{author}`; the channel "
            "`author` recalls their newest items"
        )
        return file
    return None


def follow_channel(declared: Declared) -> None:
    """Adds the channel that reads `follows`, where it is declared."""
    if "follows" in declared.data:
        declared.data["cascade"]["channels"]["author"] = dict(_CHANNEL)
        declared.comments["cascade.channels.author"] = "items of the authors whom a user follows"


def _held(values: pl.Series, known: pl.Series) -> float:
    """The share of distinct values that are among the known ones."""
    own = id_text(values, "", ()).drop_nulls().unique()
    held = own.is_in(id_text(known, "", ()).unique().implode()).to_numpy()
    return float(held.mean()) if len(held) else 0.0
