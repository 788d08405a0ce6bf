from .assignment import BUCKETS, Allocation, arm_of, bucket
from .effects import Effect, Metric, MetricEstimate, effect, estimate
from .exposures import ArmComparison, Exposures, ItemValues, Units
from .health import Check, before_exposure, sample_ratio, sample_ratio_watched, several_arms
from .interleaved import interleaved_schema, read_credits
from .life_cycle import EVERYWHERE, Experiments, Running
from .moments import ArmMoments
from .multiple import benjamini_hochberg, holm
from .off_policy import PolicyValue, policy_value
from .planning import detectable, power, sample_size
from .preference import Preference, preference
from .reading import ArmReading, ArmSegment, ArmSnapshot, read_arms
from .result import ArmFinding, ExperimentRun, Measure, ReadOut, Role, read_out, read_preference
from .sequential import AlwaysValid, always_valid
from .slate_policy import SlatePolicy
from .unit_events import UnitEvents
from .unit_sums import before

__all__ = [
    "BUCKETS",
    "EVERYWHERE",
    "Allocation",
    "AlwaysValid",
    "ArmComparison",
    "ArmFinding",
    "ArmMoments",
    "ArmReading",
    "ArmSegment",
    "ArmSnapshot",
    "Check",
    "Effect",
    "ExperimentRun",
    "Experiments",
    "Exposures",
    "ItemValues",
    "Measure",
    "Metric",
    "MetricEstimate",
    "PolicyValue",
    "Preference",
    "ReadOut",
    "Role",
    "Running",
    "SlatePolicy",
    "UnitEvents",
    "Units",
    "always_valid",
    "arm_of",
    "before",
    "before_exposure",
    "benjamini_hochberg",
    "bucket",
    "detectable",
    "effect",
    "estimate",
    "holm",
    "interleaved_schema",
    "policy_value",
    "power",
    "preference",
    "read_arms",
    "read_credits",
    "read_out",
    "read_preference",
    "sample_ratio",
    "sample_ratio_watched",
    "sample_size",
    "several_arms",
]
