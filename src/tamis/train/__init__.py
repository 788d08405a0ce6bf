"""The one training loop, and the optimisers that touch only a batch's rows."""

from tamis.train.batches import Order, Source, batches
from tamis.train.checkpoint import load_weights, save_weights
from tamis.train.estimator import Estimator, EstimatorConfig
from tamis.train.frames import Context, FrameModel, check_labels
from tamis.train.hardware import native_bfloat16, peak_mb, torch_threads, use_bfloat16
from tamis.train.loop import fit, predict
from tamis.train.metrics import auc, grouped_ndcg, log_loss
from tamis.train.negatives import SAMPLERS, FrequencyEstimator, HardNegatives, Mixture
from tamis.train.objective import BinaryTasks, Metric, Objective
from tamis.train.options import Epoch, FitOptions, FitResult
from tamis.train.row_optimisers import LazyAdam, RowAdagrad, RowOptimiser, WholeAdam, tables_of

__all__ = [
    "SAMPLERS",
    "BinaryTasks",
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
    "Metric",
    "Mixture",
    "Objective",
    "Order",
    "RowAdagrad",
    "RowOptimiser",
    "Source",
    "WholeAdam",
    "auc",
    "batches",
    "check_labels",
    "fit",
    "grouped_ndcg",
    "load_weights",
    "log_loss",
    "native_bfloat16",
    "peak_mb",
    "predict",
    "save_weights",
    "tables_of",
    "torch_threads",
    "use_bfloat16",
]
