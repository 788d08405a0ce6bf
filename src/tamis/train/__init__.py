"""Training of models on rows: the loop, optimisers, tasks, negatives, calibration, tree models."""

from tamis.train._frames import task_of_label
from tamis.train.batches import Order, RowSource, batches
from tamis.train.calibration import Calibration, calibrated, fit_calibration, isotonic, platt
from tamis.train.checkpoint import load_weights, save_weights
from tamis.train.chosen import Chosen
from tamis.train.estimator import Estimator, EstimatorConfig
from tamis.train.fit_options import Epoch, FitOptions, FitResult
from tamis.train.fit_settings import FitSettings, ScorerConfig
from tamis.train.frame_model import FrameModel
from tamis.train.hardware import (
    allow_kept_memory,
    check_device,
    kept_memory,
    native_bfloat16,
    torch_threads,
    use_bfloat16,
)
from tamis.train.label_checks import (
    Metrics,
    check_labels,
    one_class_notes,
    reason_lines,
    undefined_metrics,
)
from tamis.train.linear import LinearConfig, LinearEstimator, LinearNet
from tamis.train.loop import fit
from tamis.train.metrics import (
    auc,
    group_ndcg,
    log_loss,
    mean_absolute_error,
    mean_group_ndcg,
    xauc,
)
from tamis.train.monotone import Monotone, monotone
from tamis.train.negatives import SAMPLERS, FrequencyEstimator, HardNegatives, Mixture
from tamis.train.objective import BinaryTasks, Metric, Objective, TaskObjective
from tamis.train.online import OnlineRows
from tamis.train.prediction import predict
from tamis.train.row_optimisers import LazyAdam, RowAdagrad, RowOptimiser, WholeAdam, tables_of
from tamis.train.sampling import corrected, sample_negatives
from tamis.train.tasks import Heads, class_numbers, task_configs
from tamis.train.trees import Trees, TreesConfig

__all__ = [
    "SAMPLERS",
    "BinaryTasks",
    "Calibration",
    "Chosen",
    "Epoch",
    "Estimator",
    "EstimatorConfig",
    "FitOptions",
    "FitResult",
    "FitSettings",
    "FrameModel",
    "FrequencyEstimator",
    "HardNegatives",
    "Heads",
    "LazyAdam",
    "LinearConfig",
    "LinearEstimator",
    "LinearNet",
    "Metric",
    "Metrics",
    "Mixture",
    "Monotone",
    "Objective",
    "OnlineRows",
    "Order",
    "RowAdagrad",
    "RowOptimiser",
    "RowSource",
    "ScorerConfig",
    "TaskObjective",
    "Trees",
    "TreesConfig",
    "WholeAdam",
    "allow_kept_memory",
    "auc",
    "batches",
    "calibrated",
    "check_device",
    "check_labels",
    "class_numbers",
    "corrected",
    "fit",
    "fit_calibration",
    "group_ndcg",
    "isotonic",
    "kept_memory",
    "load_weights",
    "log_loss",
    "mean_absolute_error",
    "mean_group_ndcg",
    "monotone",
    "native_bfloat16",
    "one_class_notes",
    "platt",
    "predict",
    "reason_lines",
    "sample_negatives",
    "save_weights",
    "tables_of",
    "task_configs",
    "task_of_label",
    "torch_threads",
    "undefined_metrics",
    "use_bfloat16",
    "xauc",
]
