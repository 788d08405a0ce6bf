"""The fused value of a candidate: an arithmetic expression over the tasks' predictions.

    click * (1 + 0.5 * like + 2 * purchase)
    click ** 0.8 * purchase ** 1.2
    log1p(click) + max(like, share)

Numbers, the tasks' names, `+ - * / **`, brackets and the functions of `FUNCTIONS`; nothing else is
an expression, and nothing is ever evaluated as Python. "" is the first task.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.schema import ConfigError

Values = Mapping[str, NDArray[np.generic]]
_Node = Callable[[Values], Any]

FUNCTIONS: dict[str, tuple[Callable[..., Any], int]] = {
    "log": (np.log, 1),
    "log1p": (np.log1p, 1),
    "exp": (np.exp, 1),
    "sqrt": (np.sqrt, 1),
    "min": (np.minimum, 2),
    "max": (np.maximum, 2),
}
"""Name → function and its number of arguments."""
_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: np.true_divide,
    ast.Pow: np.power,
}
LONGEST = 2000
"""Most characters of an expression."""
DEEPEST = 100
"""Most levels of nesting."""


class Fusion:
    """A checked expression, ready to run.

    Args:
        expression: the text; "" = the first name.
        names: the tasks (and other columns) that it may use.
        place: where it stands, for messages.

    Raises ConfigError naming the place, the column in the text, and the close name.
    """

    def __init__(
        self, expression: str, names: Sequence[str], place: str = "tamis.toml: [cascade] fusion"
    ) -> None:
        self.expression = expression.strip() or (names[0] if names else "")
        self.names: set[str] = set()
        """The names that it uses."""
        self._known, self._place = list(names), f"{place} = {expression!r}"
        if not self.expression:
            raise ConfigError(f"{self._place}: there is no task to take; declare [tasks.NAME]")
        if not expression.strip():
            # A task may be named otherwise than Python allows ("add-to-cart").
            self._run: _Node = self._column(self.expression)
        else:
            self._run = self._compile(self._parse(), 0)

    def __call__(self, values: Values) -> NDArray[np.float32]:
        """The value (n,) of every candidate; what cannot be computed (log 0, 1/0) is not finite."""
        n = len(next(iter(values.values()))) if values else 0
        with np.errstate(all="ignore"):
            value = np.asarray(self._run(values), dtype=np.float64)
            return np.ascontiguousarray(np.broadcast_to(value, (n,)), dtype=np.float32)

    def _parse(self) -> ast.expr:
        if len(self.expression) > LONGEST:
            raise ConfigError(f"{self._place[:80]}…: longer than {LONGEST} characters")
        try:
            return ast.parse(self.expression, mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            at = f" at column {error.offset}" if isinstance(error, SyntaxError) else ""
            raise ConfigError(
                f"{self._place}: not an arithmetic expression{at}; write for example "
                f"{self._example()!r}"
            ) from error

    def _compile(self, node: ast.expr, depth: int) -> _Node:
        if depth > DEEPEST:
            raise self._fault(node, f"nested deeper than {DEEPEST} levels; write it shorter")
        match node:
            case ast.Constant(value=float() | int() as value) if not isinstance(value, bool):
                return _constant(value)
            case ast.Name(id=name):
                return self._named(node, name)
            case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=operand):
                inner = self._compile(operand, depth + 1)
                return _negative(inner) if isinstance(sign, ast.USub) else inner
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
                sides = self._compile(left, depth + 1), self._compile(right, depth + 1)
                return _apply(_BINARY[type(op)], sides)
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
                return self._call(node, name, args, depth)
            case _:
                text = ast.unparse(node)
                allowed = f"numbers, names, + - * / ** and {', '.join(FUNCTIONS)}"
                raise self._fault(node, f"{text!r} is not allowed; an expression has {allowed}")

    def _named(self, node: ast.expr, name: str) -> _Node:
        if name not in self._known:
            raise self._fault(node, f"unknown name {name!r}" + _close(name, self._known, "Tasks"))
        return self._column(name)

    def _column(self, name: str) -> _Node:
        self.names.add(name)
        return lambda values: np.asarray(values[name], dtype=np.float64)

    def _call(self, node: ast.expr, name: str, args: list[ast.expr], depth: int) -> _Node:
        if name not in FUNCTIONS:
            hint = _close(name, list(FUNCTIONS), "Functions")
            raise self._fault(node, f"unknown function {name!r}" + hint)
        function, wanted = FUNCTIONS[name]
        if len(args) != wanted:
            raise self._fault(node, f"{name} takes {wanted} values, not {len(args)}")
        return _apply(function, tuple(self._compile(a, depth + 1) for a in args))

    def _fault(self, node: ast.expr, what: str) -> ConfigError:
        return ConfigError(f"{self._place}: at column {node.col_offset + 1}: {what}")

    def _example(self) -> str:
        return " + ".join(f"{k} * {name}" for k, name in enumerate(self._known[:2], start=1))


def _constant(value: float) -> _Node:
    try:
        number = np.float64(value)
    except OverflowError:
        number = np.float64(np.inf)
    return lambda values: number


def _negative(inner: _Node) -> _Node:
    return lambda values: -inner(values)


def _apply(function: Callable[..., Any], parts: Sequence[_Node]) -> _Node:
    return lambda values: function(*(part(values) for part in parts))


def _close(name: str, known: list[str], title: str) -> str:
    close = get_close_matches(name, known, 1)
    return (f"; did you mean {close[0]!r}?" if close else ".") + f" {title}: {', '.join(known)}"
