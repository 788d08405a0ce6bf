"""Conditions on items, users and requests: `price <= user.budget and region in request.regions`.

The language of filters, of the rules of recall and re-rank, and of requests. A comparison with a
missing value is false, also with `!=` and `not in`; `not` turns the result around, so
`not (price > 100)` keeps items without a price. Conditions run as Polars expressions over whole
columns; the text is never evaluated as Python.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
import polars as pl

from tamis.data._condition_compiler import ConditionCompiler, Key, Kind, column_name, kind_of
from tamis.data._condition_syntax import (
    SCOPES,
    Compared,
    Scope,
    Scoped,
    Term,
    parse_condition,
    terms_of,
)
from tamis.data.expression_syntax import ExpressionError, FunctionCall
from tamis.runtime import Bool
from tamis.schema import ConfigError, Feature, TableConfig, VarLenSparseFeat, suggest


@dataclass(frozen=True)
class FilterExpression:
    """A parsed condition."""

    text: str
    tree: Term

    @classmethod
    def parse(cls, text: str) -> FilterExpression:
        """Raises ExpressionError with the position of the fault."""
        found = cls(text, parse_condition(text))
        unknown: dict[Key, Kind] = dict.fromkeys(found.keys, "nothing")
        ConditionCompiler(unknown).condition(found.tree)  # finds faults that no column can mend
        return found

    @cached_property
    def names(self) -> tuple[Scoped, ...]:
        """The columns and values that it reads, each once, in the order of the text."""
        terms = (term for term in terms_of(self.tree) if isinstance(term, Scoped))
        ordered = sorted(terms, key=lambda term: term.column)
        found: dict[Key, Scoped] = {}
        for term in ordered:
            found.setdefault((term.scope, term.name), term)
        return tuple(found.values())

    @cached_property
    def keys(self) -> tuple[Key, ...]:
        """Scope and name of `names`."""
        return tuple((name.scope, name.name) for name in self.names)

    @classmethod
    def checked(cls, text: str, scopes: Sequence[Scope] = SCOPES) -> FilterExpression:
        """As `parse`; the ValueError of a fault quotes the text, for options of stages.

        scopes: those that the stage can read.
        """
        try:
            found = cls.parse(text)
            found.check_scopes(scopes)
        except ExpressionError as error:
            raise ValueError(explained(text, error)) from error
        return found

    @cached_property
    def asked(self) -> frozenset[Key]:
        """The columns and values whose absence it asks for by `missing`."""
        calls = (term for term in terms_of(self.tree) if isinstance(term, FunctionCall))
        args = (
            cast("Term", arg) for call in calls if call.function == "missing" for arg in call.args
        )
        return frozenset((arg.scope, arg.name) for arg in args if isinstance(arg, Scoped))

    @cached_property
    def searched(self) -> frozenset[Key]:
        """The columns that `in` and `contains` look into."""
        found: set[Key] = set()
        for term in terms_of(self.tree):
            if isinstance(term, Compared) and "in" in term.op:
                inside = term.left if "contains" in term.op else term.right
                if isinstance(inside, Scoped):
                    found.add((inside.scope, inside.name))
        return frozenset(found)

    def reads(self, *scopes: Scope) -> bool:
        """Whether it reads anything of these scopes."""
        return any(scope in scopes for scope, _ in self.keys)

    def check_scopes(self, scopes: Sequence[Scope]) -> None:
        """Raises ExpressionError where it reads another scope."""
        for scoped in self.names:
            if scoped.scope not in scopes:
                raise ExpressionError(
                    scoped.column, f"`{scoped}`: this condition reads columns of the items alone"
                )

    def check_names(self, known: Mapping[Scope, Sequence[str]]) -> None:
        """Raises ExpressionError for a name that none of the `known` of its scope is.

        A scope that is absent has any names.
        """
        for scoped in self.names:
            names = known.get(scoped.scope)
            if names is None or scoped.name in names:
                continue
            what = {
                "item": "column of the items",
                "user": "column of the users",
                "request": "value of the request",
            }[scoped.scope]
            hint = suggest(scoped.name, names)
            if scoped.scope == "item" and not hint:
                hint = f' A text stands between quotation marks: "{scoped.name}".'
            raise ExpressionError(
                scoped.column,
                f"`{scoped}` is no {what}.{hint} There are: {', '.join(names) or 'none'}",
            )

    def holds(self, columns: Mapping[Key, pl.Series], n: int) -> Bool:
        """(n,) where the condition holds.

        Args:
            columns: (n,) for every key, as `readable` returns them.

        Raises ExpressionError where the types of two parts do not go together.
        """
        kinds: dict[Key, Kind] = {key: kind_of(columns[key].dtype) for key in self.keys}
        met = ConditionCompiler(kinds).condition(self.tree)
        if not self.keys:
            return np.full(n, bool(pl.select(met).item()))
        frame = pl.DataFrame([columns[key].alias(column_name(key)) for key in self.keys])
        found = frame.select(met).to_series().to_numpy().astype(np.bool_)
        return found if len(found) == n else np.full(n, found[0])  # a literal has one row

    def explained(self, error: ExpressionError) -> str:
        """The fault with the text and the position."""
        return f"condition `{self.text}`, column {error.column}: {error}"


def explained(text: str, error: ExpressionError) -> str:
    """The fault of a text that cannot be parsed."""
    return f"condition `{text}`, column {error.column}: {error}"


def item_condition(
    where: str, frame: pl.DataFrame, separators: Mapping[str, str], owner: str
) -> Bool:
    """(rows,) where a condition on items alone holds.

    Args:
        frame: the columns of the items. separators: those of texts that hold lists.
        owner: the stage that has the condition, for messages.

    Raises ConfigError where the condition does not fit the columns.
    """
    try:
        found = FilterExpression.parse(where)
        found.check_scopes(("item",))
        found.check_names({"item": frame.columns})
        columns = {key: readable(frame[key[1]], separators.get(key[1])) for key in found.keys}
        return found.holds(columns, frame.height)
    except ExpressionError as error:
        raise ConfigError(f"{owner}: {explained(where, error)}") from error
    except ValueError as error:
        raise ConfigError(f"{owner}: condition `{where}`: {error}") from error


def readable(series: pl.Series, separator: str | None) -> pl.Series:
    """A column as conditions read it: numbers, texts, true and false, or lists of them.

    Times are numbers, in ms since 1970 UTC.

    Args:
        separator: splits texts into lists; None: a text is one value.

    Raises ValueError for a type that conditions cannot read.
    """
    kind = series.dtype
    if kind.is_float():
        return series.fill_nan(None)
    if isinstance(kind, pl.Date | pl.Datetime):
        return series.cast(pl.Datetime("ms")).dt.epoch("ms")
    if isinstance(kind, pl.Categorical | pl.Enum):
        series = series.cast(pl.String)
    if series.dtype == pl.String and separator:
        lists = series.str.split(separator).list.eval(pl.element().str.strip_chars())
        return lists.list.eval(pl.element().filter(pl.element() != ""))
    if isinstance(kind, pl.Array):
        series = series.arr.to_list()
    kind_of(series.dtype)
    return series


def separators_of(
    table: TableConfig | None, features: Sequence[Feature], columns: Sequence[str]
) -> dict[str, str]:
    """{column: separator} of the text columns of a table that are declared to hold lists."""
    found = {
        feature.source: feature.separator
        for feature in features
        if isinstance(feature, VarLenSparseFeat) and feature.separator
    }
    if table is not None and table.category and table.category_separator:
        found[table.category] = table.category_separator
    return {column: separator for column, separator in found.items() if column in columns}


__all__ = [
    "SCOPES",
    "ExpressionError",
    "FilterExpression",
    "Key",
    "Scope",
    "explained",
    "item_condition",
    "readable",
    "separators_of",
]
