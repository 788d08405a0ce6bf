"""Compiles a condition into a Polars expression that is true or false, never null."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, Literal, cast

import polars as pl

from tamis.data._condition_syntax import (
    Compared,
    Flag,
    Joined,
    Listed,
    Not,
    Scope,
    Scoped,
    Term,
    Text,
)
from tamis.data.expression_syntax import (
    Binary,
    Constant,
    ExpressionError,
    FunctionCall,
    Name,
    Negative,
)

Kind = Literal["number", "text", "flag", "numbers", "texts", "flags", "nothing"]
"""What a part of a condition holds: one value or a list; nothing: it is missing everywhere."""
Key = tuple[Scope, str]
_WORDS: Mapping[Kind, str] = {
    "number": "a number",
    "text": "a text",
    "flag": "true or false",
    "numbers": "a list of numbers",
    "texts": "a list of texts",
    "flags": "a list of true and false",
    "nothing": "missing",
}
_LIST_OF: Mapping[Kind, Kind] = {"number": "numbers", "text": "texts", "flag": "flags"}
_ARITHMETIC: Mapping[str, Callable[[pl.Expr, pl.Expr], pl.Expr]] = {
    "+": pl.Expr.add,
    "-": pl.Expr.sub,
    "*": pl.Expr.mul,
    "/": pl.Expr.truediv,
    "**": pl.Expr.pow,
}
_COMPARE: Mapping[str, Callable[[pl.Expr, pl.Expr], pl.Expr]] = {
    "==": pl.Expr.eq,
    "!=": pl.Expr.ne,
    "<": pl.Expr.lt,
    "<=": pl.Expr.le,
    ">": pl.Expr.gt,
    ">=": pl.Expr.ge,
}


@dataclass(frozen=True)
class _CompiledTerm:
    """A compiled part of a condition."""

    expr: pl.Expr
    kind: Kind
    column: int
    """Position in the text."""
    name: str
    """How messages name it."""
    values: tuple[Any, ...] | None = None
    """The values of a list that the text holds."""


def kind_of(dtype: pl.DataType) -> Kind:
    """What a column of this type holds. Raises ValueError for types that conditions cannot read."""
    inner = dtype.inner if isinstance(dtype, pl.List) else dtype
    kind: Kind | None = None
    if inner.is_numeric():
        kind = "number"
    elif inner == pl.Boolean:
        kind = "flag"
    elif inner == pl.String:
        kind = "text"
    elif inner == pl.Null:
        return "nothing"
    if kind is None:
        raise ValueError(f"conditions cannot read a column of type {dtype}")
    return _LIST_OF[kind] if isinstance(dtype, pl.List) else kind


def column_name(key: Key) -> str:
    """The name of a column in the frame that a compiled condition reads."""
    return f"{key[0]}.{key[1]}"


class ConditionCompiler:
    """Compiles terms into Polars expressions over columns named `scope.name`."""

    def __init__(self, kinds: Mapping[Key, Kind]) -> None:
        self._kinds = kinds

    def condition(self, term: Term) -> pl.Expr:
        """The term as true or false, never null."""
        match term:
            case Joined(op=op, parts=parts):
                found = [self.condition(part) for part in parts]
                return reduce(pl.Expr.and_ if op == "and" else pl.Expr.or_, found)
            case Not(inner=inner):
                return self.condition(inner).not_()
            case Compared():
                return self._comparison(term)
            case FunctionCall(function="missing"):
                return self._missing(term)
            case _:
                part = self._value(term)
                if part.kind not in ("flag", "nothing"):
                    raise ExpressionError(
                        part.column,
                        f"{part.name} is {_WORDS[part.kind]}, not a condition; compare it, as in "
                        "price < 10",
                    )
                return part.expr.fill_null(False) if part.kind == "flag" else pl.lit(False)

    def _value(self, term: Term) -> _CompiledTerm:
        match term:
            case Constant(value=value):
                return _CompiledTerm(pl.lit(value), "number", term.column, f"{value:g}")
            case Text(value=value):
                return _CompiledTerm(pl.lit(value), "text", term.column, f'"{value}"')
            case Flag(value=value):
                return _CompiledTerm(pl.lit(value), "flag", term.column, str(value).lower())
            case Scoped():
                key = (term.scope, term.name)
                return _CompiledTerm(
                    pl.col(column_name(key)), self._kinds[key], term.column, f"`{term}`"
                )
            case Listed(values=values):
                kinds: dict[type, Kind] = {float: "numbers", str: "texts", bool: "flags"}
                kind = kinds[type(values[0])] if values else "nothing"
                return _CompiledTerm(pl.lit(None), kind, term.column, "the list", values)
            case Negative(inner=inner):
                return self._numeric(term.column, pl.Expr.neg, self._number(inner))
            case Binary(op=op, left=left, right=right):
                parts = (self._number(left), self._number(right))
                return self._numeric(term.column, _ARITHMETIC[op], *parts)
            case FunctionCall(function="lower", args=(inner,)):
                part = self._value(inner)
                if part.kind not in ("text", "nothing"):
                    raise ExpressionError(
                        part.column, f"lower needs a text, and {part.name} is {_WORDS[part.kind]}"
                    )
                expr = part.expr.str.to_lowercase() if part.kind == "text" else part.expr
                return _CompiledTerm(expr, part.kind, term.column, f"lower({part.name})")
            case FunctionCall():
                raise ExpressionError(term.column, _unknown_function(term))
            case Name(name=name):
                raise ExpressionError(term.column, f"{name!r} is not allowed in a condition")
            case Compared() | Not() | Joined():
                return _CompiledTerm(self.condition(term), "flag", term.column, "the condition")

    def _number(self, term: Term) -> _CompiledTerm:
        part = self._value(term)
        if part.kind not in ("number", "nothing"):
            raise ExpressionError(
                part.column, f"{part.name} is {_WORDS[part.kind]}; arithmetic needs numbers"
            )
        return part

    def _numeric(
        self, column: int, op: Callable[..., pl.Expr], *parts: _CompiledTerm
    ) -> _CompiledTerm:
        """An operation on float64; NaN, such as 0 / 0, is missing."""
        numbers = (
            pl.lit(None, pl.Float64) if part.kind == "nothing" else part.expr.cast(pl.Float64)
            for part in parts
        )
        expr = op(*numbers).fill_nan(None)
        return _CompiledTerm(expr, "number", column, "the result")

    def _missing(self, term: FunctionCall) -> pl.Expr:
        args = cast("tuple[Term, ...]", term.args)
        if len(args) != 1 or not isinstance(args[0], Scoped):
            raise ExpressionError(term.column, "missing takes one column, as in missing(price)")
        part = self._value(args[0])
        return pl.lit(True) if part.kind == "nothing" else part.expr.is_null()

    def _comparison(self, term: Compared) -> pl.Expr:
        left, right = self._value(term.left), self._value(term.right)
        if "in" in term.op:
            element, inside = (right, left) if "contains" in term.op else (left, right)
            return self._membership(term, element, inside)
        if "nothing" in (left.kind, right.kind):
            return pl.lit(False)
        if left.kind != right.kind or left.kind not in ("number", "text", "flag"):
            hint = "; use `contains` or `in`" if _is_list(left) or _is_list(right) else ""
            raise _unlike(term, left, right, hint)
        if left.kind == "flag" and term.op not in ("==", "!="):
            raise ExpressionError(term.column, f"true and false have no order for {term.op}")
        return _COMPARE[term.op](left.expr, right.expr).fill_null(False)

    def _membership(self, term: Compared, element: _CompiledTerm, inside: _CompiledTerm) -> pl.Expr:
        """Whether a value, or any value of a list, is in a list."""
        if inside.values is None and inside.kind in _LIST_OF:
            raise ExpressionError(
                inside.column,
                f"{inside.name} is {_WORDS[inside.kind]}, and `{term.op}` looks into a list; where "
                "it is a text of several values, declare their separator",
            )
        if element.kind == "nothing" or (inside.kind == "nothing" and inside.values is None):
            return pl.lit(False)
        several = _is_list(element)
        wanted = element.kind if several else _LIST_OF[element.kind]
        if inside.kind not in (wanted, "nothing"):
            raise _unlike(term, element, inside, "")
        found = _found(_alike(element), _alike(inside), several)
        if "not" in term.op:
            found = found.not_()
        known = [part.expr.is_not_null() for part in (element, inside) if part.values is None]
        return reduce(pl.Expr.and_, known, found.fill_null(False))


def _alike(part: _CompiledTerm) -> _CompiledTerm:
    """Numbers as float64: Polars looks for a number only among numbers of its own type."""
    types = {"number": pl.Float64, "numbers": pl.List(pl.Float64)}
    if part.kind not in types or part.values is not None:
        return part
    return replace(part, expr=part.expr.cast(types[part.kind]))


def _found(element: _CompiledTerm, inside: _CompiledTerm, several: bool) -> pl.Expr:
    """Whether a value, or any of `several`, is in a list; null where a column is missing."""
    if inside.values is None:
        if several:
            shared = element.expr.list.set_intersection(inside.expr)
            return shared.list.drop_nulls().list.len() > 0
        return inside.expr.list.contains(element.expr)
    if not inside.values:
        return pl.lit(False)
    if several:
        each = [element.expr.list.contains(pl.lit(value)) for value in inside.values]
        return pl.any_horizontal(each)
    return element.expr.is_in(list(inside.values))


def _is_list(part: _CompiledTerm) -> bool:
    return part.kind in _LIST_OF.values()


def _unlike(
    term: Compared, left: _CompiledTerm, right: _CompiledTerm, hint: str
) -> ExpressionError:
    return ExpressionError(
        term.column,
        f"{left.name} is {_WORDS[left.kind]} and {right.name} {_WORDS[right.kind]}: "
        f"`{term.op}` cannot compare them{hint}",
    )


def _unknown_function(term: FunctionCall) -> str:
    if term.function == "lower":
        return "lower takes one text, as in lower(title)"
    if term.function == "missing":
        return "missing is a condition of its own; join it by `and` or `or`"
    return f"there is no function `{term.function}`; there are missing(column) and lower(text)"
