"""`tamis train`: an evaluation version and a serving version, trained and published."""

from __future__ import annotations

from pathlib import Path

from tamis.bundle import Kind
from tamis.jobs._rank_trainer import RankTrainer
from tamis.jobs._trainer import Trainer, TrainReport
from tamis.schema import ConfigError
from tamis.service import ProjectFolder


def train(
    project: Path | str,
    *,
    only: str | None = None,
    stage: str | None = None,
    device: str = "cpu",
    progress: bool = False,
) -> TrainReport:
    """Trains a project's evaluation and serving version and publishes them.

    only: "evaluation" or "serving" for one of the two. stage: "rank" refits the ranker alone; all
    else is taken from the published versions (`jobs.rank_training`). Raises ConfigError, DataError
    and TrainingError with the place and the cure; what was published before stays whole.
    """
    kinds = [Kind.EVALUATION, Kind.SERVING]
    if only is not None:
        if only not in list(Kind):
            raise ConfigError(f"only = {only!r}: it is 'evaluation' or 'serving'")
        kinds = [Kind(only)]
    if stage not in (None, "rank"):
        raise ConfigError(f"stage = {stage!r}: it is 'rank', or none for the whole cascade")
    if stage == "rank":
        return RankTrainer(ProjectFolder(Path(project)), device, progress).run(kinds)
    return Trainer(ProjectFolder(Path(project)), device, progress).run(kinds)
