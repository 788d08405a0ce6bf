"""Metrics, intervals, the stage-loss report, and the report a person reads."""

from tamis.evaluate.bootstrap import Interval, bootstrap_mean, paired_bootstrap
from tamis.evaluate.cascade_report import render, write_report
from tamis.evaluate.channel_metrics import (
    Judged,
    event_counts,
    figures,
    judge_channel,
    overlap,
    spread,
)
from tamis.evaluate.channel_report import render_channels, write_channel_report
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
from tamis.evaluate.prerank_agreement import agreement
from tamis.evaluate.prerank_survival import TOPS, survival
from tamis.evaluate.probability import CalibrationBin, calibration_curve, ece, gauc, group_auc, pcoc
from tamis.evaluate.rank_report import render_rank, write_rank_report
from tamis.evaluate.score_table import ScoreTable
from tamis.evaluate.scored_rows import scored_blocks
from tamis.evaluate.segments import Bucketing, Known, bucketings
from tamis.evaluate.stage_loss import STAGES, StageRecord, lost_at, stage_loss
from tamis.evaluate.streams import AUC, GAUC, NDCG, XAUC, Buckets, Errors, LogLoss, Reliability
from tamis.evaluate.task_evaluation import TaskJudge
from tamis.evaluate.task_metrics import NumberMetrics, RateMetrics

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
    "Errors",
    "FullRank",
    "Interval",
    "Judged",
    "Known",
    "LogLoss",
    "NumberMetrics",
    "RateMetrics",
    "Reliability",
    "ScoreTable",
    "StageRecord",
    "TaskJudge",
    "agreement",
    "average_precision",
    "bootstrap_mean",
    "bucketings",
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
    "hit",
    "hits",
    "judge_channel",
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
    "scored_blocks",
    "spread",
    "stage_loss",
    "survival",
    "write_channel_report",
    "write_rank_report",
    "write_report",
]
