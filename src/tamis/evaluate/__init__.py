"""Metrics, intervals, the stage-loss report, and the report a person reads."""

from tamis.evaluate import metrics
from tamis.evaluate.bootstrap import Interval, bootstrap_mean, paired_bootstrap
from tamis.evaluate.probability import (
    CalibrationBin,
    auc,
    calibration_curve,
    ece,
    gauc,
    group_auc,
    log_loss,
    pcoc,
)
from tamis.evaluate.stage_loss import STAGES, StageRecord, lost_at, stage_loss

__all__ = [
    "STAGES",
    "CalibrationBin",
    "Interval",
    "StageRecord",
    "auc",
    "bootstrap_mean",
    "calibration_curve",
    "ece",
    "gauc",
    "group_auc",
    "log_loss",
    "lost_at",
    "metrics",
    "paired_bootstrap",
    "pcoc",
    "stage_loss",
]
