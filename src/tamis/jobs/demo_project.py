"""`tamis demo`: fetches MovieLens-1M, trains, evaluates and recommends in an ordinary project."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from tamis.jobs._trainer import TrainReport
from tamis.jobs.evaluate_cascade import Evaluation, evaluate
from tamis.jobs.prepare import fetch
from tamis.jobs.project import Project
from tamis.jobs.training import train
from tamis.service import CONFIG, Answer

DATA = "movielens-1m"
USER = "1"
"""The user that the demo recommends to."""


@dataclass(frozen=True)
class Demo:
    """The result of `tamis demo`."""

    project: Path
    terms: str
    citation: str
    training: TrainReport
    evaluation: Evaluation
    answer: Answer

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `tamis demo --json` prints them."""
        return {
            "project": str(self.project),
            "training": self.training.to_dict(),
            "evaluation": self.evaluation.to_dict(),
            "answer": self.answer.to_dict(),
        }


def demo(folder: Path | str = "tamis-demo", *, device: str = "cpu", progress: bool = False) -> Demo:
    """Fetches MovieLens-1M (cached), trains, evaluates, and recommends to one user.

    Raises ConfigError for a device that there is not, DataError if the data set cannot be fetched.
    """
    from tamis.train import check_device

    _ = check_device(device)  # before the data set is fetched
    folder = Path(folder)
    fetched = fetch(DATA, folder, progress=progress)
    if not (folder / CONFIG).exists():
        template = files("tamis.jobs") / "templates" / "movielens.toml"
        (folder / CONFIG).write_text(template.read_text("utf-8"), "utf-8")
    training = train(folder, device=device, progress=progress)
    evaluation = evaluate(folder, progress=progress)
    answer = Project(folder).recommend(USER, 10, explain=True)
    return Demo(folder, fetched.terms, fetched.citation, training, evaluation, answer)
