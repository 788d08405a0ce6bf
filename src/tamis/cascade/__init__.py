"""The grammar: query, candidates, the stages' Protocols, the runner, the trace."""

from tamis.cascade.asking import asked_of, at_end, holdout_queries, valid_of
from tamis.cascade.candidates import Candidates
from tamis.cascade.fusion import Fusion
from tamis.cascade.online import Embeds, Home, Precomputed, Remembers, UsesStore
from tamis.cascade.parts import (
    CONFIG,
    Hydrate,
    Parts,
    item_numbers,
    queries_at,
    raw_numbers,
    task_names,
    tasks_of,
)
from tamis.cascade.protocols import Channel, Explains, Filter, FitContext, Reranker, Scorer, Valid
from tamis.cascade.query import (
    Bool,
    Context,
    Float32,
    History,
    Int32,
    Int64,
    Queries,
    Ragged,
    Recalled,
)
from tamis.cascade.recommender import Answer, Place, Reason, Recommender, WhyNot
from tamis.cascade.runner import Cascade, Clock, Outcome, Retrieval
from tamis.cascade.tracing import Found, Trace, trace
from tamis.cascade.value import Value, numeric_columns, value_of

__all__ = [
    "CONFIG",
    "Answer",
    "Bool",
    "Candidates",
    "Cascade",
    "Channel",
    "Clock",
    "Context",
    "Embeds",
    "Explains",
    "Filter",
    "FitContext",
    "Float32",
    "Found",
    "Fusion",
    "History",
    "Home",
    "Hydrate",
    "Int32",
    "Int64",
    "Outcome",
    "Parts",
    "Place",
    "Precomputed",
    "Queries",
    "Ragged",
    "Reason",
    "Recalled",
    "Recommender",
    "Remembers",
    "Reranker",
    "Retrieval",
    "Scorer",
    "Trace",
    "UsesStore",
    "Valid",
    "Value",
    "WhyNot",
    "asked_of",
    "at_end",
    "holdout_queries",
    "item_numbers",
    "numeric_columns",
    "queries_at",
    "raw_numbers",
    "task_names",
    "tasks_of",
    "trace",
    "valid_of",
    "value_of",
]
