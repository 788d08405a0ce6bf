"""Interaction files of the research world: sequences, pairs, RecBole's `.inter`, plain tables."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.data import (
    JSONL,
    PARQUET,
    SEPARATORS,
    TEXT,
    Dataset,
    Events,
    Table,
    dataset_from_frame,
    format_of,
    read_raw,
    text_lines,
)
from tamis.runtime import Int64
from tamis.schema import Behaviour, DataError

_WORDS = {
    "user": "user_id user userid uid reviewerid customer_id visitorid account_id",
    "item": "item_id item itemid iid asin parent_asin movie_id movieid product_id productid "
    "video_id poi_id location_id business_id book_id song_id article_id sku title",
    "time": "timestamp time unixreviewtime datetime date ts unix_time time_ms",
    "value": "rating value overall stars score",
}
"""What the columns of such files are usually called, the likeliest first."""
_A_TIME = r"^\d{9,13}(\.\d+)?$"
"""Text of a number that reads as seconds (from 1973) or milliseconds since 1970."""


def read_sequences(path: Path | str) -> Dataset:
    """One user a line: the user, then the items in time order, separated by blanks or tabs.

    The format has no times: an event's time is its place in the line (0, 1, 2 …; formally
    milliseconds, but nothing except the order means anything). All events are of one positive
    behaviour. Rows of users and items are in the order of their ids where all are whole numbers,
    else in that of their first appearance.

    Raises:
        DataError: the file is missing or no such text, or a user has two lines.
    """
    path = Path(path)
    lines = _lists(path)
    _no_user_twice(path, lines)
    pairs = _pairs(lines)
    sizes = lines["items"].list.len().to_numpy().astype(np.int64)
    place = np.arange(pairs.height) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return _dataset(_table("users", lines["user"]), _table("items", pairs["item"]), pairs, place)


def read_pairs(train: Path | str, test: Path | str) -> tuple[Dataset, Dataset]:
    """Two files of one user a line, the user and then the items in no order (LightGCN's format).

    Both data sets have the same users and items, those of either file; rows as `read_sequences`. A
    pair counts once. There is no time: all events happen at moment 0.

    Raises:
        DataError: a file is missing or no such text.
    """
    lines = [_lists(Path(path)) for path in (train, test)]
    pairs = [_pairs(each).unique(["user", "item"], maintain_order=True) for each in lines]
    users = _table("users", pl.concat([each["user"] for each in lines]))
    items = _table("items", pl.concat([each["item"] for each in pairs]))
    first, second = (
        _dataset(users, items, each, np.zeros(each.height, np.int64)) for each in pairs
    )
    return first, second


def read_interactions(path: Path | str, *, min_value: float | None = None) -> Dataset:
    """A file of interactions whose format is guessed.

    - a table whose header names the user, the item and perhaps the time and a rating in the usual
      words: CSV, TSV, Parquet, JSON Lines, or RecBole's atomic `.inter` (`name:type`, tabs);
    - a table without header of user, item, time or of user, item, rating, time (times since 1970);
    - sequences (`read_sequences`).

    Tables: equal times keep the file's order; without times the order of the rows is the time; rows
    of users and items are in the order of their first event. min_value: only rows with a rating of
    at least that are positive; None = all are.

    Raises:
        DataError: the file is missing, fits none of these, or has a row without user, item or time.
    """
    path = Path(path)
    if format_of(path) in (PARQUET, JSONL):
        raw = read_raw(path, path.name)
        return _from_table(path, raw.frame, raw.row_numbers, min_value)
    lines = text_lines(path, path.name).drop_nulls()
    separator = _separator(str(lines[0]))
    if _roles(str(lines[0]).split(separator)).keys() >= {"user", "item"}:
        raw = read_raw(path, path.name, separator, TEXT)
        if raw.broken:
            rows, reason, texts = raw.broken[0]
            raise DataError(
                f"{path.name}, line {rows[0]}: {reason}: {texts[0]!r}. Mend or remove the line."
            )
        return _from_table(path, raw.frame, raw.row_numbers, min_value)
    frame = _headless(lines, separator)
    if frame is None:
        if separator not in " \t":
            raise _no_format(path, str(lines[0]))
        return read_sequences(path)
    return _from_table(path, frame, np.arange(1, frame.height + 1), min_value)


def at_least(data: Dataset, *, user: int = 0, item: int = 0) -> Dataset:
    """The data without users of fewer than `user` events and items of fewer than `item`.

    Repeated until nothing more falls out (the k-core) where both are given. The tables keep only
    users and items with events left, renumbered in their order.
    """
    events = data.events
    while len(events):
        users = np.bincount(events.user, minlength=len(data.users))
        items = np.bincount(events.item, minlength=len(data.items))
        keep = (users[events.user] >= user) & (items[events.item] >= item)
        if keep.all():
            break
        events = events.take(keep)
    users, user_rows = _compact(data.users, events.user)
    items, item_rows = _compact(data.items, events.item)
    return replace(
        data, users=users, items=items, events=replace(events, user=user_rows, item=item_rows)
    )


def _lists(path: Path) -> pl.DataFrame:
    """(lines: `line` from 1, `user`, `items`: list of text) of a file of one user a line."""
    lines = text_lines(path, path.name)
    frame = pl.DataFrame({"line": np.arange(1, len(lines) + 1), "text": lines}).drop_nulls()
    words = pl.col("text").str.strip_chars().str.replace_all(r"\s+", " ").str.split(" ")
    frame = frame.select("line", words.alias("words")).filter(pl.col("words").list.first() != "")
    found = frame.select(
        "line",
        pl.col("words").list.first().alias("user"),
        pl.col("words").list.slice(1).alias("items"),
    )
    if not found.height or not found["items"].list.len().sum():
        raise _no_format(path, str(lines.drop_nulls()[0]))
    return found


def _no_format(path: Path, first: str) -> DataError:
    return DataError(
        f"{path.name}, line 1: {first[:80]!r} is neither a user followed by items with blanks "
        f"between them, nor a header that names a user and an item column (like "
        f"user_id,item_id,timestamp). Rename the columns, or add a header line."
    )


def _no_user_twice(path: Path, lines: pl.DataFrame) -> None:
    again = lines.filter(~lines["user"].is_first_distinct())
    if again.height:
        user, line = again["user"][0], again["line"][0]
        first = lines.filter(lines["user"] == user)["line"][0]
        raise DataError(
            f"{path.name}, line {line}: user {user!r} has a line already (line {first}): which "
            "items came first is not told. Join the two lines in time order; or, if this is a "
            "table, add a header line that names its columns."
        )


def _pairs(lines: pl.DataFrame) -> pl.DataFrame:
    """(events: user, item) of lists, in their order."""
    return (
        lines.select("user", pl.col("items").alias("item"))
        .filter(pl.col("item").list.len() > 0)
        .explode("item")
    )


def _table(name: str, ids: pl.Series) -> Table:
    """The distinct ids: in the order of the numbers where all are whole, else as they come."""
    unique = ids.unique(maintain_order=True).alias("id")
    number = unique.cast(pl.Int64, strict=False)
    if not number.null_count():
        unique = unique.gather(number.arg_sort())
    return Table(name, unique, pl.DataFrame())


def _dataset(users: Table, items: Table, pairs: pl.DataFrame, time: Int64) -> Dataset:
    """Events of one positive behaviour, sorted by time."""
    order = np.argsort(time, kind="stable")
    n, time = len(time), time[order].astype(np.int64)
    events = Events(
        user=users.rows(pairs["user"])[order],
        item=items.rows(pairs["item"])[order],
        behaviour=np.zeros(n, np.uint8),
        time=time,
        arrival=time,
        value=np.full(n, np.nan, np.float32),
        request=np.full(n, -1, np.int64),
        position=np.zeros(n, np.int16),
    )
    return Dataset(users, items, events, (Behaviour(name="positive", positive=True),))


def _separator(line: str) -> str:
    """The commonest of the separators in a line; a blank where there is none."""
    if "::" in line:  # GroupLens' ratings.dat
        return "::"
    best = max(SEPARATORS, key=line.count)
    return best if best in line else " "


def _roles(header: list[str]) -> dict[str, str]:
    """Role → column, of a header line; the first of the usual names that is there."""
    plain = {re.sub(r":\w+$", "", name).strip().strip('"').lower(): name for name in header}
    return {
        role: plain[name]
        for role, words in _WORDS.items()
        for name in reversed(words.split())
        if name in plain
    }


def _headless(lines: pl.Series, separator: str) -> pl.DataFrame | None:
    """The table of lines that are user, item, time or user, item, rating, time; else None."""
    width = str(lines[0]).strip().count(separator) + 1
    if width not in (3, 4):
        return None
    names = ["user", "item", "value", "time"] if width == 4 else ["user", "item", "time"]
    if bool((lines.str.count_matches(separator, literal=True) != width - 1).any()):
        return None
    parts = lines.str.split_exact(separator, width - 1).struct.unnest()
    parts.columns = names
    return parts if bool(parts["time"].str.contains(_A_TIME).all()) else None


def _from_table(
    path: Path, frame: pl.DataFrame, rows: NDArray[np.int64], min_value: float | None
) -> Dataset:
    """A table with named columns, checked row by row before anything is made of it."""
    role = _roles(frame.columns)
    if not role.keys() >= {"user", "item"}:
        raise _no_format(path, ",".join(frame.columns))
    table = pl.DataFrame({name: frame[column] for name, column in role.items()})
    if "value" in role:
        table = table.with_columns(pl.col("value").cast(pl.Float32, strict=False))
    for name in table.columns:
        _complete(path, table[name], role[name], rows)
    return dataset_from_frame(
        table,
        user="user",
        item="item",
        time="time" if "time" in role else None,
        value="value" if "value" in role else None,
        min_value=min_value,
    )


def _complete(path: Path, column: pl.Series, name: str, rows: NDArray[np.int64]) -> None:
    missing = np.flatnonzero(column.is_null().to_numpy())
    if len(missing):
        what = "no number" if column.name == "value" else "nothing"
        raise DataError(
            f"{path.name}, line {rows[missing[0]]}: column {name!r} holds {what}, as in "
            f"{len(missing)} of {len(column)} rows. Fill in or remove those rows."
        )


def _compact(table: Table, rows: NDArray[np.int32]) -> tuple[Table, NDArray[np.int32]]:
    """The table without rows that no event names, and the events' rows in the new numbers."""
    kept = np.flatnonzero(np.bincount(rows, minlength=len(table)))
    new = np.full(len(table), -1, np.int32)
    new[kept] = np.arange(len(kept), dtype=np.int32)
    frame = table.frame[kept] if table.frame.width else table.frame
    return Table(table.name, table.ids.gather(kept), frame), new[rows]
