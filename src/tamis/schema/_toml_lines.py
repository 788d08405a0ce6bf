"""Line numbers of the keys of a TOML text, which the parser of the standard library drops."""

from __future__ import annotations

import re

Key = tuple[int | str, ...]

_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\]]+?)\s*\]\]?")
_NAME = r"""(?:[\w-]+|"[^"]*"|'[^']*')"""
_PART = re.compile(_NAME)
_ASSIGNMENT = re.compile(rf"^\s*({_NAME}(?:\s*\.\s*{_NAME})*)\s*=(.*)")
_INLINE = re.compile(r"[{,]\s*([\w-]+)\s*=")


class KeyLines:
    """Line numbers (from 1) of the keys of a TOML document, by their path.

    For messages. It supports table headers, dotted keys, inline tables, and lists with one table
    per line; any other key has the line of the nearest table that contains it.
    """

    def __init__(self, text: str) -> None:
        self._lines: dict[Key, int] = {}
        self._table: Key = ()
        self._counts: dict[Key, int] = {}
        self._list: tuple[Key, int] | None = None  # the list that is open, and its next element
        for number, line in enumerate(text.splitlines(), start=1):
            self._take(number, line)

    def find(self, key: Key) -> int | None:
        """The line of `key`, or of its longest prefix in the file; None if there is none."""
        for length in range(len(key), 0, -1):
            if key[:length] in self._lines:
                return self._lines[key[:length]]
        return None

    def _take(self, number: int, line: str) -> None:
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            return
        if self._list is not None:
            self._element(number, stripped)
        elif header := _HEADER.match(line):
            self._header(number, header[1], _parts(header[2]))
        elif assignment := _ASSIGNMENT.match(line):
            key = (*self._table, *_parts(assignment[1]))
            self._note(key, number)
            self._inline(key, assignment[2], number)
            if assignment[2].strip().startswith("[") and "]" not in assignment[2]:
                self._list = (key, 0)

    def _header(self, number: int, bracket: str, key: Key) -> None:
        if bracket == "[[":
            count = self._counts.get(key, 0)
            self._counts[key] = count + 1
            self._note(key, number)
            key = (*key, count)
        self._table = key
        for length in range(1, len(key) + 1):
            self._note(key[:length], number)

    def _element(self, number: int, stripped: str) -> None:
        assert self._list is not None
        key, count = self._list
        if stripped.startswith("{"):
            self._note((*key, count), number)
            self._inline((*key, count), stripped, number)
            self._list = (key, count + 1)
        if stripped.startswith("]"):
            self._list = None

    def _inline(self, key: Key, text: str, number: int) -> None:
        if "{" in text:
            for name in _INLINE.findall(text):
                self._note((*key, name), number)

    def _note(self, key: Key, number: int) -> None:
        self._lines.setdefault(key, number)


def _parts(dotted: str) -> Key:
    return tuple(part.strip("\"'") for part in _PART.findall(dotted))
