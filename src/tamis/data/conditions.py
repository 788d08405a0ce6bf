"""Conditions on a table's columns: `price <= 100`, `genres contains Drama`."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import model_validator

from tamis.schema import ComponentConfig, Conditions, ConfigError, Needs, suggest

Operator = Literal["==", "!=", "<", "<=", ">", ">=", "in", "not in", "contains", "not contains"]
Scalar = bool | int | float | str


class Condition(ComponentConfig):
    """A condition `column op value` on the rows of a table."""

    only_with: ClassVar[Conditions] = {"separator": (Needs("op", ("contains", "not contains")),)}

    column: str
    """Column of the table of items."""
    op: Operator
    """`contains` is true where a list, or a text split by `separator`, holds the value."""
    value: Scalar | tuple[Scalar, ...]
    """A list for `in` and `not in`, else one value."""
    separator: str | None = None
    """Splits a text column for `contains` ("Action|Comedy")."""
    missing: Literal["keep", "remove"] = "remove"
    """Whether rows without a value meet the condition (keep) or not (remove)."""

    @model_validator(mode="after")
    def _value_fits_operator(self) -> Self:
        several = isinstance(self.value, tuple)
        if several != (self.op in ("in", "not in")):
            wanted = "one value" if several else "a list"
            raise ValueError(f"op {self.op!r} takes {wanted}, got {self.value!r}")
        return self

    def holds(self, frame: pl.DataFrame, owner: str) -> NDArray[np.bool_]:
        """(rows,) bool: the rows of `frame` that meet the condition.

        owner: the stage that has the condition, for messages.

        Raises:
            ConfigError: the frame has no such column, or the value does not fit its type.
        """
        if self.column not in frame.columns:
            raise ConfigError(
                f"{owner}: column {self.column!r} is not in the items' table."
                f"{suggest(self.column, frame.columns)} Its columns: "
                f"{', '.join(frame.columns) or 'none'}"
            )
        column = frame[self.column]
        try:
            met = frame.select(_expression(self, column)).to_series()
        except (pl.exceptions.PolarsError, TypeError) as error:
            raise ConfigError(
                f"{owner}: {self.column} {self.op} {self.value!r} does not fit the column's type "
                f"{column.dtype}; give a value of that type"
            ) from error
        return met.fill_null(self.missing == "keep").to_numpy().astype(np.bool_)


def _expression(condition: Condition, series: pl.Series) -> pl.Expr:
    """The condition as a Polars expression; null where the value is missing (null or NaN)."""
    column, value = pl.col(condition.column), condition.value
    if series.dtype.is_float():
        column = column.fill_nan(None)
    if isinstance(value, tuple):
        inside = pl.any_horizontal([column.eq(pl.lit(v)) for v in value] or [pl.lit(False)])
        inside = pl.when(column.is_not_null()).then(inside)
        return inside if condition.op == "in" else ~inside
    if condition.op in ("contains", "not contains"):
        lists = column.str.split(condition.separator) if condition.separator else column
        inside = lists.list.contains(value)
        return inside if condition.op == "contains" else ~inside
    compare = {
        "==": column.eq,
        "!=": column.ne,
        "<": column.lt,
        "<=": column.le,
        ">": column.gt,
        ">=": column.ge,
    }
    return compare[condition.op](pl.lit(value))
