"""Fusion: an arithmetic expression over predictions, item columns and channel scores.

    click + 0.5 * like
    click * (1 + 2 * like|click)
    (1 + 2 * click) ** 0.8 * (1 + like) ** 1.2
    1 / (rank(click) ** 0.5 + 10) + 2 / (rank(like) ** 0.5 + 10)
    click ** 0.8 * cart ** 0.5 * purchase ** 1.2 * default(price, 1) ** 0.3
    bid * click
    1 / (rank(like) + 60) + 0.5 / (rank(ease) + 60)

The text is parsed by its own grammar (`tamis.data.expression_syntax`), checked when the
configuration is read, and compiled to operations on whole columns; it is never evaluated as Python.
The empty text means the first task.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.cascade import _ranges as ranges
from tamis.cascade._ranges import Range
from tamis.data import expression_syntax as syntax
from tamis.runtime import Float64
from tamis.schema import ConfigError

Values = Mapping[str, NDArray[Any]]
PLACE = "tamis.toml: [cascade] fusion"


@dataclass(frozen=True, eq=False)
class _Inputs:
    """The inputs of an evaluation."""

    values: Values
    indptr: NDArray[np.int64]
    """(Q + 1,) query pointers of the candidates: ranks are computed within a request."""


_Step = Callable[[_Inputs], Any]


@dataclass(frozen=True)
class _Part:
    """A compiled part of the expression: its vector operation and its value range."""

    step: _Step
    range: Range
    varies: bool
    """Whether its value differs between candidates."""


@dataclass(frozen=True)
class _Operation:
    run: Callable[..., Any]
    range: Callable[..., Range]
    arguments: int = 2


OPERATORS = {
    "+": _Operation(np.add, ranges.plus),
    "-": _Operation(np.subtract, ranges.minus),
    "*": _Operation(np.multiply, ranges.times),
    "/": _Operation(np.true_divide, ranges.over),
    "**": _Operation(np.power, ranges.power),
}
FUNCTIONS = {
    "log": _Operation(np.log, ranges.logarithm, 1),
    "log1p": _Operation(np.log1p, ranges.logarithm_of_one_more, 1),
    "exp": _Operation(np.exp, ranges.exponential, 1),
    "sqrt": _Operation(np.sqrt, ranges.root, 1),
    "min": _Operation(np.minimum, ranges.least),
    "max": _Operation(np.maximum, ranges.greatest),
}
"""Further functions: `rank(x)`, the rank of x within the request, and `default(column, number)`."""
_SPECIAL = {"rank": 1, "default": 2}


class Fusion:
    """A checked expression, ready to evaluate.

    Args:
        expression: the text; empty: the first prediction.
        names: the predictions that it may use.
        place: its place in `tamis.toml`, for messages.
        columns: the numeric item columns that it may use, with their value ranges.
        gaps: the columns with missing values, which must be used inside `default`.
        ranges: value ranges of predictions; other predictions are probabilities.
        channels: the recall channels whose scores it may use inside `rank` or `default`, because a
            channel scores only the items that it recalled.

    Raises ConfigError naming the place, the character position and the nearest name.
    """

    def __init__(
        self,
        expression: str,
        names: Sequence[str],
        place: str = PLACE,
        *,
        columns: Mapping[str, Range] | None = None,
        gaps: Mapping[str, str] | None = None,
        ranges: Mapping[str, Range] | None = None,
        channels: Sequence[str] = (),
    ) -> None:
        self.expression = expression.strip()
        self.names: set[str] = set()
        """Names of the predictions that it uses."""
        self.columns: set[str] = set()
        """Names of the item columns that it uses."""
        self.channels: set[str] = set()
        """Names of the channels whose scores it uses."""
        self._predictions, self._columns = list(names), dict(columns or {})
        self._channels = [c for c in channels if c not in names and c not in self._columns]
        self._gaps, self._ranges = dict(gaps or {}), dict(ranges or {})
        self._place = f"{place} = {expression[:80]!r}"
        if not self.expression and not names:
            raise ConfigError(f"{self._place}: there is no task to use; declare [tasks.NAME]")
        whole = self._checked()
        if not whole.varies:
            raise ConfigError(
                f"{self._place}: it names no prediction: every candidate would have the same "
                f"value; write for example {self._example()!r}"
            )
        self._step = whole.step

    def __call__(
        self, values: Values, indptr: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32]:
        """The fused value (n,) of every candidate; not finite where it is undefined (log 0, 1 / 0).

        Args:
            values: the predictions, item columns and channel scores that it uses, (n,) each; NaN
                where a channel has not recalled the candidate.
            indptr: (Q + 1,) where the candidates of each request begin, for ranks; None: all
                candidates are of one request.
        """
        n = len(next(iter(values.values()))) if values else 0
        whole = np.array([0, n], np.int64) if indptr is None else indptr
        with np.errstate(all="ignore"):
            value = self._step(_Inputs(values, whole))
            if np.shape(value) != (n,):
                value = np.broadcast_to(value, (n,))
            return np.ascontiguousarray(value, dtype=np.float32)

    def _checked(self) -> _Part:
        """The compiled expression. Raises ConfigError for its faults."""
        try:
            tree = (
                syntax.parse(self.expression)
                if self.expression
                else syntax.Name(1, self._predictions[0])
            )
        except syntax.ExpressionError as error:
            raise ConfigError(f"{self._at(error)}{self._help()}") from None
        try:
            return self._compile(tree)
        except syntax.ExpressionError as error:
            raise ConfigError(self._at(error)) from None

    def _at(self, error: syntax.ExpressionError) -> str:
        return f"{self._place}: at column {error.column}: {error}"

    def _compile(self, node: syntax.Node) -> _Part:
        match node:
            case syntax.Constant(value=value):
                number = np.float64(value)
                return self._finite(node, _Part(lambda _: number, (value, value), False))
            case syntax.Name(name=name):
                return self._named(node, name)
            case syntax.Negative(inner=inner):
                part = self._compile(inner)
                step = part.step
                return _Part(lambda on: -step(on), ranges.negative(part.range), part.varies)
            case syntax.Binary(op=op, left=left, right=right):
                sides = [self._compile(left), self._compile(right)]
                return self._apply(node, OPERATORS[op], sides)
            case syntax.FunctionCall():
                return self._call(node)

    def _named(self, node: syntax.Name, name: str) -> _Part:
        if name in self._predictions:
            self.names.add(name)
            return _Part(_column(name), self._ranges.get(name, ranges.PROBABILITY), True)
        if name in self._channels:
            raise syntax.ExpressionError(
                node.column,
                f"the channel {name} scores only the items that it recalled; write rank({name}), "
                f"which ranks the others last, or give the others a value: default({name}, 0)",
            )
        if name not in self._columns:
            raise self._unknown(node, name)
        if name in self._gaps:
            raise syntax.ExpressionError(
                node.column,
                f"{self._gaps[name]}; give them a value: default({name}, 1)",
            )
        self.columns.add(name)
        return _Part(_column(name), self._columns[name], True)

    def _call(self, node: syntax.FunctionCall) -> _Part:
        known = {**{name: f.arguments for name, f in FUNCTIONS.items()}, **_SPECIAL}
        if node.function not in known:
            hint = _close(node.function, list(known), "Functions")
            raise syntax.ExpressionError(node.column, f"unknown function {node.function!r}{hint}")
        wanted = known[node.function]
        if len(node.args) != wanted:
            many = "1 value" if wanted == 1 else f"{wanted} values"
            text = f"{node.function} takes {many}, not {len(node.args)}"
            raise syntax.ExpressionError(node.column, text)
        if node.function == "default":
            return self._default(node)
        if node.function == "rank" and (score := self._score(node.args[0])):
            return self._rank(node, score)
        parts = [self._compile(arg) for arg in node.args]
        if node.function == "rank":
            return self._rank(node, parts[0])
        return self._apply(node, FUNCTIONS[node.function], parts)

    def _apply(
        self,
        node: syntax.Binary | syntax.FunctionCall,
        operation: _Operation,
        parts: Sequence[_Part],
    ) -> _Part:
        run, steps = operation.run, [part.step for part in parts]
        try:
            between = operation.range(*(part.range for part in parts))
        except ValueError as error:
            raise syntax.ExpressionError(
                node.column, f"{error}: no candidate would have a value"
            ) from None
        varies = any(part.varies for part in parts)
        return self._finite(node, _Part(lambda on: run(*(s(on) for s in steps)), between, varies))

    def _rank(self, node: syntax.FunctionCall, part: _Part) -> _Part:
        if not part.varies:
            raise syntax.ExpressionError(
                node.column, "rank of a number that is the same for all candidates"
            )
        step = part.step
        return _Part(lambda on: ranks(step(on), on.indptr), ranges.RANK, True)

    def _default(self, node: syntax.FunctionCall) -> _Part:
        """`default(column, number)`: what an item without a value counts as, or one that a channel
        has not recalled."""
        name, number = node.args
        sign = -1.0 if isinstance(number, syntax.Negative) else 1.0
        inner = number.inner if isinstance(number, syntax.Negative) else number
        if not isinstance(name, syntax.Name) or not isinstance(inner, syntax.Constant):
            raise syntax.ExpressionError(
                node.column,
                "default takes an item's column or a channel and a number, like default(price, 1)",
            )
        value, given = sign * inner.value, self._score(name)
        if given is None:
            if name.name not in self._columns:
                raise self._unknown(name, name.name)
            self.columns.add(name.name)
            given = _Part(_column(name.name), self._columns[name.name], True)
        step, (low, high) = given.step, given.range

        def filled(on: _Inputs) -> Float64:
            known = step(on)
            return np.where(np.isnan(known), value, known)

        return _Part(filled, (min(low, value), max(high, value)), True)

    def _score(self, node: syntax.Node) -> _Part | None:
        """Score of a channel; NaN where it has not recalled the candidate."""
        if not isinstance(node, syntax.Name) or node.name not in self._channels:
            return None
        self.channels.add(node.name)
        return _Part(_column(node.name), ranges.ANY, True)

    def _finite(self, node: syntax.Node, part: _Part) -> _Part:
        low, high = part.range
        if np.isnan(low) or np.isnan(high) or low == np.inf or high == -np.inf:
            raise syntax.ExpressionError(node.column, "this is never a finite number")
        return part

    def _unknown(self, node: syntax.Name, name: str) -> syntax.ExpressionError:
        known = [*self._predictions, *self._columns, *self._channels]
        text = f"unknown name {name!r}{_close(name, known, 'Predictions')}"
        if self._columns:
            text += f". Items' columns: {', '.join(self._columns)}"
        if self._channels:
            text += f". Channels: {', '.join(self._channels)}"
        return syntax.ExpressionError(node.column, text)

    def _help(self) -> str:
        """A short description of fusion expressions, for messages."""
        functions = ", ".join([*FUNCTIONS, *_SPECIAL])
        return (
            f"; an expression has numbers, names, + - * / **, brackets and {functions}, for "
            f"example {self._example()!r}"
        )

    def _example(self) -> str:
        names = [n if n.replace("|", "").isidentifier() else f"`{n}`" for n in self._predictions]
        return " + ".join(f"{k} * {name}" for k, name in enumerate(names[:2], start=1))


def ranks(score: Float64, indptr: NDArray[np.int64]) -> Float64:
    """(n,) rank of each score within its request: 1 = highest; ties share their mean rank.

    NaN scores rank last, as -inf does.
    """
    from tamis.cascade._rank_kernels import rank_lists  # heavy: numba

    n = int(indptr[-1])
    score = np.asarray(score, np.float64)
    if score.shape != (n,):
        score = np.full(n, score)
    out = np.empty(n, np.float64)
    rank_lists(score, indptr, out)
    return out


def _column(name: str) -> Callable[[_Inputs], Float64]:
    return lambda on: np.asarray(on.values[name], dtype=np.float64)


def _close(name: str, known: list[str], title: str) -> str:
    close = get_close_matches(name, known, 1)
    start = f"; did you mean {close[0]!r}?" if close else "."
    return f"{start} {title}: {', '.join(known)}"
