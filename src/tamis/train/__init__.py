"""The one training loop, and the optimisers that touch only a batch's rows."""

from tamis.train.batches import Order, Source, batches
from tamis.train.calibration import (
    Calibration,
    calibrated,
    fit_calibration,
    isotonic,
    platt,
)
from tamis.train.checkpoint import load_weights, save_weights
from tamis.train.estimator import Estimator, EstimatorConfig
from tamis.train.frames import Context, FrameModel, ScorerConfig, check_labels
from tamis.train.hardware import native_bfloat16, peak_mb, torch_threads, use_bfloat16
from tamis.train.linear import LinearConfig, LinearEstimator, LinearNet
from tamis.train.loop import fit, predict
from tamis.train.metrics import auc, grouped_ndcg, log_loss
from tamis.train.negatives import SAMPLERS, FrequencyEstimator, HardNegatives, Mixture
from tamis.train.objective import BinaryTasks, Metric, Objective
from tamis.train.options import Epoch, FitOptions, FitResult
from tamis.train.row_optimisers import LazyAdam, RowAdagrad, RowOptimiser, WholeAdam, tables_of
from tamis.train.sampling import corrected, sample_negatives

__all__ = [
    "SAMPLERS",
    "BinaryTasks",
    "Calibration",
    "Context",
    "Epoch",
    "Estimator",
    "EstimatorConfig",
    "FitOptions",
    "FitResult",
    "FrameModel",
    "FrequencyEstimator",
    "HardNegatives",
    "LazyAdam",
    "LinearConfig",
    "LinearEstimator",
    "LinearNet",
    "Metric",
    "Mixture",
    "Objective",
    "Order",
    "RowAdagrad",
    "RowOptimiser",
    "ScorerConfig",
    "Source",
    "WholeAdam",
    "auc",
    "batches",
    "calibrated",
    "check_labels",
    "corrected",
    "fit",
    "fit_calibration",
    "grouped_ndcg",
    "isotonic",
    "load_weights",
    "log_loss",
    "native_bfloat16",
    "peak_mb",
    "platt",
    "predict",
    "sample_negatives",
    "save_weights",
    "tables_of",
    "torch_threads",
    "use_bfloat16",
]
