"""Slashes in ids: an address is divided at its slashes before the parts are decoded.

Servers decode the whole path first, so that the id `a/b`, sent as `a%2Fb`, would look like two
parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

SLASH = "\udc2f"
"""Stands for an encoded slash while the route is looked for; no decoded text holds it."""


def divided(scope: Mapping[str, Any]) -> dict[str, Any]:
    """The scope of a request with `SLASH` in its path for each encoded slash."""
    raw: bytes = scope.get("raw_path") or b""
    if b"%" not in raw:
        return dict(scope)
    parts = raw.partition(b"?")[0].decode("latin-1").split("/")
    return {**scope, "path": "/".join(unquote(part).replace("/", SLASH) for part in parts)}


def whole_ids(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a path, with their slashes."""
    return {
        name: value.replace(SLASH, "/") if isinstance(value, str) else value
        for name, value in parameters.items()
    }


def shown_path(path: str) -> str:
    """A path as it was sent, in a message."""
    return path.replace(SLASH, "%2F")
