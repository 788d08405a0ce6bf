"""Checks of arguments of Python functions, which a caller may give in any type."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

from tamis.schema.errors import ConfigError


def whole_number(name: str, value: Any, least: int = 1) -> int:
    """A whole number of at least `least`, from Python's, numpy's or another integer type.

    Raises ConfigError for other values, booleans included.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < least:
        raise ConfigError(f"{name} = {value!r}: give a whole number of at least {least}")
    return int(value)


def share(name: str, value: Any, example: float) -> float:
    """A number in (0, 1). Raises ConfigError for other values."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) < 1:
        raise ConfigError(f"{name} = {value!r}: it must be in (0, 1), such as {example:g}")
    return float(value)


def one_of(name: str, value: Any, *allowed: str) -> None:
    """Raises ConfigError unless the value is one of the allowed texts."""
    if value not in allowed:
        raise ConfigError(f"{name} = {value!r}: give {' or '.join(map(repr, allowed))}")
