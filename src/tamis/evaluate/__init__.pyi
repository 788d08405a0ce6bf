from .bootstrap import Interval, bootstrap_mean, paired_bootstrap
from .cascade_report import render, write_report
from .channel_metrics import (
    ChannelMetrics,
    accuracy,
    catalogue_metrics,
    evaluate_channel,
    event_counts,
    overlap,
)
from .channel_report import render_channels, write_channel_report
from .comparison_plot import plot_comparison
from .evaluation import evaluate
from .evaluation_table import EvaluationTable, ModelResult
from .experiment_report import render_experiment, write_experiment_report
from .feature_coverage import compare_coverage
from .full_rank import FullRank, full_rank
from .live_report import write_live_page
from .metrics import (
    average_precision,
    coverage,
    diversity,
    gini,
    hit,
    hits,
    mean,
    mrr,
    ndcg,
    popularity,
    precision,
    recall,
)
from .prerank_agreement import agreement
from .prerank_survival import TOPS, survival
from .probability import (
    CalibrationBin,
    auc,
    calibration_curve,
    ece,
    gauc,
    group_auc,
    group_ndcg,
    log_loss,
    pcoc,
)
from .rank_report import render_rank, write_rank_report
from .score_table import ScoreTable
from .scored_rows import scored_blocks
from .segments import Bucketing, Known, bucketings
from .stage_loss import STAGES, StageRecord, lost_at, stage_loss
from .streams import AUC, GAUC, NDCG, XAUC, Buckets, Errors, LogLoss, Reliability
from .task_evaluation import TaskEvaluation
from .task_metrics import NumberMetrics, RateMetrics
from .tradeoff_report import plot_tradeoffs, render_tradeoffs

__all__ = [
    "AUC",
    "GAUC",
    "NDCG",
    "STAGES",
    "TOPS",
    "XAUC",
    "Bucketing",
    "Buckets",
    "CalibrationBin",
    "ChannelMetrics",
    "Errors",
    "EvaluationTable",
    "FullRank",
    "Interval",
    "Known",
    "LogLoss",
    "ModelResult",
    "NumberMetrics",
    "RateMetrics",
    "Reliability",
    "ScoreTable",
    "StageRecord",
    "TaskEvaluation",
    "accuracy",
    "agreement",
    "auc",
    "average_precision",
    "bootstrap_mean",
    "bucketings",
    "calibration_curve",
    "catalogue_metrics",
    "compare_coverage",
    "coverage",
    "diversity",
    "ece",
    "evaluate",
    "evaluate_channel",
    "event_counts",
    "full_rank",
    "gauc",
    "gini",
    "group_auc",
    "group_ndcg",
    "hit",
    "hits",
    "log_loss",
    "lost_at",
    "mean",
    "mrr",
    "ndcg",
    "overlap",
    "paired_bootstrap",
    "pcoc",
    "plot_comparison",
    "plot_tradeoffs",
    "popularity",
    "precision",
    "recall",
    "render",
    "render_channels",
    "render_experiment",
    "render_rank",
    "render_tradeoffs",
    "scored_blocks",
    "stage_loss",
    "survival",
    "write_channel_report",
    "write_experiment_report",
    "write_live_page",
    "write_rank_report",
    "write_report",
]
