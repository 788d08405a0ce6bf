"""`tamis experiment report`: the result of an experiment, from the journal of the service."""

from tamis.service import (
    DayEffect,
    ExperimentReport,
    RawCount,
    SegmentEffect,
    report_experiment,
)

__all__ = ["DayEffect", "ExperimentReport", "RawCount", "SegmentEffect", "report_experiment"]
