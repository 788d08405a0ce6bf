"""Text files in other encodings than UTF-8: decoding them, and naming the likely encoding."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from tamis.data._archives import UNPACKED_HERE, unpacked
from tamis.schema import DataError

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
HEAD = 1 << 16
"""Bytes at the start of a file by which its format is recognised."""
_PART = 1 << 22
"""Bytes in which the likely encoding is looked for."""
_FORMATS = (
    (
        b"PK\x03\x04",
        "it is a zip archive or an Excel workbook: unpack it, or save it as CSV",
    ),
    (b"\xd0\xcf\x11\xe0", "it is an Excel workbook: save its sheet as CSV"),
    (b"PAR1", "it is a Parquet file: rename it to end in .parquet"),
    (b"ARROW1", "it is an Arrow file: export it as Parquet or CSV"),
    (b"SQLite format 3", "it is an SQLite database: export its table as CSV"),
    (b"BZh", "it is compressed by bzip2: unpack it, or compress it as .gz"),
    (b"\xfd7zXZ", "it is compressed by xz: unpack it, or compress it as .gz"),
    (b"7z\xbc\xaf", "it is a 7z archive: unpack it"),
    (b"%PDF", "it is a PDF document, not a table"),
    (b"version https://git-lfs", "it is a pointer of Git LFS: run `git lfs pull` to get the file"),
)


def read_head(path: Path) -> bytes:
    """The first bytes of a file, decompressed if it is not .zst."""
    if path.suffix.lower() not in (".gz", *UNPACKED_HERE):
        with path.open("rb") as stream:
            return stream.read(HEAD)
    try:
        return unpacked(path, path.name, HEAD)
    except (OSError, DataError):
        return b""  # the reader reports the damage


def other_format(head: bytes) -> str:
    """What a file that should be text is by its first bytes, and what to do; empty for text."""
    for mark, text in _FORMATS:
        if head.startswith(mark):
            return text
    start = head.lstrip(b"\xef\xbb\xbf \r\n\t")[:200].lower()
    if start.startswith((b"<!doctype html", b"<html", b"<?xml")):
        return "it is a web page or XML, not a table: download or export the table itself"
    if start.startswith(b"{\\rtf"):
        return "it is a document in rich text: save it as plain text"
    return ""


def marked_encoding(head: bytes) -> str | None:
    """The encoding that the byte-order mark names, or None; that of UTF-8 is not needed."""
    return next((name for mark, name in _MARKS if head.startswith(mark)), None)


def decoded(path: Path, file: str, encoding: str) -> bytes:
    """The text of a file as UTF-8.

    Raises:
        DataError: Python does not know the encoding, or the file is not in it.
    """
    try:
        codecs.lookup(encoding)
    except LookupError as error:
        raise DataError(
            f'{file}: encoding = "{encoding}" is not known. Use the name of a codec of Python, '
            'such as "utf-8", "gb18030", "cp1252", "latin-1", "utf-16" or "shift_jis".'
        ) from error
    data = file_bytes(path, file)
    try:
        text = data.decode(encoding)
    except UnicodeError as error:
        start = getattr(error, "start", 0)
        line = data.count(b"\n", 0, start) + 1
        raise DataError(
            f'{file}: it is not in the encoding "{encoding}" (byte {start}, about line {line}: '
            f"{data[start : start + 4]!r}). {advice(data)}"
        ) from error
    return text.removeprefix("\ufeff").encode()


def advice(data: bytes) -> str:
    """How to read bytes that are not UTF-8, with the name of the likely encoding."""
    likely = likely_encoding(data)
    return (
        f'It looks like {likely}: set `encoding = "{likely}"` for the table, or the right name, or '
        f"convert it (iconv -f {likely} -t utf-8)."
    )


def likely_encoding(data: bytes) -> str:
    """The likely encoding of a text by its bytes.

    Zero bytes mean UTF-16; kana Shift JIS; pairs of high bytes whose first ones are those of the
    usual Chinese characters GB18030, of Hangul only cp949; words of high bytes cp1251; else cp1252.
    """
    part = data[:_PART]
    if zeros(part):
        even = part[::2].count(0)
        return "utf-16-be" if even > part[1::2].count(0) else "utf-16-le"
    last = part.rfind(b"\n")
    part = part if last < 0 or len(part) == len(data) else part[:last]
    if _decodes(part, "utf-8"):
        return "utf-8"
    if _decodes(part, "shift_jis") and _kana(part):
        return "shift_jis"
    runs = re.findall(rb"[\x80-\xff]+", part)
    high = b"".join(run for run in runs if len(run) % 2 == 0)
    if len(high) > 0.8 * sum(map(len, runs)):
        firsts = high[::2]
        usual = sum(0xB0 <= byte <= 0xD7 for byte in firsts)
        if usual > 0.6 * len(firsts) and _decodes(part, "gb18030"):
            hangul = sum(0xB0 <= byte <= 0xC8 for byte in firsts)
            korean = hangul > 0.95 * len(firsts) and len(firsts) >= 20
            return "cp949" if korean and _decodes(part, "cp949") else "gb18030"
    letters = sum(bytes([byte]).isalpha() for byte in part)
    if sum(map(len, runs)) > 0.5 * letters and _decodes(part, "cp1251"):
        return "cp1251"
    return "cp1252" if _decodes(part, "cp1252") else "latin-1"


def zeros(part: bytes) -> bool:
    """Whether every second byte or so is zero, as in UTF-16."""
    return part.count(0) > 0.2 * len(part)


def file_bytes(path: Path, file: str) -> bytes:
    """The bytes of a file, decompressed. Raises DataError for .zst."""
    return unpacked(path, file)


def _decodes(part: bytes, encoding: str) -> bool:
    try:
        part.decode(encoding)
    except UnicodeError:
        return False
    return True


def _kana(part: bytes) -> bool:
    """Whether many of the letters beyond ASCII of the text in Shift JIS are Japanese."""
    letters = [letter for letter in part.decode("shift_jis") if letter > "\u007f"]
    kana = sum("\u3040" <= letter <= "\u30ff" for letter in letters)
    return len(letters) >= 4 and kana > 0.1 * len(letters)
