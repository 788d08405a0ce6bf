"""Interval arithmetic: value ranges of the parts of a fusion expression."""

from __future__ import annotations

from collections.abc import Callable
from math import exp, inf, isnan, log, log1p, sqrt

Range = tuple[float, float]
"""(minimum, maximum); either may be infinite."""

ANY: Range = (-inf, inf)
PROBABILITY: Range = (0.0, 1.0)
POSITIVE: Range = (0.0, inf)
RANK: Range = (1.0, inf)


def negative(a: Range) -> Range:
    return -a[1], -a[0]


def plus(a: Range, b: Range) -> Range:
    return a[0] + b[0], a[1] + b[1]


def minus(a: Range, b: Range) -> Range:
    return plus(a, negative(b))


def times(a: Range, b: Range) -> Range:
    corners = [_product(x, y) for x in a for y in b]
    return min(corners), max(corners)


def over(a: Range, b: Range) -> Range:
    """Raises ValueError where the divisor is always 0."""
    if b == (0.0, 0.0):
        raise ValueError("divides by 0")
    if b[0] <= 0 <= b[1]:
        return ANY
    return times(a, (1 / b[1], 1 / b[0]))


def power(a: Range, b: Range) -> Range:
    """Raises ValueError where a negative number gets an exponent that is not whole."""
    whole = b[0] == b[1] and float(b[0]).is_integer()
    if a[1] < 0 and not whole and b[0] == b[1]:
        raise ValueError(f"a negative number to the power of {b[0]:g} is undefined")
    if a[0] < 0:
        return ANY
    corners = [_power(x, y) for x in a for y in b]
    return min(corners), max(corners)


def least(a: Range, b: Range) -> Range:
    return min(a[0], b[0]), min(a[1], b[1])


def greatest(a: Range, b: Range) -> Range:
    return max(a[0], b[0]), max(a[1], b[1])


def logarithm(a: Range) -> Range:
    """Raises ValueError where the argument is never positive."""
    return _through(a, log, 0.0, "log of a number that is never above 0")


def logarithm_of_one_more(a: Range) -> Range:
    """Raises ValueError where the argument is never above -1."""
    return _through(a, log1p, -1.0, "log1p of a number that is never above -1")


def exponential(a: Range) -> Range:
    return _exp(a[0]), _exp(a[1])


def root(a: Range) -> Range:
    """Raises ValueError where the argument is always negative."""
    if a[1] < 0:
        raise ValueError("sqrt of a number that is always below 0")
    return sqrt(max(a[0], 0.0)), sqrt(a[1])


def _through(a: Range, function: Callable[[float], float], above: float, what: str) -> Range:
    if a[1] <= above:
        raise ValueError(what)
    low = function(a[0]) if a[0] > above else -inf
    return low, function(a[1]) if a[1] < inf else inf


def _product(x: float, y: float) -> float:
    value = x * y
    return 0.0 if isnan(value) else value  # 0 · ∞ at a corner: 0 bounds it from that side


def _power(x: float, y: float) -> float:
    if x == 0 and y < 0:
        return inf
    try:
        return float(x**y)
    except OverflowError:
        return inf


def _exp(x: float) -> float:
    try:
        return exp(x)
    except OverflowError:
        return inf
