"""Proposes a `tamis.toml` for a folder of tables: the role of each table and of each column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from tamis.data import (
    Frames,
    event_columns,
    event_table,
    is_time,
    named_column,
    parse_times,
    readable_tables,
    table_stem,
)
from tamis.data import column_names as words
from tamis.features import list_separator
from tamis.onboarding._proposal import (
    Declared,
    describe_behaviours,
    describe_cascade,
    describe_features,
    describe_tasks,
)
from tamis.schema import parse_config, write_config

STATIC_AFTER = timedelta(days=90)
"""Age of the last event from which on a data set is taken for static."""


@dataclass
class Guess:
    """A proposed declaration of a project."""

    data: dict[str, Any]
    """Content of `tamis.toml`."""
    comments: dict[str, str] = field(default_factory=dict[str, str])
    """Comments by key path, for `write_config`."""
    notes: list[str] = field(default_factory=list[str])
    """Findings and decisions, to be shown to the user."""


def guess_config(folder: Path | str, name: str) -> Guess:
    """Reads the tables in `folder` and proposes the declaration of a project called `name`.

    Tables are recognised by their names and by columns whose values join (the items of the events
    are found in the items' table), columns by their usual names, types and values.

    Raises:
        DataError: no table looks like an event log.
    """
    folder = Path(folder)
    frames, notes = readable_tables(folder)
    found = Guess({"name": name, "seed": 0}, _head(), notes)
    events = event_table(frames, folder)
    columns = event_columns(frames[events])
    found.notes.append(f"{events} is the event log: {_listed(columns)}")
    items, item_id = _joined(frames, events, columns["item"], words.ITEM, words.ITEM_TABLES)
    others = {file: frame for file, frame in frames.items() if file != items}
    users, user_id = _joined(others, events, columns["user"], words.USER, words.USER_TABLES)
    _propose_clock(frames[events][columns["time"]], found)
    found.data["events"] = {"path": events, **columns}
    if items:
        found.data["items"] = _item_columns(items, item_id, frames[items], found)
    else:
        found.notes.append(
            "no table of items: items are those of the events, without attributes (looked for a "
            f"unique column that holds the values of `{columns['item']}`)"
        )
    if users:
        found.data["users"] = {"path": users, "id": user_id}
        found.notes.append(f"{users} holds the users, by `{user_id}`")
    else:
        found.notes.append("no table of users: users are those of the events")
    unused = [file for file in frames if file not in (events, items, users)]
    if unused:
        found.notes.append(f"not used: {', '.join(unused)}")
    declared = Declared(found.data, found.comments, found.notes)
    describe_behaviours(declared, frames[events])
    known_items = frames.get(items)
    describe_features(declared, known_items, frames.get(users))
    count = (
        len(known_items) if known_items is not None else frames[events][columns["item"]].n_unique()
    )
    describe_cascade(declared, known_items, count)
    describe_tasks(declared, frames[events])
    parse_config(found.data)
    return found


def _propose_clock(times: pl.Series, found: Guess) -> None:
    """`clock = "data"` where the last event is older than `STATIC_AFTER`."""
    parsed = parse_times(times)
    known = parsed.ms[~(parsed.missing | parsed.bad | parsed.other_unit)]
    if not len(known):
        return
    last = datetime.fromtimestamp(int(known.max()) / 1000, UTC)
    if datetime.now(UTC) - last > STATIC_AFTER:
        found.data["clock"] = "data"
        found.comments["clock"] = (
            f'the events end on {last:%Y-%m-%d}, so "now" is the end of the data; remove this line '
            "when the project receives events"
        )


def write_guess(guess: Guess, path: Path | str) -> None:
    """Writes the guess as a commented `tamis.toml`."""
    write_config(guess.data, path, guess.comments)


def _head() -> dict[str, str]:
    return {
        "": "Written by `tamis init` from the tables in this folder; correct it where needed.\n"
        "All keys: docs/tamis-toml.md. `tamis doctor` checks it against the data."
    }


def _joined(
    frames: Frames, events: str, key: str, pattern: Any, names: Sequence[str]
) -> tuple[str, str]:
    """The table and the column that hold the ids of the events; two empty texts if none does."""
    ids = frames[events][key].cast(pl.String).drop_nulls().unique()
    best = (0.0, "", "")
    for file, frame in frames.items():
        if file == events:
            continue
        for column in frame.columns:
            score = _match(ids, frame[column], words.plain(column) == words.plain(key), pattern)
            score += 0.25 * (table_stem(file) in names) if score else 0
            best = max(best, (score, file, column), key=lambda entry: entry[0])
    return best[1], best[2]


def _match(ids: pl.Series, column: pl.Series, same_name: bool, pattern: Any) -> float:
    """Score of a column as the key of `ids`: has the name of an id, is unique, and holds them."""
    name = words.plain(column.name)
    if column.dtype.is_nested() or not (same_name or pattern.match(name) or name == "id"):
        return 0.0
    texts = column.cast(pl.String)
    unique = texts.n_unique() / max(len(texts), 1)
    held = int(ids.is_in(texts.unique().implode()).sum()) / max(len(ids), 1)
    return held * unique + 0.5 * same_name if held > 0.2 and unique > 0.9 else 0.0


def _item_columns(file: str, key: str, frame: pl.DataFrame, found: Guess) -> dict[str, Any]:
    """The `items` section of the declaration."""
    rest = frame.drop(key)
    category = named_column(rest, words.CATEGORY)
    columns: dict[str, Any] = {
        "path": file,
        "id": key,
        "title": named_column(rest, words.TITLE, lambda c: c.dtype == pl.String),
        "category": category,
        "author": named_column(rest, words.AUTHOR),
        "published": named_column(rest, words.PUBLISHED, is_time),
    }
    found.notes.append(
        f"{file} holds the items: {_listed({k: v for k, v in columns.items() if v})}"
    )
    if category and (separator := list_separator(frame[category])):
        columns["category_separator"] = separator
    return {k: v for k, v in columns.items() if v}


def _listed(columns: dict[str, Any]) -> str:
    return ", ".join(f"{key} = `{column}`" for key, column in columns.items() if key != "path")
