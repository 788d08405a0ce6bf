"""Finds the tables of the log's items and users among the other tables of a folder."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from tamis.data import EventLog, Link, TableSet
from tamis.data import column_names as words
from tamis.schema import DataError

_ENOUGH = 0.35
"""Points from which a table is taken: a join and what its columns are about."""
_HELD = 0.02
"""Least share of the log's ids in a table whose column has another name."""
Side = Literal["item", "user"]


@dataclass(frozen=True)
class FoundTable:
    """A table of items or users."""

    file: str
    key: str
    """Its column of the ids."""
    held: float
    """Share of the log's ids that it holds, in [0, 1]."""


def find_table(
    tables: TableSet, log: EventLog, side: Side, given: str | None, taken: Collection[str]
) -> FoundTable | None:
    """The table of the items or users of the log, or None.

    Its column of ids is nearly unique and holds ids of the log; a table that covers a part of them
    is normal. The names of its columns tell a table of items from one of users.

    Args:
        given: the file that the user names.
        taken: files that have another role.

    Raises:
        DataError: no unique column of the given file holds ids of the log.
    """
    column = log.found[side]
    links = [
        link
        for link in tables.links(log.file, column)
        if link.file not in taken and given in (None, link.file)
    ]
    if given:
        if not links:
            raise DataError(_cannot_join(tables, log, side, given))
        best = max(links, key=lambda link: link.strength)
        return FoundTable(best.file, best.key, best.held)
    scored = [(_points(tables, link, side), link) for link in links]
    theirs = _of_other_side(tables, log, side)
    scored = [e for e in scored if e[0] >= max(_ENOUGH, theirs.get(e[1].file, 0.0))]
    if not scored:
        return None
    _, best = max(scored, key=lambda entry: entry[0])
    return FoundTable(best.file, best.key, best.held)


def _of_other_side(tables: TableSet, log: EventLog, side: Side) -> dict[str, float]:
    """The points of the tables as one of the other side: numbers of users and items overlap."""
    other: Side = "user" if side == "item" else "item"
    points: dict[str, float] = {}
    for link in tables.links(log.file, log.found[other]):
        points[link.file] = max(points.get(link.file, 0.0), _points(tables, link, other))
    return points


def _points(tables: TableSet, link: Link, side: Side) -> float:
    kind = tables.kind(link.file, link.key) * (1 if side == "item" else -1)
    if not link.named and link.held < _HELD:
        return 0.0
    if link.named:
        return 1.0 + 0.5 * link.held + 0.25 * kind
    return link.strength + 0.5 * kind


def unused_tables(tables: TableSet, log: EventLog, used: Collection[str]) -> list[str]:
    """A note for each table that has no role, with the reason."""
    notes: list[str] = []
    for file, frame in tables.frames.items():
        if file in used:
            continue
        reason = ""
        if set(frame.columns) == set(log.frame.columns):
            reason = (
                f"it has the same columns as {log.file}; if it is a part of the same log, put both "
                "into one file"
            )
        elif (other := EventLog(tables, file)).complete:
            roles = ", ".join(f"{key} `{other.found[key]}`" for key in ("user", "item", "time"))
            reason = (
                f"it looks like an event log too: {roles}; to use both, put them into one file, "
                "with a column of behaviours"
            )
        else:
            for side in ("item", "user"):
                reason = reason or _why_not(tables, log, side, file)
        notes.append(f"not used: {file}" + (f" ({reason})" if reason else ""))
    return notes


def _why_not(tables: TableSet, log: EventLog, side: Side, file: str) -> str:
    """Why a table with a column named as the log's is not its table of items or users."""
    column = log.found[side]
    same = [c for c in tables.columns(file).values() if words.plain(c.name) == words.plain(column)]
    for own in same:
        if own.name not in tables.keys(file):
            return (
                f"its `{own.name}` repeats ({own.distinct:,} values in {own.given:,} rows), and a "
                f"table of {side}s has one row each"
            )
        if not any(link.file == file for link in tables.links(log.file, column)):
            theirs, ours = own.example, log.columns[column].example
            return (
                f'none of the {side}s of {log.file} is in it: `{column}` is "{ours}" there and '
                f'"{theirs}" here'
            )
    return ""


def _cannot_join(tables: TableSet, log: EventLog, side: Side, file: str) -> str:
    column = log.found[side]
    why = _why_not(tables, log, side, file)
    keys = ", ".join(tables.keys(file)) or "none"
    return (
        f"--{side}s {file}: no unique column of it holds values of `{column}` of {log.file}"
        + (f": {why}." if why else ".")
        + f" Its unique columns: {keys}; a value of `{column}`: "
        f'"{log.columns[column].example}".'
    )
