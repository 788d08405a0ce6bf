"""`tamis update`: the serving version learns what came since, and is judged before publication."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tamis.schema import StoreError, VersionError
from tamis.service import ProjectFolder

if TYPE_CHECKING:
    from tamis.jobs._update_report import UpdateReport

try:
    import fcntl
except ModuleNotFoundError:  # Windows
    fcntl = None

LOCK = ".update.lock"
"""File of `versions` that a running update locks."""


def update(
    project: Path | str, *, force: bool = False, device: str = "cpu", progress: bool = False
) -> UpdateReport:
    """A full update of a project's serving version.

    Starts from the weights of the serving version, learns the events that arrived since in one
    shuffled pass, refits counts, lists and indexes on all data, compares the result with the
    serving version on held-out events, and publishes it as one version if all checks pass. An
    update that ends early, however it ends, leaves the serving version as it is; the next one
    begins again from what that version has learnt.

    Args:
        project: folder with a `tamis.toml` and a serving version.
        force: publish although checks fail; the version's manifest records it.
        device: where models train: "cpu", "cuda", "cuda:1", …
        progress: whether progress is shown on standard error.

    Raises ConfigError where tamis.toml has changed so that the weights do not fit, VersionError
    where there is no serving version, StoreError where another update of the project is running,
    DataError and TrainingError as `train`.
    """
    folder = ProjectFolder(Path(project))
    _ = folder.config  # errors of tamis.toml are reported before the model libraries are imported
    from tamis.jobs._updater import Updater
    from tamis.train import check_device

    _ = check_device(device)
    with only_update(folder.root):
        return Updater(folder, device, progress, force=force).update()


@contextmanager
def only_update(project: Path) -> Generator[None]:
    """Keeps other updates of the project from running during the block, or until this process
    ends. Raises VersionError without any version, StoreError where another update is running."""
    versions = project / "versions"
    if not versions.is_dir():
        raise VersionError(
            f"{project} has no version yet, and an update starts from one: run `tamis train "
            f"{project}` first"
        )
    descriptor = os.open(versions / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if fcntl is not None:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise StoreError(
                    f"another `tamis update` of {project} is running: wait for it, or end it; the "
                    "serving version stays as it is"
                ) from error
        yield
    finally:
        os.close(descriptor)
