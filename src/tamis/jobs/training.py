"""`tamis train`: an evaluation version and a serving version, trained and published."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tamis.bundle import Kind, Versions
from tamis.schema import ConfigError
from tamis.service import ProjectFolder

if TYPE_CHECKING:
    from tamis.jobs._train_report import TrainReport


def train(
    project: Path | str,
    *,
    only: str | None = None,
    ranker_only: bool = False,
    device: str = "cpu",
    progress: bool = False,
) -> TrainReport:
    """Trains a project's evaluation and serving version and publishes them.

    Args:
        project: folder with a `tamis.toml`.
        only: "evaluation" or "serving" for one of the two versions; None for both.
        ranker_only: refit the ranker alone and take the rest from the published versions.
        device: where models train: "cpu", "cuda", "cuda:1", …
        progress: whether progress is shown on standard error.

    Raises ConfigError, DataError and TrainingError with the place and how to fix it; versions that
    were published before stay in use then.
    """
    kinds = [Kind.EVALUATION, Kind.SERVING]
    if only is not None:
        if only not in list(Kind):
            raise ConfigError(f"only = {only!r}: give 'evaluation' or 'serving', or omit it")
        kinds = [Kind(only)]
    folder = ProjectFolder(Path(project))
    _ = folder.config  # errors of tamis.toml are reported before the model libraries are imported
    from tamis.jobs._rank_trainer import RankTrainer
    from tamis.jobs._trainer import Trainer
    from tamis.train import check_device

    _ = check_device(device)
    trainer = Trainer
    if ranker_only:  # on the entries of the journal that the rest of the versions has learnt from
        trainer = RankTrainer
        former = Versions(folder.root).current(kinds[0]).manifest
        folder = replace(folder, journal_until=former.journal_position)
    return trainer(folder, device, progress).run(kinds)
