"""What runs to its end: fetch, init, doctor, train, evaluate, recall, recommend, simulate, demo."""

from tamis.jobs.channels import ChannelEvaluation, evaluate_channels
from tamis.jobs.comparison import Comparison, compare_rank, compare_tables
from tamis.jobs.contest import Entry, Standing, parsed_options
from tamis.jobs.data import Fetched, Initialised, doctor, fetch, init
from tamis.jobs.evaluation import Evaluation, evaluate
from tamis.jobs.offline_recall import ChannelLists, RecallReport, recall
from tamis.jobs.project import Project, open
from tamis.jobs.rank_evaluation import RankEvaluation, evaluate_rank
from tamis.jobs.row_models import RowModel
from tamis.jobs.scoring import Scored, score
from tamis.jobs.showcase import Demo, demo
from tamis.jobs.simulation import Simulated, simulate
from tamis.jobs.training import TrainReport, train
from tamis.jobs.versioning import VersionLine, versions

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
