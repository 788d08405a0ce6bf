"""`tamis experiment start | ramp | full | close | status | list`: the steps of experiments."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tamis.bundle import Kind, Versions
from tamis.experiments import Running
from tamis.journal import open_journal
from tamis.schema import ConfigError, ExperimentConfig, ProjectConfig, VersionError
from tamis.service import (
    CheckArms,
    ExperimentLine,
    ProjectExperiments,
    ProjectFolder,
    Recommender,
    early_rollout,
    read_config,
)


def start_experiment(
    project: Path | str, name: str, traffic: float, *, by: str, note: str = "", store: str = ""
) -> ExperimentLine:
    """Starts an experiment of `tamis.toml`; see `ProjectExperiments.start`.

    The serving version is opened to see whether it can have the arms. Raises ConfigError where it
    cannot, VersionError where there is none.
    """

    def check(name: str, design: ExperimentConfig, running: Sequence[Running]) -> None:
        Recommender.open(project).check_arms(name, design, running)

    with _experiments(project, store, check) as found:
        return found.start(name, traffic, by, note)


def ramp_experiment(
    project: Path | str, name: str, traffic: float, *, by: str, note: str = "", store: str = ""
) -> ExperimentLine:
    """Changes the traffic of an experiment; see `ProjectExperiments.ramp`."""
    with _experiments(project, store) as found:
        return found.ramp(name, traffic, by, note)


def roll_out_experiment(
    project: Path | str,
    name: str,
    arm: str,
    *,
    by: str,
    reverse: float = 0.0,
    note: str = "",
    store: str = "",
) -> ExperimentLine:
    """Gives an arm to everybody but a reverse bucket; see `ProjectExperiments.full`."""
    with _experiments(project, store) as found:
        return found.full(name, arm, by, reverse, note)


def unfinished_test(project: Path | str, name: str, *, store: str = "") -> str:
    """Why a rollout would come before the end of the test; see `early_rollout`."""
    with _experiments(project, store) as found:
        line = found.line(name)
    return early_rollout(project, line, store)


def close_experiment(
    project: Path | str, name: str, *, by: str, note: str = "", store: str = ""
) -> ExperimentLine:
    """Ends an experiment; see `ProjectExperiments.close`."""
    with _experiments(project, store) as found:
        return found.close(name, by, note)


def list_experiments(
    project: Path | str, name: str | None = None, *, store: str = ""
) -> list[ExperimentLine]:
    """The experiments of a project, or one of them. Raises ConfigError for an unknown name."""
    with _experiments(project, store) as found:
        return found.lines() if name is None else [found.line(name)]


@contextmanager
def _experiments(
    project: Path | str, store: str, check: CheckArms | None = None
) -> Generator[ProjectExperiments]:
    config = _config(Path(project))
    journal = open_journal(Path(project), config.name, store or config.journal.store)
    try:
        yield ProjectExperiments(project, journal.experiments, check)
    finally:
        journal.close()


def _config(project: Path) -> ProjectConfig:
    """The declaration; where it cannot be read, that of the serving version: an experiment must be
    closed whatever is wrong with `tamis.toml`."""
    try:
        return ProjectFolder(project).config
    except ConfigError:
        try:
            return read_config(Versions(project).current(Kind.SERVING))
        except VersionError:
            pass
        raise
