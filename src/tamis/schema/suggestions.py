"""The nearest known name for a misspelt one, for error messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def suggest(name: str, allowed: Iterable[str], cutoff: float = 0.6) -> str:
    """` Did you mean …?` where one of `allowed` is close to `name`, else an empty text.

    `cutoff` in [0, 1] is the least similarity (difflib's ratio).
    """
    folded = {option.lower(): option for option in allowed}
    close = difflib.get_close_matches(name.lower(), list(folded), n=1, cutoff=cutoff)
    return f" Did you mean `{folded[close[0]]}`?" if close else ""
