from .assignment import BUCKETS, Allocation, arm_of, bucket
from .effects import Effect, Metric, MetricEstimate, effect, estimate
from .health import Check, before_exposure, sample_ratio, sample_ratio_watched, several_arms
from .life_cycle import EVERYWHERE, Experiments, Running
from .moments import ArmMoments
from .multiple import benjamini_hochberg, holm
from .off_policy import PolicyValue, policy_value
from .planning import detectable, power, sample_size
from .preference import Preference, preference
from .result import ArmFinding, Measure, ReadOut, Role, read_out
from .sequential import AlwaysValid, always_valid

__all__ = [
    "BUCKETS",
    "EVERYWHERE",
    "Allocation",
    "AlwaysValid",
    "ArmFinding",
    "ArmMoments",
    "Check",
    "Effect",
    "Experiments",
    "Measure",
    "Metric",
    "MetricEstimate",
    "PolicyValue",
    "Preference",
    "ReadOut",
    "Role",
    "Running",
    "always_valid",
    "arm_of",
    "before_exposure",
    "benjamini_hochberg",
    "bucket",
    "detectable",
    "effect",
    "estimate",
    "holm",
    "policy_value",
    "power",
    "preference",
    "read_out",
    "sample_ratio",
    "sample_ratio_watched",
    "sample_size",
    "several_arms",
]
