"""Metrics, intervals, the stage-loss report, and the report a person reads."""

from tamis.evaluate.agreement import TOPS, survival
from tamis.evaluate.bootstrap import Interval, bootstrap_mean, paired_bootstrap
from tamis.evaluate.cascade_report import render, write_report
from tamis.evaluate.channel_report import render_channels, write_channel_report
from tamis.evaluate.channels import Judged, event_counts, figures, judge_channel, overlap, spread
from tamis.evaluate.comparison_plot import plot_comparison
from tamis.evaluate.full_rank import FullRank, full_rank
from tamis.evaluate.metrics import (
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
from tamis.evaluate.probability import (
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
from tamis.evaluate.rank_report import render_rank, write_rank_report
from tamis.evaluate.score_table import ScoreTable
from tamis.evaluate.stage_loss import STAGES, StageRecord, lost_at, stage_loss
from tamis.evaluate.streams import (
    AUC,
    GAUC,
    NDCG,
    XAUC,
    Buckets,
    Errors,
    LogLoss,
    Reliability,
)
from tamis.evaluate.task_metrics import NumberMetrics, RateMetrics

__all__ = [
    "AUC",
    "GAUC",
    "NDCG",
    "STAGES",
    "TOPS",
    "XAUC",
    "Buckets",
    "CalibrationBin",
    "Errors",
    "FullRank",
    "Interval",
    "Judged",
    "LogLoss",
    "NumberMetrics",
    "RateMetrics",
    "Reliability",
    "ScoreTable",
    "StageRecord",
    "auc",
    "average_precision",
    "bootstrap_mean",
    "calibration_curve",
    "coverage",
    "diversity",
    "ece",
    "event_counts",
    "figures",
    "full_rank",
    "gauc",
    "gini",
    "group_auc",
    "group_ndcg",
    "hit",
    "hits",
    "judge_channel",
    "log_loss",
    "lost_at",
    "mean",
    "mrr",
    "ndcg",
    "overlap",
    "paired_bootstrap",
    "pcoc",
    "plot_comparison",
    "popularity",
    "precision",
    "recall",
    "render",
    "render_channels",
    "render_rank",
    "spread",
    "stage_loss",
    "survival",
    "write_channel_report",
    "write_rank_report",
    "write_report",
]
