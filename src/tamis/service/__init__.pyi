from .answer import Answer, Place, Reason, WhyNot
from .answered_items import AnsweredItems
from .assembly import FORMATS, ORDER, STORED_CONFIG, Parts, read_config, read_order
from .clock import Clock, system_clock
from .deltas import AppliedDeltas, DeltaState, apply_delta, check_delta, stages_of
from .experiment_plan import ExperimentPlan, Plan, PlanOptionError, plan_experiment
from .experiment_report import (
    DayEffect,
    ExperimentReport,
    RawCount,
    SegmentEffect,
    report_experiment,
)
from .experiment_requests import FullRequest, PlanRequest, RampRequest, StartRequest, StepRequest
from .explanations import Explained, Explanations
from .intake import EventRow, Intake
from .item_texts import ItemTexts
from .journal_data import changed_table, entry_events, with_journal
from .live import LiveRecommender, Taken
from .live_experiments import LiveExperiments
from .live_rows import Deleted, KnownRow, TakenRow
from .lookalike import LookalikeList, LookalikeSearch, LookalikeUser
from .lookalike_lift import Lift
from .lookalike_request import LookalikeRequest
from .project_experiments import (
    CheckArms,
    ExperimentLine,
    ProjectExperiments,
    UnknownExperimentError,
    early_rollout,
    versions_of_experiments,
)
from .project_folder import CONFIG, ProjectFolder
from .project_versions import ProjectVersions, VersionLine
from .ranking import RankedItem, Ranking, RemovedItem
from .recommender import Answered, Recommender
from .request import Boost, CheckedFields, RankRequest, Request
from .serving import Serving
from .similar import Similar, SimilarItem, SimilarList
from .views import Views

__all__ = [
    "CONFIG",
    "FORMATS",
    "ORDER",
    "STORED_CONFIG",
    "Answer",
    "Answered",
    "AnsweredItems",
    "AppliedDeltas",
    "Boost",
    "CheckArms",
    "CheckedFields",
    "Clock",
    "DayEffect",
    "Deleted",
    "DeltaState",
    "EventRow",
    "ExperimentLine",
    "ExperimentPlan",
    "ExperimentReport",
    "Explained",
    "Explanations",
    "FullRequest",
    "Intake",
    "ItemTexts",
    "KnownRow",
    "Lift",
    "LiveExperiments",
    "LiveRecommender",
    "LookalikeList",
    "LookalikeRequest",
    "LookalikeSearch",
    "LookalikeUser",
    "Parts",
    "Place",
    "Plan",
    "PlanOptionError",
    "PlanRequest",
    "ProjectExperiments",
    "ProjectFolder",
    "ProjectVersions",
    "RampRequest",
    "RankRequest",
    "RankedItem",
    "Ranking",
    "RawCount",
    "Reason",
    "Recommender",
    "RemovedItem",
    "Request",
    "SegmentEffect",
    "Serving",
    "Similar",
    "SimilarItem",
    "SimilarList",
    "StartRequest",
    "StepRequest",
    "Taken",
    "TakenRow",
    "UnknownExperimentError",
    "VersionLine",
    "Views",
    "WhyNot",
    "apply_delta",
    "changed_table",
    "check_delta",
    "early_rollout",
    "entry_events",
    "plan_experiment",
    "read_config",
    "read_order",
    "report_experiment",
    "stages_of",
    "system_clock",
    "versions_of_experiments",
    "with_journal",
]
