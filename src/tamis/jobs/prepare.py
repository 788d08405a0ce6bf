"""`tamis fetch`, `init` and `doctor`: data sets, a configuration, and checks before training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tamis.data import Given, RoleChoice
from tamis.datasets import FolderSource, find_source, materialise
from tamis.jobs._cost import Estimate, calibrate, estimate
from tamis.onboarding import (
    Ask,
    Examination,
    Finding,
    examine,
    guess_config,
    write_guess,
)
from tamis.runtime import Progress
from tamis.schema import ConfigError
from tamis.service import CONFIG, ProjectFolder

if TYPE_CHECKING:
    from tamis.features import TableCoverage

TABLES = ("events", "items", "users", "rows", "train", "valid", "test")
"""Stems of the files that a fetched data set may have."""


@dataclass(frozen=True)
class Initialised:
    """The result of `tamis init`."""

    project: Path
    config: Path
    notes: tuple[str, ...]
    """What was found and guessed, one sentence each."""
    choices: tuple[RoleChoice, ...] = ()
    """Decisions between near readings of the tables."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "project": str(self.project),
            "config": str(self.config),
            "notes": self.notes,
            "choices": [vars(choice) for choice in self.choices],
        }


@dataclass(frozen=True)
class Fetched:
    """The result of `tamis fetch`: a data set as plain tables."""

    folder: Path
    files: tuple[str, ...]
    terms: str
    citation: str
    rows: bool = False
    """Whether it is a table of labelled rows (for `tamis compare --table`) instead of a log."""

    def to_dict(self) -> dict[str, Any]:
        return {**vars(self), "folder": str(self.folder)}


def init(
    folder: Path | str,
    *,
    name: str | None = None,
    force: bool = False,
    ask: Ask | None = None,
    events: str | None = None,
    items: str | None = None,
    users: str | None = None,
    user: str | None = None,
    item: str | None = None,
    time: str | None = None,
    behaviour: str | None = None,
    value: str | None = None,
) -> Initialised:
    """Inspects the tables of a folder and writes a commented `tamis.toml` into it.

    Args:
        folder: holds tables (CSV, Parquet, JSON Lines).
        name: name of the project; None for the folder's name.
        force: whether an existing `tamis.toml` is replaced.
        ask: decides between near readings; None takes the likeliest.
        events, items, users: files of the tables; None: detected.
        user, item, time, behaviour, value: columns of the event log; None: detected.

    Raises ConfigError if there is a `tamis.toml` already, DataError if no table is an event log or
    a given file or column does not exist.
    """
    folder = Path(folder)
    target = folder / CONFIG
    if target.exists() and not force:
        raise ConfigError(f"{target} exists already: edit it, or use --force to replace it")
    given = Given(events, items, users, user, item, time, behaviour, value)
    guess = guess_config(folder, name or folder.resolve().name, given, ask)
    write_guess(guess, target)
    return Initialised(folder, target, tuple(guess.notes), tuple(guess.choices))


class Diagnosis(list[Finding]):
    """The findings of `tamis doctor`, worst first, and what a training would cost."""

    features: Sequence[TableCoverage] = ()
    """Coverage of the features; empty where the data or the features cannot be read."""
    cost: Estimate | None = None
    """Estimated time and memory of `tamis train`; None where something is wrong."""


def doctor(project: Path | str) -> Diagnosis:
    """Checks a project's data: errors and suspicious values, worst first.

    The result is the list of findings; its `features` is the coverage of the features, and its
    `cost` the estimated time and memory of a training.

    Raises ConfigError if `tamis.toml` is missing or wrong.
    """
    folder = ProjectFolder(Path(project))
    if folder.config.events.path is None:
        examination = _events_of_the_journal(folder)
    else:
        examination = examine(folder.config, folder.root)
    if examination.data is not None:
        from tamis.jobs._preflight import faults  # imports the declared filters and rules

        told = {finding.what for finding in examination}
        fix = "Correct tamis.toml or the table as the message says."
        wrong = [
            Finding("error", text, "tamis.toml", fix)
            for text in faults(folder.config, examination.data)
            if text not in told
        ]
        examination[:0] = wrong
    found = Diagnosis(examination)
    found.features = examination.features
    if examination.data is not None and not any(f.severity == "error" for f in found):
        found.cost = estimate(folder.config, examination.data, calibrate())
    return found


def _events_of_the_journal(folder: ProjectFolder) -> Examination:
    """The findings on a project without a file of events: how many the journal holds."""
    events = len(folder.data.events)
    text = f"no file of events is declared: they come into the journal, which holds {events:,}"
    fix = (
        "Import first events by `tamis events PROJECT FILE`, train once there are some "
        "thousand, and serve: from then on the service takes them."
    )
    examination = Examination([Finding("note", text, "tamis.toml, [events]", fix)])
    examination.features = []
    examination.data = folder.data if events else None
    return examination


def fetch(
    name: str,
    out: Path | str,
    *,
    folder: Path | str | None = None,
    progress: bool = False,
) -> Fetched:
    """Writes a public data set as plain tables into `out`.

    Args:
        name: name in the catalogue (`tamis.datasets.CATALOGUE` and `FOLDERS`).
        out: folder to write to.
        folder: folder with the files of a data set that is not downloaded (amazon-beauty, gowalla,
            foursquare, frappe, kuairand, funnel).
        progress: whether progress is shown on standard error.

    Raises ConfigError for an unknown name or a missing folder, DataError if no source has the
    expected checksum or the folder holds other files.
    """
    source = find_source(name)
    with Progress("fetch", progress) as shown:
        made = materialise(name, out, progress=shown, folder=folder)
    files = tuple(f"{s}.csv" for s in TABLES if (made / f"{s}.csv").is_file())
    times = f" Times: {source.times}." if isinstance(source, FolderSource) else ""
    rows = isinstance(source, FolderSource) and source.rows
    return Fetched(made, files, source.terms + times, source.citation, rows)
