"""Parses an arithmetic expression: numbers, names, `+ - * / **`, brackets and function calls.

Fusions are such expressions; conditions have more rules (`_condition_syntax`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, NamedTuple

LONGEST = 2000
"""Largest number of characters of an expression."""
DEEPEST = 100
"""Largest depth of nesting."""
MOST = 150
"""Largest number of numbers, names, brackets and calls."""

_NAME = r"[^\W\d]\w*"
_TOKEN = re.compile(
    rf"""\s*(?:
      (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
    | (?P<name>{_NAME}(?:\s*\|\s*{_NAME})*)
    | `(?P<quoted>[^`]+)`
    | (?P<mark>\*\*|[-+*/(),])
    )""",
    re.VERBOSE,
)


class ExpressionError(Exception):
    """A syntax fault with its character position, from 1."""

    def __init__(self, column: int, text: str) -> None:
        super().__init__(text)
        self.column = column


@dataclass(frozen=True)
class Constant:
    column: int
    value: float


@dataclass(frozen=True)
class Name:
    """A name, or a conditional task such as `like|click`."""

    column: int
    name: str


@dataclass(frozen=True)
class Negative:
    column: int
    inner: Node


@dataclass(frozen=True)
class Binary:
    """A binary operation; `column` is the position of the operator."""

    column: int
    op: Literal["+", "-", "*", "/", "**"]
    left: Node
    right: Node


@dataclass(frozen=True)
class FunctionCall:
    column: int
    function: str
    args: tuple[Node, ...]


Node = Constant | Name | Negative | Binary | FunctionCall


class Token(NamedTuple):
    kind: str
    """number, name, quoted, mark, "end"; in conditions text, too."""
    text: str
    column: int


def parse(text: str) -> Node:
    """The syntax tree of an expression.

    Names consist of letters, digits and `_`, with `|` for a condition; any other name is written
    between backquotes. `**` binds strongest and to the right. Raises ExpressionError.
    """
    return Parser(tokens_of(text)).whole()


def tokens_of(text: str, pattern: re.Pattern[str] = _TOKEN) -> list[Token]:
    """The tokens of a text, and one of kind "end". Raises ExpressionError."""
    if len(text) > LONGEST:
        raise ExpressionError(LONGEST + 1, f"longer than {LONGEST} characters")
    tokens: list[Token] = []
    at = 0
    while text[at:].strip():
        found = pattern.match(text, at)
        if found is None:
            at += len(text[at:]) - len(text[at:].lstrip())
            raise ExpressionError(at + 1, f"{text[at]!r} is not allowed")
        kind = str(found.lastgroup)
        word = found.group(kind)
        column = found.start(kind) + 1
        at = found.end()
        if kind == "number" and text[at : at + 1].isalpha():
            raise ExpressionError(column, f"{word + text[at]!r} is neither a number nor a name")
        tokens.append(Token(kind, re.sub(r"\s", "", word) if kind == "name" else word, column))
    return [*tokens, Token("end", "", len(text) + 1)]


class Parser:
    """Recursive descent parser; every method leaves `at` behind the tokens it has read."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.at: int = 0
        self.depth: int = 0
        self.operations: int = 0

    def whole(self) -> Node:
        node = self._inner()
        if self._next.kind != "end":
            raise self._unexpected("an operator")
        return node

    @property
    def _next(self) -> Token:
        return self.tokens[self.at]

    def _take(self, *marks: str) -> Token | None:
        """Reads and returns the next token where it is one of `marks`, else None."""
        token = self._next
        if token.kind != "mark" or token.text not in marks:
            return None
        self.at += 1
        return token

    def _sum(self) -> Node:
        node = self._product()
        while token := self._take("+", "-"):
            op = "+" if token.text == "+" else "-"
            node = Binary(token.column, op, node, self._product())
        return node

    def _product(self) -> Node:
        node = self._signed()
        while token := self._take("*", "/"):
            op = "*" if token.text == "*" else "/"
            node = Binary(token.column, op, node, self._signed())
        return node

    def _signed(self) -> Node:
        self.depth += 1
        self.operations += 1
        if self.operations > MOST:
            raise ExpressionError(self._next.column, f"more than {MOST} parts; write it shorter")
        if self.depth > DEEPEST:
            text = f"nested deeper than {DEEPEST} levels; write it shorter"
            raise ExpressionError(self._next.column, text)
        token = self._take("+", "-")
        if token is None:
            node = self._power()
        else:
            inner = self._signed()
            node = inner if token.text == "+" else Negative(token.column, inner)
        self.depth -= 1
        return node

    def _power(self) -> Node:
        node = self._atom()
        token = self._take("**")
        return Binary(token.column, "**", node, self._signed()) if token else node

    def _atom(self) -> Node:
        token = self._next
        if token.kind == "number":
            self.at += 1
            return Constant(token.column, float(token.text))
        if token.kind in ("name", "quoted"):
            self.at += 1
            if token.kind == "name" and self._take("("):
                return self._call(token)
            return Name(token.column, token.text)
        if self._take("("):
            node = self._inner()
            self._close()
            return node
        raise self._unexpected("a number, a name or a bracket")

    def _inner(self) -> Node:
        """The whole expression, or what stands between brackets."""
        return self._sum()

    def _call(self, function: Token) -> Node:
        args: list[Node] = []
        if not self._take(")"):
            args.append(self._sum())
            while self._take(","):
                args.append(self._sum())
            self._close()
        return FunctionCall(function.column, function.text, tuple(args))

    def _close(self) -> None:
        if not self._take(")"):
            raise self._unexpected("a closing bracket")

    def _unexpected(self, wanted: str) -> ExpressionError:
        token = self._next
        here = "it ends" if token.kind == "end" else f"{token.text!r} stands"
        return ExpressionError(token.column, f"{here} where {wanted} is expected")
