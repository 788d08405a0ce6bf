"""Parses a condition: comparisons joined by `and`, `or` and `not`, over arithmetic expressions.

    price <= user.budget and not (brand == "Acme" or stock < 1)
    genres contains "Drama" and region in request.regions
    10 <= price < 20

`or` binds weakest, then `and`, `not`, comparisons, and arithmetic as in `expression_syntax`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, cast

from tamis.data.expression_syntax import (
    DEEPEST,
    Binary,
    Constant,
    ExpressionError,
    FunctionCall,
    Negative,
    Node,
    Parser,
    Token,
    tokens_of,
)

Scope = Literal["item", "user", "request"]
Operator = Literal[
    "==", "!=", "<", "<=", ">", ">=", "in", "not in", "contains", "not contains"
]  # fmt: skip
SCOPES: tuple[Scope, ...] = ("item", "user", "request")
COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")
_WORDS = ("and", "or", "not", "in", "contains", "true", "false")
"""Words with a meaning of their own; a column of that name is written between backquotes."""
_TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
    | (?P<name>[^\W\d]\w*)
    | `(?P<quoted>[^`]+)`
    | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    | (?P<mark>\*\*|[=!<>]=|[-+*/(),<>=\[\].])
    )""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True)
class Text:
    """A text between quotation marks."""

    column: int
    value: str


@dataclass(frozen=True)
class Flag:
    """`true` or `false`."""

    column: int
    value: bool


@dataclass(frozen=True)
class Scoped:
    """A column of the items or users, or a value of the request: `price`, `user.budget`."""

    column: int
    scope: Scope
    name: str

    def __str__(self) -> str:
        return self.name if self.scope == "item" else f"{self.scope}.{self.name}"


@dataclass(frozen=True)
class Listed:
    """A list of numbers or of texts: `["FR", "BE"]`."""

    column: int
    values: tuple[float | str | bool, ...]


@dataclass(frozen=True)
class Compared:
    """`left op right`; `column` is the position of the operator."""

    column: int
    op: Operator
    left: Term
    right: Term


@dataclass(frozen=True)
class Not:
    column: int
    inner: Term


@dataclass(frozen=True)
class Joined:
    """Conditions joined by `and` or by `or`."""

    column: int
    op: Literal["and", "or"]
    parts: tuple[Term, ...]


Term = Node | Text | Flag | Scoped | Listed | Compared | Not | Joined


def parse_condition(text: str) -> Term:
    """The syntax tree of a condition. Raises ExpressionError."""
    return cast("Term", _ConditionParser(tokens_of(text, _TOKEN)).whole())


class _ConditionParser(Parser):
    """The parser of arithmetic expressions, with comparisons, `and`, `or` and `not` around it.

    The inherited methods are declared for nodes of arithmetic; here they return any term.
    """

    def _inner(self) -> Node:
        return cast("Node", self._joined("or"))

    def _joined(self, op: Literal["and", "or"]) -> Term:
        read = self._negated if op == "and" else lambda: self._joined("and")
        column = self._next.column
        parts = [read()]
        while self._word(op):
            parts.append(read())
        return parts[0] if len(parts) == 1 else Joined(column, op, tuple(parts))

    def _negated(self) -> Term:
        token = self._word("not")
        if token is None:
            return self._comparison()
        self.depth += 1
        if self.depth > DEEPEST:
            text = f"nested deeper than {DEEPEST} levels; write it shorter"
            raise ExpressionError(token.column, text)
        inner = self._negated()
        self.depth -= 1
        return Not(token.column, inner)

    def _comparison(self) -> Term:
        """One comparison or several in a chain: `10 <= price < 20` is both."""
        left, found = cast("Term", self._sum()), list[Compared]()
        while operator := self._operator():
            right = cast("Term", self._sum())
            found.append(Compared(operator[0], operator[1], left, right))
            left = right
        if not found:
            return left
        return found[0] if len(found) == 1 else Joined(left.column, "and", tuple(found))

    def _operator(self) -> tuple[int, Operator] | None:
        """Reads the position and the operator of a comparison, if one is next."""
        if token := self._take(*COMPARISONS):
            return token.column, cast("Operator", token.text)
        if self._next.kind == "mark" and self._next.text == "=":
            raise ExpressionError(self._next.column, "'=' is no comparison; write ==")
        negative = self._word("not") if self._word_after("not") in ("in", "contains") else None
        token = self._word("in") or self._word("contains")
        if token is None:
            return None
        op = f"not {token.text}" if negative else token.text
        return (negative or token).column, cast("Operator", op)

    def _word(self, word: str) -> Token | None:
        """Reads and returns the next token where it is this word, else None."""
        token = self._next
        if token.kind != "name" or token.text != word:
            return None
        self.at += 1
        return token

    def _word_after(self, word: str) -> str | None:
        """The word after the next token, if that is `word`."""
        if self._next.kind != "name" or self._next.text != word:
            return None
        return self.tokens[self.at + 1].text

    def _atom(self) -> Node:
        token = self._next
        if token.kind == "text":
            self.at += 1
            return cast("Node", Text(token.column, _unquoted(token.text)))
        if flag := self._word("true") or self._word("false"):
            return cast("Node", Flag(flag.column, flag.text == "true"))
        if opened := self._take("["):
            return cast("Node", self._list(opened))
        if token.kind == "quoted" or (token.kind == "name" and token.text not in _WORDS):
            self.at += 1
            if token.kind == "name" and self._take("("):
                return self._call(token)
            return cast("Node", self._scoped(token))
        if token.kind == "number" or (token.kind == "mark" and token.text == "("):
            return super()._atom()
        raise self._unexpected("a column, a value or a bracket")

    def _scoped(self, token: Token) -> Scoped:
        if token.kind == "name" and token.text in SCOPES and self._take("."):
            name = self._next
            if name.kind not in ("name", "quoted"):
                raise self._unexpected(f"a name after `{token.text}.`")
            self.at += 1
            return Scoped(token.column, token.text, name.text)
        return Scoped(token.column, "item", token.text)

    def _list(self, opened: Token) -> Listed:
        values: list[float | str | bool] = []
        while not self._take("]"):
            if values and not self._take(","):
                raise self._unexpected("a comma or a closing bracket")
            values.append(self._value())
        if len({type(value) for value in values}) > 1:
            raise ExpressionError(opened.column, "the list holds values of several types")
        return Listed(opened.column, tuple(values))

    def _value(self) -> float | str | bool:
        """A number, a text or a truth value in a list."""
        match cast("Term", self._signed()):
            case Text(value=value) | Flag(value=value) | Constant(value=value):
                return value
            case Negative(inner=Constant(value=value)):
                return -value
            case other:
                raise ExpressionError(
                    other.column, "a list holds numbers or texts between quotation marks"
                )


def _unquoted(token: str) -> str:
    """The text between quotation marks; a backslash stands before a mark or a backslash."""
    return re.sub(r"\\(.)", r"\1", token[1:-1], flags=re.DOTALL)


def terms_of(term: Term) -> list[Term]:
    """The term and all its parts."""
    found, waiting = list[Term](), [term]
    while waiting:
        one = waiting.pop()
        found.append(one)
        match one:
            case Joined(parts=parts) | FunctionCall(args=parts):
                waiting += parts
            case Not(inner=inner) | Negative(inner=inner):
                waiting.append(inner)
            case Compared(left=left, right=right) | Binary(left=left, right=right):
                waiting += [left, right]
            case _:
                pass
    return found
