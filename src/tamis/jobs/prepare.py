"""Before training: fetch a data set, have a declaration written, have the data looked over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tamis.datasets import FolderSource, find_source, materialise
from tamis.onboarding import Finding, examine, guess_config, write_guess
from tamis.runtime import Progress
from tamis.schema import ConfigError
from tamis.service import CONFIG, ProjectFolder

TABLES = ("events", "items", "users", "rows", "train", "valid", "test")
"""Stems of the files that a fetched data set may have."""


@dataclass(frozen=True)
class Initialised:
    """A project's new declaration."""

    project: Path
    config: Path
    notes: tuple[str, ...]
    """What was found and guessed, in words."""

    def to_dict(self) -> dict[str, Any]:
        return {"project": str(self.project), "config": str(self.config), "notes": self.notes}


@dataclass(frozen=True)
class Fetched:
    """A data set, as plain tables."""

    folder: Path
    files: tuple[str, ...]
    terms: str
    citation: str
    rows: bool = False
    """Labelled rows and no log: for `tamis compare rank --table`, not for `tamis init`."""

    def to_dict(self) -> dict[str, Any]:
        return {**vars(self), "folder": str(self.folder)}


def init(folder: Path | str, *, name: str | None = None, force: bool = False) -> Initialised:
    """Looks at the tables of a folder and writes a commented `tamis.toml` beside them.

    Raises ConfigError where there is one already (unless `force`), DataError where no table fits.
    """
    folder = Path(folder)
    target = folder / CONFIG
    if target.exists() and not force:
        raise ConfigError(f"{target} exists already: edit it, or use --force to have it replaced")
    guess = guess_config(folder, name or folder.resolve().name)
    write_guess(guess, target)
    return Initialised(folder, target, tuple(guess.notes))


def doctor(project: Path | str) -> Sequence[Finding]:
    """What is wrong or suspicious in a project's data, worst first."""
    folder = ProjectFolder(Path(project))
    return examine(folder.config, folder.root)


def fetch(
    name: str,
    out: Path | str,
    *,
    folder: Path | str | None = None,
    progress: bool = False,
) -> Fetched:
    """Writes a public data set as plain tables into `out`: downloaded, or from a folder of yours.

    folder: for sets that are not downloaded (amazon-beauty, gowalla, foursquare, frappe, kuairand,
    funnel), where their files lie. Raises ConfigError for an unknown name or a missing folder,
    DataError where no source gives the expected checksum or the folder holds something else.
    """
    source = find_source(name)
    with Progress("fetch", progress) as shown:
        made = materialise(name, out, progress=shown, folder=folder)
    files = tuple(f"{s}.csv" for s in TABLES if (made / f"{s}.csv").is_file())
    times = f" Times: {source.times}." if isinstance(source, FolderSource) else ""
    rows = isinstance(source, FolderSource) and source.rows
    return Fetched(made, files, source.terms + times, source.citation, rows)
