"""Equal files of several versions are one file on disk: hard links, found by the checksums.

Two versions that are open at once and differ in one part then map the other parts' arrays from the
same pages of memory, in one process and in several.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

Files = Mapping[str, tuple[int, str]]
"""Relative path → (bytes, checksum), as a manifest lists them."""


def link_equal_files(folder: Path, files: Files, others: Iterable[tuple[Path, Files]]) -> int:
    """Replaces files of `folder` by hard links to equal ones of `others`; returns the bytes saved.

    The other version's file is read and its checksum compared: it may have been damaged since. A
    file that cannot be linked (another file system, too many links) stays as it is.

    Args:
        folder: the new version.
        files: its files.
        others: (folder, files) of versions beside it; the first one that has a file is used.
    """
    known: dict[tuple[int, str], Path] = {}
    for path, listed in others:
        for relative, content in listed.items():
            known.setdefault(content, path / relative)
    saved = 0
    for relative, (size, checksum) in files.items():
        same = known.get((size, checksum))
        if same is not None and size and _linked(folder / relative, same, checksum):
            saved += size
    return saved


def file_checksum(file: Path) -> str:
    """blake2b-128 of a file's content, in hexadecimal digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _linked(file: Path, same: Path, checksum: str) -> bool:
    """Puts a link to `same` in the place of `file`, atomically; whether that was possible."""
    link = file.with_name(f".{file.name}.link")
    try:
        if file.samefile(same) or file_checksum(same) != checksum:
            return False
        os.link(same, link)
        os.replace(link, file)
    except OSError:
        link.unlink(missing_ok=True)
        return False
    return True
