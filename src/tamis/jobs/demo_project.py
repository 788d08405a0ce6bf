"""`tamis demo`: the whole cascade on MovieLens-1M, in a folder that is a project like any other."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from tamis.jobs._trainer import TrainReport
from tamis.jobs.evaluate_cascade import Evaluation, evaluate
from tamis.jobs.prepare import fetch
from tamis.jobs.project import Project
from tamis.jobs.training import train
from tamis.service import CONFIG, Answer

DATA = "movielens-1m"


@dataclass(frozen=True)
class Demo:
    """What the demo made."""

    project: Path
    terms: str
    citation: str
    training: TrainReport
    evaluation: Evaluation
    answer: Answer


def demo(folder: Path | str = "tamis-demo", *, device: str = "cpu", progress: bool = False) -> Demo:
    """Fetches the data (once: it is cached), trains, evaluates, and recommends to one user."""
    folder = Path(folder)
    fetched = fetch(DATA, folder, progress=progress)
    if not (folder / CONFIG).exists():
        template = files("tamis.jobs") / "templates" / "movielens.toml"
        (folder / CONFIG).write_text(template.read_text("utf-8"), "utf-8")
    training = train(folder, device=device, progress=progress)
    evaluation = evaluate(folder, progress=progress)
    answer = Project(folder).recommend(USER, 10, explain=True)
    return Demo(folder, fetched.terms, fetched.citation, training, evaluation, answer)


USER = "1"
"""Whose slate the demo shows."""
