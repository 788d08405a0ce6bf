from ._cost import Estimate, span
from ._gate import GateCheck
from ._ranker_trial import Entry, Standing, parsed_options
from ._row_models import RowModel
from ._train_report import TrainReport
from ._update_report import UpdateReport
from .compare_rankers import Comparison, compare_rank, compare_tables
from .demo_live import LiveDemo, LiveLine, demo_live
from .demo_project import Demo, demo
from .estimate_policy import PlaceWeights, PolicyEstimate, estimate_policy
from .evaluate_cascade import Evaluation, evaluate
from .evaluate_channels import ChannelEvaluation, evaluate_channels
from .evaluate_objectives import ObjectiveTradeoffs, evaluate_objectives
from .evaluate_rank import RankEvaluation, evaluate_rank
from .export_journal import ExportReport, export
from .follow import FollowReport, follow
from .import_events import ImportReport, RejectedRows, import_events
from .list_versions import activate, rollback, versions
from .live_traffic import LiveReport, live_traffic
from .lookalike import LookalikeReport, lookalike
from .offline_recall import ChannelLists, RecallReport, recall
from .parity import ParityReport, parity
from .plan_experiment import ExperimentPlan, Plan, plan_experiment
from .prepare import Fetched, Initialised, doctor, fetch, init
from .project import Project
from .project import open as open
from .read_experiment import ExperimentResult, read_experiment
from .report_experiment import (
    DayEffect,
    ExperimentReport,
    RawCount,
    SegmentEffect,
    report_experiment,
)
from .run_experiment import (
    close_experiment,
    list_experiments,
    ramp_experiment,
    roll_out_experiment,
    start_experiment,
    unfinished_test,
)
from .scoring import ScoreReport, score
from .similar_items import similar
from .simulated_project import Simulated, simulate
from .training import train
from .update import update

__all__ = [
    "ChannelEvaluation",
    "ChannelLists",
    "Comparison",
    "DayEffect",
    "Demo",
    "Entry",
    "Estimate",
    "Evaluation",
    "ExperimentPlan",
    "ExperimentReport",
    "ExperimentResult",
    "ExportReport",
    "Fetched",
    "FollowReport",
    "GateCheck",
    "ImportReport",
    "Initialised",
    "LiveDemo",
    "LiveLine",
    "LiveReport",
    "LookalikeReport",
    "ObjectiveTradeoffs",
    "ParityReport",
    "PlaceWeights",
    "Plan",
    "PolicyEstimate",
    "Project",
    "RankEvaluation",
    "RawCount",
    "RecallReport",
    "RejectedRows",
    "RowModel",
    "ScoreReport",
    "SegmentEffect",
    "Simulated",
    "Standing",
    "TrainReport",
    "UpdateReport",
    "activate",
    "close_experiment",
    "compare_rank",
    "compare_tables",
    "demo",
    "demo_live",
    "doctor",
    "estimate_policy",
    "evaluate",
    "evaluate_channels",
    "evaluate_objectives",
    "evaluate_rank",
    "export",
    "fetch",
    "follow",
    "import_events",
    "init",
    "list_experiments",
    "live_traffic",
    "lookalike",
    "parity",
    "parsed_options",
    "plan_experiment",
    "ramp_experiment",
    "read_experiment",
    "recall",
    "report_experiment",
    "roll_out_experiment",
    "rollback",
    "score",
    "similar",
    "simulate",
    "span",
    "start_experiment",
    "train",
    "unfinished_test",
    "update",
    "versions",
]
