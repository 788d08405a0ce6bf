"""Bodies and ids that no client should send: the service answers or refuses each of them."""

from __future__ import annotations

import json
from typing import Any

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.5, 2**31, 2**63, 2**64 + 1, -(2**65), 1e300, -0.0, "", " ", "NaN",
    "null", "\x00", "\x7f", "é", "\U0001f600", "a" * 1025, "../../etc/passwd", "' OR 1=1 --",
    "<script>", "%s%n", "{{7*7}}", "\u202e", "\ufeff", [], {}, [[]], [{}], {"a": [1]}, [None] * 3,
    1_700_000_000, 1_700_000_000_000, 4_102_444_800_000, "2024-05-01", {"$ne": None},
)  # fmt: skip
"""Values for any field."""

RAW = (
    b"", b" ", b"{", b"}", b"[", b"null", b"1", b'"x"', b"[]", b"{}{}", b"[1,]", b'{"a"}',
    b"\xff\xfe{\x00}\x00", b"\xef\xbb\xbf{}", b"\x00", b"\xed\xa0\x80", b'{"user_id": "\\ud800"}',
    b'{"n": 1, "n": 2}', b'{"n": NaN}', b'{"n": 1e999}', b'{"n": ' + b"9" * 5000 + b"}",
    b"[" * 50_000, b'{"a":' * 20_000, b'{"user_id":"' + b"u" * 900_000 + b'"}',
    b"user_id=7&n=3", b"<xml/>", b"\x1f\x8b\x08\x00", b'{"__proto__": {"n": 1}}',
)  # fmt: skip
"""Whole bodies."""

IDS = (
    "%00",
    "%20",
    "%F0%9F%98%80",
    "a" * 2000,
    "..%2F..%2Fetc",
    "%ED%A0%80",
    "%FF",
    "'",
    "0",
    "-1",
)
"""Ids in the address."""


def bodies_with(fields: tuple[str, ...]) -> list[bytes]:
    """JSON objects that give each of `fields` each odd value, and a field that does not exist."""
    objects: list[dict[str, Any]] = [{"no such field": 1}, {"": 1}, {"\x00": 1}]
    objects += [{name: value} for name in fields for value in ODD]
    return [json.dumps(one).encode() for one in objects]
