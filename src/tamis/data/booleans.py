"""Booleans from texts in any usual spelling."""

from __future__ import annotations

import polars as pl

PAIRS = (("true", "false"), ("t", "f"), ("yes", "no"), ("y", "n"), ("on", "off"), ("是", "否"))
"""Texts of true and of false, in lower case."""


_LETTERS = (("t", "f"), ("y", "n"))


def boolean_texts(texts: pl.Series) -> pl.Series | None:
    """(n,) booleans of a column of texts, null where it is null; None if it holds others.

    All values belong to one pair of `PAIRS`, in any case, and both occur: `no` alone may be a
    country, `F` alone a gender. Only `true` or `false` may stand alone.
    """
    some = {text.lower() for text in texts.drop_nulls().head(100).unique()}
    pair = next((p for p in PAIRS if some and some <= set(p)), None)
    if pair is None:
        return None
    lower = texts.str.to_lowercase()
    both = {text for text in lower.unique() if text is not None}
    if not both <= set(pair) or (len(both) < 2 and pair != PAIRS[0]):
        return None
    return (lower == pair[0]).alias(texts.name)


def truth_values(texts: pl.Series) -> dict[str, float]:
    """1 and 0 of the texts (n,), in lower case, that mean true and false in a column of numbers.

    All of `PAIRS` count, but single letters among other texts only if both of the pair occur: `y`
    and `x` are names rather than a truth and a fault.
    """
    given = {text.lower() for text in texts.drop_nulls().unique()}
    alone = given <= {text for pair in PAIRS for text in pair}
    found: dict[str, float] = {}
    for true, false in PAIRS:
        if alone or given >= {true, false} or (true, false) not in _LETTERS:
            found |= {true: 1.0, false: 0.0}
    return found
