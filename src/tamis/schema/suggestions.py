"""Suggestions for misspelt names in error messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def suggest(name: str, allowed: Iterable[str], cutoff: float = 0.6) -> str:
    """ " Did you mean `…`?" with the name in `allowed` nearest to `name`, or an empty text.

    Case is ignored. `cutoff` in [0, 1] is the least similarity, as difflib's ratio.
    """
    folded = {option.lower(): option for option in allowed}
    close = difflib.get_close_matches(name.lower(), list(folded), n=1, cutoff=cutoff)
    return f" Did you mean `{folded[close[0]]}`?" if close else ""
