"""Compressed files and archives that hold a single table."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zipfile
from pathlib import Path

from tamis.schema import DataError

UNPACKED_HERE = (".zip", ".bz2", ".xz")
"""Endings of files that are decompressed into memory; the parser reads .gz and .zst itself."""
COMPRESSED = (".gz", ".zst", ".zstd", *UNPACKED_HERE)


def inner_name(path: Path) -> str:
    """The name of the table in a file: `events.csv` for `events.csv.bz2`, and in an archive.

    An archive that cannot be read, or that holds no single table, has its own name without .zip.
    """
    if path.suffix.lower() == ".zip" and path.is_file():
        try:
            with zipfile.ZipFile(path) as archive:
                names = _tables(archive)
        except (zipfile.BadZipFile, OSError):
            names = []
        if len(names) == 1:
            return names[0].rsplit("/", 1)[-1]
    return path.name.removesuffix(path.suffix)


def unpacked(path: Path, file: str, most: int | None = None) -> bytes:
    """The bytes of a compressed file, or the first `most` of them.

    Raises:
        DataError: it is compressed by zstd, or an archive that holds no single table.
        OSError: it is damaged.
    """
    suffix = path.suffix.lower()
    if suffix in (".zst", ".zstd"):
        raise DataError(
            f"{file}: a file compressed by zstd must hold UTF-8 text: convert it, or compress it "
            "as .gz."
        )
    size = -1 if most is None else most
    try:
        if suffix == ".zip":
            return _of_archive(path, file, size)
        opened = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}.get(suffix, Path.open)
        with opened(path, "rb") as stream:
            return stream.read(size)
    except EOFError as error:
        raise OSError("unexpected end of file") from error
    except (lzma.LZMAError, zipfile.BadZipFile) as error:
        raise OSError(f"damaged: {error}") from error


def _of_archive(path: Path, file: str, size: int) -> bytes:
    with zipfile.ZipFile(path) as archive:
        names = _tables(archive)
        if len(names) != 1:
            listed = ", ".join(names[:6]) or "none"
            raise DataError(
                f"{file}: an archive is read if it holds one table; it holds {len(names)} "
                f"({listed}): unpack it."
            )
        with archive.open(names[0]) as stream:
            return stream.read(size)


def _tables(archive: zipfile.ZipFile) -> list[str]:
    """The files in an archive without folders and without what macOS adds."""
    names = [info.filename for info in archive.infolist() if not info.is_dir()]
    return [
        n for n in names if not n.startswith("__MACOSX") and not n.split("/")[-1].startswith(".")
    ]
