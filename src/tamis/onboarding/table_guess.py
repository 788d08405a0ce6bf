"""Proposes a `tamis.toml` for a folder of tables: the role of each table and of each column."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tamis.data import (
    ColumnProfile,
    Dataset,
    EventLog,
    FolderTables,
    Given,
    RoleChoice,
    TableSet,
    find_log,
    is_time,
    named_column,
    read_dataset,
    readable_tables,
    repeat_share,
    return_rates,
)
from tamis.data import column_names as words
from tamis.features import list_separator
from tamis.onboarding._declared import Declared
from tamis.onboarding._follows import describe_follows, follow_channel
from tamis.onboarding._outcomes import (
    describe_behaviours,
    outcome_advice,
    unused_columns,
)
from tamis.onboarding._proposal import (
    describe_cascade,
    describe_features,
    describe_tasks,
    funnel_steps,
)
from tamis.onboarding._request_columns import describe_context, request_columns
from tamis.onboarding._tables import FoundTable, find_table, unused_tables
from tamis.schema import SplitConfig, parse_config, write_config
from tamis.splitting import cuts

STATIC_AFTER = timedelta(days=90)
"""Age of the last event from which on a data set is taken for static."""
Ask = Callable[[RoleChoice], str]
"""Shows the user a decision between near readings; returns the reading to take."""


@dataclass
class Guess:
    """A proposed declaration of a project."""

    data: dict[str, Any]
    """Content of `tamis.toml`."""
    comments: dict[str, str] = field(default_factory=dict[str, str])
    """Comments by key path, for `write_config`."""
    notes: list[str] = field(default_factory=list[str])
    """Findings and decisions, to be shown to the user."""
    choices: list[RoleChoice] = field(default_factory=list[RoleChoice])
    """Decisions between near readings."""


def guess_config(
    folder: Path | str, name: str, given: Given | None = None, ask: Ask | None = None
) -> Guess:
    """Reads the tables in `folder` and proposes the declaration of a project called `name`.

    Tables and columns are recognised by their values, their joins and their names together
    (`tamis.data.find_log`). The proposal is read as `tamis train` will read it, and its figures
    are among the notes.

    Args:
        given: files and columns that the user settles.
        ask: decides between near readings; None takes the likeliest and notes the others.

    Raises:
        DataError: no table looks like an event log, none of its events is usable, or a given file
            or column does not exist.
    """
    folder, given = Path(folder), given or Given()
    read = readable_tables(folder)
    frames, notes = read.frames, list(read.notes)
    tables = TableSet(frames)
    log = find_log(tables, folder, given, [*notes, *read.minor])
    if ask is not None:
        log = _asked(tables, folder, log, given, notes, ask)
    found = Guess({"name": name, "seed": 0}, _head(), notes, log.choices)
    columns = log.found
    found.notes.append(f"{log.file} is the event log: {_listed(columns)}")
    found.notes += log.rejected
    found.notes += [_choice_note(choice) for choice in log.choices]
    items = find_table(tables, log, "item", given.items, {log.file})
    taken = {log.file, *([items.file] if items else ())}
    users = find_table(tables, log, "user", given.users, taken)
    found.data["events"] = {"path": log.file, **_reading(read, log.file), **columns}
    if log.anonymous is not None:
        found.data["events"]["anonymous"] = [log.anonymous]
        found.notes.append(_anonymous_note(log, log.anonymous))
    if log.time_unit is not None:
        found.data["events"]["time_unit"] = log.time_unit
        found.notes.append(_unit_note(log, log.time_unit))
    if log.untimed is not None:
        found.data["events"]["untimed"] = log.untimed
        found.notes.append(_untimed_note(log.untimed))
    if items:
        found.data["items"] = _item_columns(items, frames[items.file], found)
        found.data["items"] |= _reading(read, items.file)
    else:
        found.notes.append(
            "no table of items: items are those of the events, without attributes (looked for a "
            f"unique column that holds values of `{columns['item']}`)"
        )
    if users:
        found.data["users"] = {"path": users.file, "id": users.key, **_reading(read, users.file)}
        found.notes.append(f"{users.file} holds the users, by `{users.key}`{_held(users, 'users')}")
    else:
        found.notes.append("no table of users: users are those of the events")
    declared = Declared(found.data, found.comments, found.notes)
    used = [log.file, *(t.file for t in (items, users) if t)]
    follows = describe_follows(declared, frames, frames[log.file][columns["user"]], used)
    used += [follows] if follows else []
    found.notes += [
        f"{file} has no header line: its columns are called {', '.join(read.columns[file])}; give "
        "them better names in `columns`"
        for file in used
        if file in read.columns
    ]
    found.notes += unused_tables(tables, log, used)
    describe_behaviours(declared, log)
    _leave_out_position(declared)
    describe_context(declared, log)
    _note_unused(log, declared)
    data = _read(found, folder)
    _propose_clock(data, found)
    _note_funnel(data, found)
    known_items = frames[items.file] if items else None
    describe_features(declared, known_items, frames[users.file] if users else None)
    (cut,) = cuts(data.events, [SplitConfig().test_from])
    earlier = data.as_of(cut)  # the test window chooses nothing
    describe_cascade(
        declared, known_items, len(data.items), repeat_share(earlier), return_rates(earlier)
    )
    follow_channel(declared)
    describe_tasks(declared, data)
    parse_config(found.data)
    return found


def _reading(read: FolderTables, file: str) -> dict[str, Any]:
    """The keys of a table's section that say how its file is read."""
    keys: dict[str, Any] = {}
    if file in read.encodings:
        keys["encoding"] = read.encodings[file]
    if file in read.columns:
        keys["columns"] = list(read.columns[file])
    return keys


def _unit_note(log: EventLog, unit: str) -> str:
    column = log.columns[log.found["time"]]
    what = f"`{column.name}` holds numbers from {column.lowest:g} to {column.highest:g}"
    if unit == "excel":
        return f'{what}: read as the days of a spreadsheet (time_unit = "excel")'
    if unit == "mmdd":
        return (
            f'{what}: read as MMDD of one year, for which 2000 is taken (time_unit = "mmdd"); if '
            "the log goes on past New Year, write dates with their year"
        )
    if unit.startswith("yy"):
        return f'{what}: read as {unit.upper()} (time_unit = "{unit}")'
    start = "1970" if log.time_columns.since_1970(column.name) else "the start of the log"
    return f'{what}: read as {_UNITS.get(unit, unit)} since {start} (time_unit = "{unit}")'


_UNITS = {"s": "seconds"}


def _anonymous_note(log: EventLog, value: str) -> str:
    """What is decided about rows whose user is not known."""
    user, visitor = log.columns[log.found["user"]], log.found.get("visitor")
    instead = f"`{visitor}` stands for the user there" if visitor else "they are left out"
    return (
        f'`{user.name}` is "{value}" in {user.top[1]:.0%} of the rows: taken for unknown users, '
        f"and {instead}; if it is a user, remove `anonymous`"
    )


def _untimed_note(order: str) -> str:
    """What is decided for a log without times."""
    if order == "rows":
        how = (
            'the rows are taken as oldest first (untimed = "rows"); if they are in no order, write '
            '"random"'
        )
    else:
        how = (
            "the rows lie together by user, so evaluation holds out random events (untimed = "
            '"random")'
        )
    return f"no column of times: {how}. With `--time COL` a column is taken as the time"


def _asked(
    tables: TableSet, folder: Path, log: EventLog, given: Given, notes: list[str], ask: Ask
) -> EventLog:
    """The log after the user has decided between near readings, one at a time."""
    asked: set[str] = set()
    while choice := next((c for c in log.choices if c.key not in asked), None):
        asked.add(choice.key)
        given = replace(given, **{choice.key: ask(choice)})
        log = find_log(tables, folder, given, notes)
    return log


def _choice_note(choice: RoleChoice) -> str:
    others = ", ".join(f"`{other}`" for other in choice.others)
    why = f" ({choice.why})" if choice.why else ""
    kind = "event log" if choice.key == "events" else choice.key
    return (
        f"near: `{choice.chosen}` is taken as the {kind}{why}, but it could be {others}: to change "
        f"it, tamis init DIR --force --{choice.key} {choice.others[0]}"
    )


def _note_unused(log: EventLog, declared: Declared) -> None:
    """Notes the columns of the log that nothing reads."""
    like, other = unused_columns(
        log, {*log.found.values(), *declared.outcomes, *request_columns(declared)}
    )
    if like:
        shown = ", ".join(f"`{c}`" for c in like)
        declared.notes.append(
            f"not used, but like an outcome: {shown}; {outcome_advice(log, like[0])}"
        )
    for side in ("item", "user"):
        attributes = [c for c in other if log.is_attribute(c) == side]
        if attributes:
            declared.notes.append(
                f"not used: {', '.join(f'`{c}`' for c in attributes)} of {log.file}, with one "
                f"value per {side}; to use them, write them to a table with one row per {side}"
            )
    rest = [c for c in other if log.is_attribute(c) is None]
    if rest:
        declared.notes.append(f"not used: {', '.join(f'`{c}`' for c in rest)} of {log.file}")


def _read(found: Guess, folder: Path) -> Dataset:
    """Reads the tables by the proposal so far; notes how many rows are used. Raises DataError."""
    cascade: dict[str, Any] = {"channels": {"hot": {}}, "rank": {"use": "lr"}}
    declared = {key: value for key, value in found.data.items() if key != "follows"}
    data, rejects = read_dataset(parse_config({**declared, "cascade": cascade}), folder)
    file = found.data["events"]["path"]
    rows, lost = rejects.rows_read.get(file, 0), rejects.count(file)
    text = f"{rows - lost:,} of {rows:,} rows of {file} are used"
    if lost:
        reasons = [
            f"{reason.rsplit(':', 1)[0]} {count:,} ({sample})"
            for f, reason, count, sample in rejects.summary()
            if f == file and reason.endswith("row left out")
        ]
        text += f"; left out: {'; '.join(reasons[:3])}"
    found.notes.append(text)
    found.notes += [str(note) for note in rejects.notes]
    return data


def _leave_out_position(declared: Declared) -> None:
    """Leaves out the column of positions where no behaviour is an impression."""
    events = declared.data["events"]
    if any(b.get("impression") for b in declared.data["behaviours"].values()):
        return
    if column := events.pop("position", None):
        declared.notes.append(f"not used: `{column}`, a position, as the log has no impressions")


def _propose_clock(data: Dataset, found: Guess) -> None:
    """`clock = "data"` where the last event is older than `STATIC_AFTER`."""
    last = datetime.fromtimestamp(int(data.events.time[-1]) / 1000, UTC)
    if datetime.now(UTC) - last > STATIC_AFTER:
        found.data["clock"] = "data"
        found.comments["clock"] = (
            f'the events end on {last:%Y-%m-%d}, so "now" is the end of the data; remove this line '
            "when the project receives events"
        )


def _note_funnel(data: Dataset, found: Guess) -> None:
    """Notes that views, carts and purchases without impressions form a funnel."""
    steps = funnel_steps(data)
    if data.has_impressions or len(steps) < 3:
        return
    counts = np.bincount(data.events.behaviour, minlength=len(data.behaviours))
    named = [steps[step] for step in ("click", "view", "cart", "purchase") if step in steps]
    shown = " → ".join(f"{name} {counts[data.code(name)]:,}" for name in named)
    found.notes.append(
        f"the behaviours form a funnel: {shown}; each step is positive, with a weight that grows "
        "along the funnel"
    )


def write_guess(guess: Guess, path: Path | str) -> None:
    """Writes the guess as a commented `tamis.toml`."""
    write_config(guess.data, path, guess.comments)


def _head() -> dict[str, str]:
    return {
        "": "Written by `tamis init` from the tables in this folder; correct it where needed.\n"
        "All keys: docs/tamis-toml.md. `tamis doctor` checks it against the data."
    }


def _held(table: FoundTable, what: str) -> str:
    return "" if table.held > 0.9999 else f"; it has {table.held:.1%} of the {what} of the events"


def _item_columns(table: FoundTable, frame: pl.DataFrame, found: Guess) -> dict[str, Any]:
    """The `items` section of the declaration."""
    rest = frame.drop(table.key)
    columns: dict[str, Any] = {
        "path": table.file,
        "id": table.key,
        "title": _title(rest),
        "category": _category(rest),
        "author": named_column(rest, words.AUTHOR) or _author(rest),
        "published": named_column(rest, words.PUBLISHED, is_time),
    }
    found.notes.append(
        f"{table.file} holds the items: {_listed({k: v for k, v in columns.items() if v})}"
        f"{_held(table, 'items')}"
    )
    category = columns["category"]
    if category and (separator := list_separator(frame[category])):
        columns["category_separator"] = separator
    return {k: v for k, v in columns.items() if v}


def _title(frame: pl.DataFrame) -> str | None:
    """The items' column of the title: a text with a usual name, such as `prod_name`."""
    if name := named_column(frame, words.TITLE, lambda c: c.dtype == pl.String):
        return name
    for column in (ColumnProfile(values) for values in frame if values.dtype == pl.String):
        others = column.parts.words[:-1]
        if words.is_one_of(column.head, words.TITLE_WORDS) and (
            not others or any(words.is_one_of(word, words.ITEM_WORDS) for word in others)
        ):
            return column.name
    return _unnamed(frame, lambda c: c.unique > 0.8 and c.words_per_value > 1.2)


def _unnamed(frame: pl.DataFrame, fits: Callable[[ColumnProfile], bool]) -> str | None:
    """The first column of texts that fits, where the columns have no telling names."""
    if not all(words.tells_nothing(name) for name in frame.columns):
        return None
    texts = (ColumnProfile(values) for values in frame if values.dtype == pl.String)
    return next((column.name for column in texts if fits(column)), None)


def _author(frame: pl.DataFrame) -> str | None:
    """The items' column of the author, the brand or the seller, by the last word of its name."""
    for column in map(ColumnProfile, frame):
        named = words.is_one_of(column.head, words.AUTHOR_WORDS)
        if named and (column.is_text or column.is_whole):
            return column.name
    return None


def _category(frame: pl.DataFrame) -> str | None:
    """The items' column of the category: it has a usual name, and its values repeat."""

    def repeats(values: pl.Series) -> bool:
        own = ColumnProfile(values)
        return values.dtype.is_nested() or (own.distinct > 1 and own.unique < 0.9)

    small = frame.height < 10
    if name := named_column(frame, words.CATEGORY, lambda c: small or repeats(c)):
        return name
    for word in words.CATEGORY_WORDS:
        for values in frame:
            name = words.plain(values.name)
            named = word in name.split("_") or (not word.isascii() and name.endswith(word))
            if named and repeats(values):
                return values.name
    return _unnamed(frame, lambda c: c.distinct > 1 and c.unique < 0.5)


def _listed(columns: dict[str, Any]) -> str:
    return ", ".join(f"{key} = `{column}`" for key, column in columns.items() if key != "path")
