"""Reads interaction files of research: sequences, pairs, RecBole's `.inter`, and tables."""

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
"""Usual names of the columns by their role, the most likely first."""
_A_TIME = r"^\d{9,13}(\.\d+)?$"
"""A number that is a time in seconds (from 1973) or milliseconds since 1970."""


def read_sequences(path: Path | str) -> Dataset:
    """Reads a file with one line per user: the user, then the items in the order of time.

    They are separated by blanks or tabs. The format has no times: the time of an event is its
    position in the line (0, 1, 2, …), of which only the order has a meaning. All events have one
    positive behaviour. Users and items are numbered in the order of their ids if these are all
    whole numbers, else in the order of their first appearance.

    Raises:
        DataError: the file is missing or has another format, or a user has two lines.
    """
    path = Path(path)
    lines = _lists(path)
    _no_user_twice(path, lines)
    pairs = _pairs(lines)
    sizes = lines["items"].list.len().to_numpy().astype(np.int64)
    place = np.arange(pairs.height) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return _dataset(_table("users", lines["user"]), _table("items", pairs["item"]), pairs, place)


def read_pairs(train: Path | str, test: Path | str) -> tuple[Dataset, Dataset]:
    """Reads two files in LightGCN's format: per line a user, then the items in any order.

    Both data sets have the users and items of both files, numbered as in `read_sequences`. A pair
    counts once. There are no times: all events have time 0.

    Returns:
        The training data and the test data.

    Raises:
        DataError: a file is missing or has another format.
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
    """Reads a file of interactions; the format is detected. It may be:

    - a table whose header names the user, the item, and optionally the time and a rating by usual
      names: CSV, TSV, Parquet, JSON Lines, or RecBole's atomic `.inter` (`name:type`, tabs);
    - a table without a header: user, item, time, or user, item, rating, time (times since 1970);
    - sequences (`read_sequences`).

    In tables, equal times keep the order of the file; without times, the order of the rows is the
    order in time. Users and items are numbered in the order of their first event.

    min_value: only rows with at least this rating are positive; None = all are.

    Raises:
        DataError: the file is missing, has none of these formats, or has a row without user, item
            or time.
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
                f"{path.name}, line {rows[0]}: {reason}: {texts[0]!r}. Correct or remove the line."
            )
        return _from_table(path, raw.frame, raw.row_numbers, min_value)
    frame = _headless(lines, separator)
    if frame is None:
        if separator not in " \t":
            raise _no_format(path, str(lines[0]))
        return read_sequences(path)
    return _from_table(path, frame, np.arange(1, frame.height + 1), min_value)


def at_least(data: Dataset, *, user: int = 0, item: int = 0) -> Dataset:
    """The data without users with fewer than `user` and items with fewer than `item` events.

    Repeated until all remaining ones have enough (the k-core). The tables keep only users and items
    with remaining events, renumbered in their order.
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
    """A file with one line per user as a frame: `line` from 1, `user`, `items` (list of texts)."""
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
        f"{path.name}, line 1: {first[:80]!r} is neither a user followed by items, separated "
        f"by blanks, nor a header that names a user and an item column (like "
        f"user_id,item_id,timestamp). Rename the columns, or add a header line."
    )


def _no_user_twice(path: Path, lines: pl.DataFrame) -> None:
    again = lines.filter(~lines["user"].is_first_distinct())
    if again.height:
        user, line = again["user"][0], again["line"][0]
        first = lines.filter(lines["user"] == user)["line"][0]
        raise DataError(
            f"{path.name}, line {line}: user {user!r} already has a line (line {first}), so "
            "the order of the items is unknown. Join the two lines in the order of time; or, if "
            "this is a table, add a header line that names its columns."
        )


def _pairs(lines: pl.DataFrame) -> pl.DataFrame:
    """The events of the lists as a frame (user, item), in their order."""
    return (
        lines.select("user", pl.col("items").alias("item"))
        .filter(pl.col("item").list.len() > 0)
        .explode("item")
    )


def _table(name: str, ids: pl.Series) -> Table:
    """A table of the distinct ids, sorted if all are whole numbers, else in their order."""
    unique = ids.unique(maintain_order=True).alias("id")
    number = unique.cast(pl.Int64, strict=False)
    if not number.null_count():
        unique = unique.gather(number.arg_sort())
    return Table(name, unique, pl.DataFrame())


def _dataset(users: Table, items: Table, pairs: pl.DataFrame, time: Int64) -> Dataset:
    """A data set of one positive behaviour, its events sorted by `time` (n,)."""
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
    """The most frequent separator of a line; a blank if there is none."""
    if "::" in line:  # GroupLens' ratings.dat
        return "::"
    best = max(SEPARATORS, key=line.count)
    return best if best in line else " "


def _roles(header: list[str]) -> dict[str, str]:
    """Role → column of a header line, by the first of the usual names that it contains."""
    plain = {re.sub(r":\w+$", "", name).strip().strip('"').lower(): name for name in header}
    return {
        role: plain[name]
        for role, words in _WORDS.items()
        for name in reversed(words.split())
        if name in plain
    }


def _headless(lines: pl.Series, separator: str) -> pl.DataFrame | None:
    """The table of lines that are all user, item, time or user, item, rating, time; else None."""
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
    """A data set of a table with named columns, after a check that no value is missing."""
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
        what = "no number" if column.name == "value" else "no value"
        raise DataError(
            f"{path.name}, line {rows[missing[0]]}: column {name!r} holds {what}, as in "
            f"{len(missing)} of {len(column)} rows. Fill in or remove those rows."
        )


def _compact(table: Table, rows: NDArray[np.int32]) -> tuple[Table, NDArray[np.int32]]:
    """The table without rows that have no event, and the renumbered rows of the events."""
    kept = np.flatnonzero(np.bincount(rows, minlength=len(table)))
    new = np.full(len(table), -1, np.int32)
    new[kept] = np.arange(len(kept), dtype=np.int32)
    frame = table.frame[kept] if table.frame.width else table.frame
    return Table(table.name, table.ids.gather(kept), frame), new[rows]
