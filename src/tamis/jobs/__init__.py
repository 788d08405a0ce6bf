"""What runs to its end: fetch, init, doctor, train, evaluate, recall, recommend, simulate, demo."""

from tamis.jobs._ranker_trial import Entry, Standing, parsed_options
from tamis.jobs._row_models import RowModel
from tamis.jobs._trainer import TrainReport
from tamis.jobs.compare_rankers import Comparison, compare_rank, compare_tables
from tamis.jobs.demo_project import Demo, demo
from tamis.jobs.evaluate_cascade import Evaluation, evaluate
from tamis.jobs.evaluate_channels import ChannelEvaluation, evaluate_channels
from tamis.jobs.evaluate_rank import RankEvaluation, evaluate_rank
from tamis.jobs.list_versions import VersionLine, versions
from tamis.jobs.offline_recall import ChannelLists, RecallReport, recall
from tamis.jobs.prepare import Fetched, Initialised, doctor, fetch, init
from tamis.jobs.project import Project, open
from tamis.jobs.scoring import Scored, score
from tamis.jobs.simulated_project import Simulated, simulate
from tamis.jobs.training import train

__all__ = [
    "ChannelEvaluation",
    "ChannelLists",
    "Comparison",
    "Demo",
    "Entry",
    "Evaluation",
    "Fetched",
    "Initialised",
    "Project",
    "RankEvaluation",
    "RecallReport",
    "RowModel",
    "Scored",
    "Simulated",
    "Standing",
    "TrainReport",
    "VersionLine",
    "compare_rank",
    "compare_tables",
    "demo",
    "doctor",
    "evaluate",
    "evaluate_channels",
    "evaluate_rank",
    "fetch",
    "init",
    "open",
    "parsed_options",
    "recall",
    "score",
    "simulate",
    "train",
    "versions",
]
