"""What runs to its end: fetch, init, doctor, train, evaluate, recall, recommend, simulate, demo."""

from tamis.jobs.channels import ChannelEvaluation, evaluate_channels
from tamis.jobs.data import Fetched, Initialised, doctor, fetch, init
from tamis.jobs.evaluation import Evaluation, evaluate
from tamis.jobs.offline_recall import ChannelLists, RecallReport, recall
from tamis.jobs.project import Project, open
from tamis.jobs.showcase import Demo, demo
from tamis.jobs.simulation import Simulated, simulate
from tamis.jobs.training import TrainReport, train
from tamis.jobs.versioning import VersionLine, versions

__all__ = [
    "ChannelEvaluation",
    "ChannelLists",
    "Demo",
    "Evaluation",
    "Fetched",
    "Initialised",
    "Project",
    "RecallReport",
    "Simulated",
    "TrainReport",
    "VersionLine",
    "demo",
    "doctor",
    "evaluate",
    "evaluate_channels",
    "fetch",
    "init",
    "open",
    "recall",
    "simulate",
    "train",
    "versions",
]
