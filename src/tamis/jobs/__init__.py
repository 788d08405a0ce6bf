"""What runs to its end: fetch, init, doctor, train, evaluate, recommend, simulate, demo."""

from tamis.jobs.data import Fetched, Initialised, doctor, fetch, init
from tamis.jobs.demo import Demo, demo
from tamis.jobs.evaluate import Evaluation, evaluate
from tamis.jobs.project import Project
from tamis.jobs.simulate import Simulated, simulate
from tamis.jobs.train import TrainReport, train
from tamis.jobs.versions import VersionLine, open, versions

__all__ = [
    "Demo",
    "Evaluation",
    "Fetched",
    "Initialised",
    "Project",
    "Simulated",
    "TrainReport",
    "VersionLine",
    "demo",
    "doctor",
    "evaluate",
    "fetch",
    "init",
    "open",
    "simulate",
    "train",
    "versions",
]
