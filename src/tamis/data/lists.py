"""Lists written as JSON or Python text: `["a","b"]`, `['a', 'b']`, lists of objects with a name."""

from __future__ import annotations

import ast
import json

import polars as pl

NAMES = ("name", "title", "label", "value", "id")
"""Keys of objects in a list, in the order in which they are looked for; the first one is kept."""
_SHARE = 0.9
"""Least share of the given values that are lists."""
_TEXT = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_GAP = r"null|None|NaN|nan"
_ATOM = rf"(?:[uU]?(?:{_TEXT})|{_NUMBER}|{_GAP}|true|false|True|False)"
_FLAT = rf"^[\[({{]\s*(?:{_ATOM}(?:\s*,\s*{_ATOM})*\s*,?)?\s*[\])}}]$"
_ARRAY = rf"^\[\s*(?:{_ATOM}(?:\s+{_ATOM})*)?\s*\]$"
"""What numpy writes: `[0.1 0.2]`, `['a' 'b']`."""
_PAIR = rf"(?:{_TEXT})\s*:\s*(?:{_ATOM}|\{{[^{{}}]*\}}|\[[^\[\]{{}}]*\])"
_OBJECT = rf"\{{\s*(?:{_PAIR}(?:\s*,\s*{_PAIR})*)?\s*\}}"
_OBJECTS = rf"^\[\s*(?:{_OBJECT}(?:\s*,\s*{_OBJECT})*)?\s*\]$"
_BARE = r"^\{[^{}\"':\[\]]*\}$|^\[[^{}\"':\[\]]*\]$"
"""Words without quotation marks: `{a,b}` of PostgreSQL, `[a, b]` of Java."""


def read_lists(column: pl.Series) -> pl.Series | None:
    """The lists (n,) of a column of texts; None unless at least 90 % of the values are lists.

    Values: text, or numbers where all of them are. A value that is not a list becomes a null, as a
    missing one; the caller reports it. Of objects, the value of the first of `NAMES` is kept.
    """
    some = column.drop_nulls()
    if not len(some) or some.head(1000).str.contains(r"^[\[({]").mean() < _SHARE:  # type: ignore[operator]
        return None
    unique = some.unique()
    objects = unique.str.contains(r"^\[\s*\{").any()
    kinds = [_OBJECTS] if objects else [_FLAT, _ARRAY, _BARE]
    shapes = [unique.str.contains(kind) for kind in kinds]
    fits = shapes[0]
    for shape in shapes[1:]:
        fits = fits | shape
    if int(fits.sum()) < _SHARE * len(unique):
        return None
    if objects:
        parts = _named(unique)
        if parts is None:
            return None
    elif bool((shapes[2] & ~shapes[0] & ~shapes[1]).any()):
        if bool((~shapes[2] & fits).any()):
            return None  # words with and without quotation marks
        parts = unique.str.strip_chars("[]{}").str.split(",")
    else:
        parts = unique.str.extract_all(_ATOM)
    lists = _plain(parts)
    table = pl.DataFrame({"text": unique, "list": lists}).filter(fits)
    joined = pl.DataFrame({"text": column}).join(
        table, on="text", how="left", maintain_order="left"
    )
    return joined["list"].alias(column.name)


def named_lists(column: pl.Series) -> pl.Series:
    """Lists of texts or numbers of a column of lists of structs, by the first of `NAMES`."""
    inner = column.dtype.inner if isinstance(column.dtype, pl.List) else None
    if not isinstance(inner, pl.Struct):
        return column
    fields = {field.name: field for field in inner.fields}
    name = next((n for n in NAMES if n in fields), None)
    if name is None:
        return column
    return column.list.eval(pl.element().struct.field(name))


def _named(unique: pl.Series) -> pl.Series | None:
    for name in NAMES:
        key = rf"""["']{name}["']\s*:\s*(?:{_ATOM})"""
        if unique.str.contains(key).any():
            found = unique.str.extract_all(key)
            return found.list.eval(pl.element().str.replace(r"^[^:]*:\s*", ""))
    return None


def _unescaped(parts: pl.Series) -> pl.Series:
    """The same without backslashes; the distinct texts that have one are read one by one."""
    escaped = parts.explode().drop_nulls().unique()
    escaped = escaped.filter(escaped.str.contains("\\", literal=True))
    if not len(escaped):
        return parts
    plain = {text: f'"{_literal(text)}"' for text in escaped}
    return parts.list.eval(pl.element().replace(plain))


def _literal(text: str) -> str:
    """The value of a text in quotation marks, of JSON or Python."""
    try:
        return str(json.loads(text))
    except ValueError:
        try:
            return str(ast.literal_eval(text))
        except (ValueError, SyntaxError):
            return text.strip("uU").strip(text[-1])


def _plain(parts: pl.Series) -> pl.Series:
    """Lists of the values of lists of atoms: without quotation marks, escapes and gaps."""
    element = pl.element()
    quoted = element.str.contains(r"""^[uU]?["']""")
    parts = _unescaped(parts)
    text = element.str.replace(r"""^[uU]?["']""", "").str.replace(r"""["']$""", "")
    kept = pl.when(quoted).then(text).otherwise(element).str.strip_chars()
    gone = (~quoted & element.str.contains(rf"^(?:{_GAP})$")) | (kept == "")
    lists = parts.list.eval(kept.filter(~gone))
    flat = lists.explode().drop_nulls()
    raw = parts.explode().drop_nulls()
    if len(flat) and not raw.str.contains(r"""["']""").any():
        for dtype in (pl.Int64, pl.Float64):
            if flat.cast(dtype, strict=False).null_count() == 0:
                return lists.cast(pl.List(dtype))
    return lists
