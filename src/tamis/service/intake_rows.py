"""Users and items as clients send them: columns checked by the tables, and made entries."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, cast

import polars as pl

from tamis.data import Table, one_id
from tamis.journal import Cell
from tamis.schema import DenseFeat, ProjectConfig, RequestError, Side, suggest
from tamis.service._field_checks import (
    FIRST_MS,
    LAST_MS,
    check_id,
    check_unicode,
    plain,
    plain_id,
    unit_hint,
)

LONGEST_TEXT = 20_000
"""Characters of a text."""
LONGEST_LIST = 10_000
"""Values of a list, and numbers of a vector."""
_DEGREES = {"latitude": 90.0, "longitude": 180.0}


@dataclass(frozen=True)
class SentRow:
    """A checked user or item."""

    id: str
    columns: dict[str, Cell]


class RowIntake:
    """Checks users or items by the columns of their table.

    Args:
        config: the declaration of the version.
        table: the version's table, with its types.
        side: whether it is of users or of items.
    """

    def __init__(self, config: ProjectConfig, table: Table, side: Side) -> None:
        self._table = table
        self._declared = config.users if side is Side.USER else config.items
        self._what = "user" if side is Side.USER else "item"
        self.id_field = f"{self._what}_id"
        text = config.items.text if side is Side.ITEM else None
        self._computed = None if text is None else text.name
        self._widths = {
            f.source: f.width
            for f in config.features
            if isinstance(f, DenseFeat) and f.width > 1 and f.source in table
        }
        names = [name for name in table.columns if name != self._computed]
        self._checks = {name: self._check_of(name, table.schema[name]) for name in names}

    def read(self, rows: Sequence[object]) -> list[SentRow | RequestError]:
        """Each row as an id and columns, or what is wrong with it."""
        found: list[SentRow | RequestError] = []
        for row in rows:
            try:
                found.append(self._row(row))
            except RequestError as error:
                found.append(error)
        return found

    def columns(self, sent: object) -> dict[str, Cell]:
        """Checked columns of one user or item. Raises RequestError for a wrong one."""
        if not isinstance(sent, Mapping):
            raise RequestError(f"send an object of columns, not {reprlib.repr(sent)}")
        checked: dict[str, Cell] = {}
        for name, value in cast("Mapping[Any, Any]", sent).items():
            check = self._checks.get(str(name))
            if check is None:
                raise self._unknown(str(name))
            value = plain(value)
            checked[str(name)] = None if value is None else check(str(name), value)
        return checked

    def id_of(self, sent: object) -> str:
        """A checked id. Raises RequestError for what is not an id."""
        given = plain_id(sent, self.id_field)
        if isinstance(given, bool) or not isinstance(given, str | int):
            shown = "is missing" if given is None else f"= {reprlib.repr(given)}"
            raise RequestError(f"{self.id_field} {shown}: give a text or a number", self.id_field)
        check_id(given, self.id_field)
        return str(one_id(given))

    def _row(self, row: object) -> SentRow:
        if not isinstance(row, Mapping):
            raise RequestError(
                f'send objects such as {{"{self.id_field}": "x1"}}, not {reprlib.repr(row)}'
            )
        fields = dict(cast("Mapping[Any, Any]", row))
        known = self.id_of(fields.pop(self.id_field, None))
        return SentRow(known, self.columns(fields))

    def _unknown(self, name: str) -> RequestError:
        where = f"the table of {self._what}s"
        if name == self._computed:
            text = f"{name} is computed from the texts of [items.text]: send these columns instead"
        elif not self._checks:
            text = (
                f"{name}: this version has no columns of {self._what}s; declare "
                f"[{self._what}s] path in tamis.toml and train, or leave the columns out"
            )
        else:
            hint = suggest(name, self._checks)
            text = f"{name}: {where} has no such column.{hint} It has {', '.join(self._checks)}"
        return RequestError(text, name)

    def _check_of(self, name: str, dtype: pl.DataType) -> Callable[[str, Any], Cell]:
        """What checks a value of a column of this type."""
        declared = self._declared
        if (declared is not None and name == declared.published) or dtype.is_temporal():
            return _time
        if dtype == pl.Boolean:
            return _boolean
        if isinstance(dtype, pl.List | pl.Array):
            inner = cast("pl.DataType", dtype.inner)
            return self._vector(name, dtype) if inner.is_numeric() else _texts
        if not dtype.is_numeric():
            return _text
        for role, most in _DEGREES.items():
            if declared is not None and name == getattr(declared, role):
                return _within(most)
        return _number

    def _vector(self, name: str, dtype: pl.DataType) -> Callable[[str, Any], Cell]:
        width = self._widths.get(name)
        if isinstance(dtype, pl.Array):
            width = dtype.size
        if width is None and cast("Any", dtype).inner.is_float():
            lengths = self._table.frame[name].list.len().drop_nulls().unique()
            width = int(lengths[0]) if len(lengths) == 1 else None
        return _numbers(width)


def _wrong(name: str, value: Any, wanted: str) -> RequestError:
    return RequestError(f"{name} = {reprlib.repr(value)}: {wanted}", name)


def _text(name: str, value: Any) -> Cell:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value if isfinite(value) else None
    if not isinstance(value, str):
        raise _wrong(name, value, "give a text")
    check_unicode(value, name)
    if len(value) > LONGEST_TEXT:
        size = f"has {len(value):,} characters: give at most {LONGEST_TEXT:,}"
        raise RequestError(f"{name} {size}", name)
    return value


def _number(name: str, value: Any) -> Cell:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise _wrong(name, value, "give a finite number")
    if abs(value) >= 2**63:
        raise _wrong(name, value, "give a number below 2^63")
    return value


def _within(most: float) -> Callable[[str, Any], Cell]:
    def check(name: str, value: Any) -> Cell:
        degrees = _number(name, value)
        if not -most <= cast("float", degrees) <= most:
            raise _wrong(name, value, f"give degrees between -{most:g} and {most:g}")
        return degrees

    return check


def _boolean(name: str, value: Any) -> Cell:
    if not isinstance(value, bool):
        raise _wrong(name, value, "give true or false")
    return value


def _time(name: str, value: Any) -> Cell:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong(name, value, "give ms since 1970 UTC, as a whole number")
    if not FIRST_MS <= value < LAST_MS:
        years = "it is not within the years 2000 to 2100 in ms since 1970 UTC"
        raise _wrong(name, value, years + unit_hint(value))
    return value


def _texts(name: str, value: Any) -> Cell:
    values = _listed(name, value, "texts")
    for each in values:
        if isinstance(each, bool) or not isinstance(each, str | int | float):
            raise _wrong(name, each, "give a list of texts")
        _text(name, each)
    return values


def _numbers(width: int | None) -> Callable[[str, Any], Cell]:
    def check(name: str, value: Any) -> Cell:
        values = _listed(name, value, "numbers")
        for each in values:
            _number(name, each)
        if width is not None and len(values) != width:
            raise RequestError(
                f"{name} has {len(values)} numbers: give {width}, as the other rows have", name
            )
        return values

    return check


def _listed(name: str, value: Any, of: str) -> list[Any]:
    if not isinstance(value, list):
        raise _wrong(name, value, f"give a list of {of}")
    values = cast("list[Any]", value)
    if len(values) > LONGEST_LIST:
        raise RequestError(f"{name} has {len(values):,} values: at most {LONGEST_LIST:,}", name)
    return values


def json_cell(value: Any) -> Cell:
    """A cell as JSON holds it: times in ms since 1970 UTC, vectors as lists."""
    if isinstance(value, pl.Series):
        value = value.to_list()
    if isinstance(value, list):
        return [cast("Any", json_cell(each)) for each in cast("list[Any]", value)]
    if value is None or isinstance(value, str | int | float):
        return value
    series = pl.Series([value])
    if series.dtype.is_temporal():
        return int(series.cast(pl.Datetime("ms")).cast(pl.Int64)[0])
    return str(value)
