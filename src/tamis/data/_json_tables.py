"""Reads tables of JSON: one object per line, one list, objects within objects, and others."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.data._encodings import decoded, read_head
from tamis.data._lines import file_lines
from tamis.data._raw_table import RawTable
from tamis.data.notes import Note

_NO_NUMBER = r"([:\[,]\s*)(?:-?NaN|-?Infinity)(\s*[,}\]])"
"""What Python writes for missing and infinite numbers, which JSON does not know."""
_MOST_FIELDS = 50
"""Most fields of an object that become columns."""
_DEPTH = 3
"""Levels of objects within objects that become columns."""
_PYTHON = r"^\s*\{\s*u?'"
"""The start of a line that holds a dictionary as Python writes it."""


def read_json_table(source: Path | bytes, file: str) -> RawTable:
    """Reads a file of JSON Lines, or one that is a single list or object of JSON.

    Objects within objects become columns (`user.id` is the column `user_id`), a single object that
    holds one list of objects is that list, and the columns of pandas' `to_json` are columns. Lines
    of dictionaries that Python wrote are read, too.

    Raises:
        PolarsError, ValueError: no line is an object.
    """
    head = read_head(source) if isinstance(source, Path) else source[:64]
    if head.startswith(b"\xef\xbb\xbf") or head.lstrip()[:1] == b"[":
        source = source if isinstance(source, bytes) else decoded(source, file, "utf-8-sig")
    if isinstance(source, bytes) and source.lstrip()[:1] == b"[":
        frame = pl.read_json(source, infer_schema_length=None)
        table = RawTable(file, frame, np.arange(1, frame.height + 1), [])
    else:
        table = _read_lines(source, file)
    if table.frame.height == 1 and (rows := _rows_of_one(table.frame)) is not None:
        frame, note = rows
        table = RawTable(file, frame, np.arange(1, frame.height + 1), [], notes=[note])
    table.frame, notes = flattened(table.frame)
    table.notes += notes
    return table


def _read_lines(source: Path | bytes, file: str) -> RawTable:
    try:
        frame = pl.read_ndjson(source, infer_schema_length=None)
        return RawTable(file, frame, np.arange(1, frame.height + 1), [])
    except pl.exceptions.ComputeError as error:
        lines = file_lines(source)
        if (whole := _one_object(lines)) is not None:
            frame = pl.DataFrame([whole], infer_schema_length=None, strict=False)
            return RawTable(file, frame, np.arange(1, 2), [])
        if bool(lines.drop_nulls().head(20).str.contains(_PYTHON).any()):
            return _read_python(lines, file)
        lines = lines.str.replace_all(_NO_NUMBER, "${1}null${2}")
        good = _holds_object(lines, json.loads)
        kept = lines.filter(pl.Series(good)).to_list()
        if not kept:
            raise error
        frame = pl.read_ndjson("\n".join(kept).encode(), infer_schema_length=None)
        return _with_broken(lines, good, frame, file, "not a JSON object")


def _with_broken(
    lines: pl.Series, good: NDArray[np.bool_], frame: pl.DataFrame, file: str, reason: str
) -> RawTable:
    numbers = np.arange(1, len(lines) + 1)
    bad = ~good & lines.is_not_null().to_numpy()
    broken = [(numbers[bad], reason, lines.filter(pl.Series(bad)))] if bad.any() else []
    return RawTable(file, frame, numbers[good], broken)


def _read_python(lines: pl.Series, file: str) -> RawTable:
    """Lines that are dictionaries of Python, as older public data sets have them."""
    good = _holds_object(lines, ast.literal_eval)
    rows = [ast.literal_eval(line) for line in lines.filter(pl.Series(good)).to_list()]
    frame = pl.DataFrame(rows, infer_schema_length=None, strict=False)
    table = _with_broken(lines, good, frame, file, "not a dictionary of Python")
    table.notes.append(Note("lines are dictionaries as Python writes them"))
    return table


def _one_object(lines: pl.Series) -> dict[str, Any] | None:
    """The object that the lines are together, if they are one over several lines."""
    given = lines.drop_nulls()
    if len(given) < 2 or (str(given[0]).strip() not in ("{",) and _parses(str(given[0]))):
        return None
    if str(given[0]).lstrip()[:1] != "{" or str(given[-1]).rstrip()[-1:] != "}":
        return None
    try:
        whole = json.loads("\n".join(given.to_list()))
    except ValueError:
        return None
    return cast("dict[str, Any]", whole) if isinstance(whole, dict) else None


def _parses(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _holds_object(lines: pl.Series, parse: Callable[[str], object]) -> NDArray[np.bool_]:
    """(n,) lines that are one object each (used only if a file has a defective line)."""

    def holds(line: str | None) -> bool:
        try:
            return line is not None and isinstance(parse(line), dict)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return False

    return np.fromiter(map(holds, lines.to_list()), dtype=np.bool_, count=len(lines))


def _rows_of_one(frame: pl.DataFrame) -> tuple[pl.DataFrame, Note] | None:
    """The rows of a file whose only object holds them: a list, or the columns of pandas."""
    lists = [c for c in frame if isinstance(c.dtype, pl.List)]
    objects = [c for c in lists if isinstance(c.dtype.inner, pl.Struct)]  # type: ignore[attr-defined]
    if len(objects) == 1 and len(lists) == 1:
        rows = objects[0].explode().struct.unnest()
        return rows, Note(f"the rows are the list `{objects[0].name}` of the file's only object")
    if {"columns", "data"} <= set(frame.columns):
        names, data = frame["columns"].to_list()[0], frame["data"].to_list()[0]
        if isinstance(names, list) and isinstance(data, list):
            schema = cast("list[str]", names)
            rows = pl.DataFrame(
                cast("list[Any]", data), schema=schema, orient="row", infer_schema_length=None
            )
            return rows, Note('the file holds "columns" and "data", as pandas writes them')
    if frame.width > 1 and all(isinstance(c.dtype, pl.Struct) for c in frame):
        fields = [field_names(c.dtype) for c in frame]
        if all(names == fields[0] for names in fields) and len(fields[0]) > 1:
            columns = {c.name: list(c.to_list()[0].values()) for c in frame}
            return pl.DataFrame(columns, strict=False), Note(
                "the file's only object holds columns, each with its rows, as pandas writes them"
            )
    return None


def field_names(dtype: pl.DataType) -> list[str]:
    """The names of the fields of a column of objects; none for others."""
    return [field.name for field in dtype.fields] if isinstance(dtype, pl.Struct) else []


def flattened(frame: pl.DataFrame) -> tuple[pl.DataFrame, list[Note]]:
    """The frame with the fields of objects as columns: `user_id` for `id` in `user`.

    An object with a single field whose name begins with `$` (MongoDB's `$date`) is its value.
    Objects of more than `_MOST_FIELDS` fields are left as they are.
    """
    made: list[str] = []
    for _ in range(_DEPTH):
        columns: list[pl.Series] = []
        taken = set(frame.columns)
        for column in frame:
            columns += _fields_of(column, taken, made)
        frame = pl.DataFrame(columns)
    if not made:
        return frame, []
    listed = ", ".join(f"`{name}`" for name in made[:4]) + (" …" if len(made) > 4 else "")
    return frame, [Note(f"fields of objects are columns: {listed}")]


def _fields_of(column: pl.Series, taken: set[str], made: list[str]) -> Sequence[pl.Series]:
    fields = field_names(column.dtype)
    if len(fields) == 1 and fields[0].startswith("$"):
        return [column.struct.field(fields[0]).alias(column.name)]
    if not fields or len(fields) > _MOST_FIELDS:
        return [column]
    found: list[pl.Series] = []
    for field in fields:
        name = f"{column.name}_{field}"
        name = name if name not in taken else f"{column.name}.{field}"
        taken.add(name)
        made.append(name)
        found.append(column.struct.field(field).alias(name))
    return found
