"""Reads all tables of a folder, and reports the files that could not be read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from tamis.data import column_names as words
from tamis.data._encodings import HEAD, file_bytes, likely_encoding, other_format
from tamis.data.files import COMPRESSED, FORMATS, PARQUET, RawTable, format_of, read_raw
from tamis.data.typed_frames import infer_types
from tamis.schema import DataError

Frames = dict[str, pl.DataFrame]
_NOT_TABLES = ("rejects", "readme", "requirements", "license")
"""Stems of text files that are no tables."""
_SPREADSHEETS = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")
_ARCHIVES = (".zip", ".7z", ".rar", ".tar", ".tgz")
_DATABASES = (".db", ".sqlite", ".sqlite3", ".duckdb", ".sql", ".avro", ".orc", ".feather")


@dataclass(frozen=True)
class FolderTables:
    """The tables of a folder."""

    frames: Frames
    """Tables by file name, each column in the type that nearly all of its values fit."""
    columns: dict[str, tuple[str, ...]]
    """Names that were given to the columns of files whose first line holds values."""
    encodings: dict[str, str]
    """The likely encodings of files that are not UTF-8, by which they were read."""
    notes: list[str]
    """About files that could not be read, or whose format is not supported."""
    minor: list[str]
    """The same about files that are probably no tables."""


def readable_tables(folder: Path) -> FolderTables:
    """Reads all tables of a folder.

    Raises:
        DataError: there is no such folder.
    """
    if not folder.is_dir():
        kind = "is a file" if folder.is_file() else "there is no such folder"
        raise DataError(f"{folder}: {kind}; give the folder of the tables.")
    found = FolderTables({}, {}, {}, [], [])
    for path in sorted(folder.iterdir()):
        if not path.is_file() or path.name.startswith(".") or table_stem(path.name) in _NOT_TABLES:
            continue
        if format_of(path) is None:
            if note := _unsupported(path):
                found.notes.append(note)
            continue
        try:
            raw = _read(path, found)
        except DataError as error:
            note = f"not readable: {error}"
            if path.suffix == ".json":  # usually settings, not a table
                found.minor.append(note)
            else:
                found.notes.append(note)
            continue
        found.frames[path.name] = _with_types(raw)
    return found


def _read(path: Path, found: FolderTables) -> RawTable:
    """Reads a table in its likely encoding and without a header if it has none.

    Raises DataError.
    """
    encoding = None
    try:
        raw = read_raw(path, path.name)
    except DataError:
        encoding = _other_encoding(path)
        if encoding is None:
            raise
        raw = read_raw(path, path.name, encoding=encoding)
        found.encodings[path.name] = encoding
        found.notes.append(
            f'{path.name} is not UTF-8 text: it is read as {encoding} (encoding = "{encoding}"); '
            "if letters are wrong, set the right name"
        )
    if without_header(raw):
        names = tuple(f"column_{k + 1}" for k in range(raw.frame.width))
        raw = read_raw(path, path.name, raw.separator, encoding=encoding, columns=names)
        found.columns[path.name] = names
    return raw


def _other_encoding(path: Path) -> str | None:
    """The likely encoding of a text file that is not UTF-8; None for other files."""
    if format_of(path) == PARQUET or path.suffix.lower() in (".zst", ".zstd"):
        return None
    try:
        data = file_bytes(path, path.name)
    except (OSError, DataError):
        return None
    if other_format(data[:HEAD]):
        return None
    likely = likely_encoding(data)
    return None if likely == "utf-8" else likely


def without_header(raw: RawTable) -> bool:
    """Whether the first line of a text file holds values instead of the names of the columns.

    At least half of its fields are numbers or times in columns of such, or occur again in their
    column, and at least one of them is a number or a time.
    """
    if not raw.separator or raw.frame.width < 2 or not raw.frame.height:
        return False
    like, certain = 0, 0
    for column in raw.frame.head(10_000):
        name = re.sub(r"_duplicated_\d+$", "", column.name).strip()
        if _is_value(name) and _is_value(str(column.drop_nulls().head(1).to_list()[:1])[2:-2]):
            like += 1
            certain += 1
        elif name and bool((column == name).any()):
            like += 1
    return certain > 0 and like >= max(raw.frame.width / 2, 1)


def _is_value(text: str) -> bool:
    """Whether a field is a number or a time, and so hardly the name of a column."""
    return (
        re.fullmatch(r"-?\d+([.,]\d+)*|\d{4}-\d\d-\d\d.*|\d\d?[/.]\d\d?[/.]\d{4}.*", text)
        is not None
    )


def no_tables(folder: Path) -> str:
    """What to do about a folder without any table, for messages."""
    below = [*folder.glob("*/*"), *folder.glob("*/*/*")]
    inner = sorted({path.parent for path in below if path.is_file() and format_of(path)})
    if inner:
        names = ", ".join(str(path.relative_to(folder)) for path in inner[:4])
        return f"its tables are in folders of it ({names}): give that folder, tamis init {inner[0]}"
    if not any(folder.iterdir()):
        return "the folder is empty: put the event log into it"
    return f"no CSV, TSV, Parquet or JSONL file is there (endings: {', '.join(FORMATS)})"


def _unsupported(path: Path) -> str:
    """The note about a file that looks like data in another format; empty for other files."""
    ending = path.suffix.lower()
    if ending in _SPREADSHEETS:
        return f"not read: {path.name} is a spreadsheet; save its sheet as CSV"
    if ending in _ARCHIVES:
        return f"not read: {path.name} is an archive; unpack it"
    if ending in _DATABASES:
        return f"not read: {path.name}; export its tables as CSV or Parquet"
    return ""


def _with_types(raw: RawTable) -> pl.DataFrame:
    return infer_types(raw.frame, raw.separator, "any")


def table_stem(file: str) -> str:
    """The file name without its endings, in snake case: `events` for `Events.csv.gz`."""
    name = file.lower()
    for ending in COMPRESSED:
        name = name.removesuffix(ending)
    return words.plain(name.rsplit(".", 1)[0])
