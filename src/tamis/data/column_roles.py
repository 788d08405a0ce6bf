"""Detects the event log among the tables of a folder, and the roles of its columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from tamis.data._given import DETECT, Given, RoleChoice, check_given
from tamis.data._no_log import elsewhere, no_log_message
from tamis.data.event_log import GROUPED, EventLog
from tamis.data.table_folder import Frames
from tamis.data.table_links import TableSet
from tamis.schema import DataError

_TABLE_MARGIN = 0.3
_SURE, _JOINED, _LIKELY = 1.0, 1.5, 0.5
"""Points of columns that are surely ids, that join a table, and that may be ids."""


def find_log(
    tables: TableSet, folder: Path, given: Given = DETECT, notes: Sequence[str] = ()
) -> EventLog:
    """Finds the event log: the table with a user, an item and a time in each row.

    Names of columns, the repetition and the types of their values, their joins with the other
    tables and their dependence on one another all count. Of several logs the one with more evidence
    is taken.

    Args:
        given: what the user settles.
        notes: about files that could not be read, for the message of the error.

    Raises:
        DataError: no table has these columns, or a given file or column does not exist; the message
            says for each table what was found and what spoke against the rest.
    """
    check_given(tables, folder, given)
    files = [given.events] if given.events else list(tables.frames)
    read = [EventLog(tables, file, given) for file in files]
    complete = [log for log in read if log.complete] or _without_times(read)
    if not complete:
        raise DataError(no_log_message(read, folder, notes))
    complete.sort(key=lambda log: -log.points)
    best = complete[0]
    near = [log.file for log in complete[1:] if log.points > best.points - _TABLE_MARGIN]
    if near:
        why = "its name, its columns and its length"
        best.choices.insert(0, RoleChoice("events", best.file, tuple(near), why))
    return best


def _without_times(read: Sequence[EventLog]) -> list[EventLog]:
    """The tables that are logs without times; none if a time may have been missed.

    The user and the item must be evident, no column may look like a time by its name, and no other
    table may have the time of an order or a session.
    """
    found: list[EventLog] = []
    for log in read:
        blocked = any(rejected.blocks for rejected in log.time_columns.rejected)
        if not log.pairs or "time" in log.found or blocked:
            continue
        user, item = log.pairs[0]
        if _evident(log, user, item) and not elsewhere(log, ("time",), read, but=(user, item)):
            log.untimed = "random" if log.runs(user) > GROUPED else "rows"
            found.append(log)
    return found


def _evident(log: EventLog, user: str, item: str) -> bool:
    """Whether two columns are surely a user and an item, so that a log needs no time.

    Without telling names, one of them joins a table, and each pair occurs once.
    """
    points = log.id_points(user)[0], log.id_points(item)[1]
    if min(points) >= _SURE:
        return True
    pairs = log.frame.select(user, item).n_unique() / max(log.frame.height, 1)
    return min(points) >= _LIKELY and max(points) >= _JOINED and pairs > 0.99


def event_table(frames: Frames, folder: Path) -> str:
    """The file name of the event log. Raises DataError as `find_log`."""
    return find_log(TableSet(frames), folder).file


def event_columns(frame: pl.DataFrame) -> dict[str, str]:
    """Detected columns of an event log, by their key in `[events]`."""
    return EventLog(TableSet({"": frame}), "").found
