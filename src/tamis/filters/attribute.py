"""Only items for which `column op value` holds."""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, model_validator

from tamis.cascade import Bool
from tamis.events import Table
from tamis.filters._mask import ItemMaskFilter, column_of
from tamis.schema import ConfigError

Operator = Literal["==", "!=", "<", "<=", ">", ">=", "in", "not in", "contains", "not contains"]
Scalar = bool | int | float | str


class AttributeConfig(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    column: str
    """Column of the items' table."""
    op: Operator
    """`contains` asks whether a list (or a text split by `separator`) holds the value."""
    value: Scalar | tuple[Scalar, ...]
    """A list for `in` and `not in`, else one value."""
    separator: str | None = None
    """Splits a text column for `contains` ("Action|Comedy")."""
    missing: Literal["keep", "remove"] = "remove"
    """What happens to items without a value."""
    reason: str = ""
    """What the trace says of a removed item; "" = "not COLUMN OP VALUE"."""

    @model_validator(mode="after")
    def _value_fits_operator(self) -> Self:
        several = isinstance(self.value, tuple)
        if several != (self.op in ("in", "not in")):
            wanted = "one value" if several else "a list"
            raise ValueError(f"op {self.op!r} takes {wanted}, got {self.value!r}")
        return self


class AttributeFilter(ItemMaskFilter):
    """Keeps items for which `column op value` holds: `price <= 100`, `genres contains Drama`."""

    Config = AttributeConfig

    def __init__(self, config: AttributeConfig | None = None, **options: Any) -> None:
        super().__init__()
        self.config = config or AttributeConfig(**options)
        rule = f"{self.config.column} {self.config.op} {self.config.value}"
        self.reason = self.config.reason or f"not {rule}"

    def _allowed(self, items: Table) -> Bool:
        column = column_of(items, self.config.column, "filter `attribute`")
        try:
            verdict = items.frame.select(_expression(self.config, column)).to_series()
        except (pl.exceptions.PolarsError, TypeError) as error:
            raise ConfigError(
                f"filter `attribute`: {self.config.column} {self.config.op} {self.config.value!r} "
                f"does not fit the column's type {column.dtype}; give a value of that type"
            ) from error
        missing = self.config.missing == "keep"
        return verdict.fill_null(missing).to_numpy().astype(np.bool_)


def _expression(config: AttributeConfig, series: pl.Series) -> pl.Expr:
    """Null where the column is; NaN counts as missing."""
    column, value = pl.col(config.column), config.value
    if series.dtype.is_float():
        column = column.fill_nan(None)
    if isinstance(value, tuple):
        inside = pl.any_horizontal([column.eq(pl.lit(v)) for v in value] or [pl.lit(False)])
        inside = pl.when(column.is_not_null()).then(inside)
        return inside if config.op == "in" else ~inside
    if config.op in ("contains", "not contains"):
        lists = column.str.split(config.separator) if config.separator else column
        inside = lists.list.contains(value)
        return inside if config.op == "contains" else ~inside
    compare = {
        "==": column.eq,
        "!=": column.ne,
        "<": column.lt,
        "<=": column.le,
        ">": column.gt,
        ">=": column.ge,
    }
    return compare[config.op](pl.lit(value))
