"""The cascade: queries, candidates, stage protocols, runner, fusion, trace; no concrete stage."""

from tamis.cascade.candidates import Candidates
from tamis.cascade.fusion import Fusion
from tamis.cascade.hydrate import Hydrate, raw_numbers
from tamis.cascade.online import Home, Precomputed, Remembers, UsesStore
from tamis.cascade.protocols import (
    Channel,
    Embeds,
    Explains,
    Filter,
    FitContext,
    ReadsContext,
    Reranker,
    Scorer,
    Valid,
    Wraps,
)
from tamis.cascade.query import Context, Queries, Recalled
from tamis.cascade.query_batches import at_end, holdout_queries, queries_at, user_queries, valid_of
from tamis.cascade.replay import (
    REPLAY_USERS,
    Replay,
    candidate_labels,
    impression_window,
    join,
    replay_window,
)
from tamis.cascade.replay_vectors import with_vectors
from tamis.cascade.runner import Cascade, Outcome, Retrieval, StageTimer
from tamis.cascade.tracing import Found, Trace, trace
from tamis.cascade.value import DEFAULT_TASK, Value, numeric_columns, tasks_of, value_of
from tamis.cascade.vector_inputs import (
    Vectors,
    beside,
    block_of,
    item_column,
    rotation,
    user_column,
    vectors_for,
)

__all__ = [
    "DEFAULT_TASK",
    "REPLAY_USERS",
    "Candidates",
    "Cascade",
    "Channel",
    "Context",
    "Embeds",
    "Explains",
    "Filter",
    "FitContext",
    "Found",
    "Fusion",
    "Home",
    "Hydrate",
    "Outcome",
    "Precomputed",
    "Queries",
    "ReadsContext",
    "Recalled",
    "Remembers",
    "Replay",
    "Reranker",
    "Retrieval",
    "Scorer",
    "StageTimer",
    "Trace",
    "UsesStore",
    "Valid",
    "Value",
    "Vectors",
    "Wraps",
    "at_end",
    "beside",
    "block_of",
    "candidate_labels",
    "holdout_queries",
    "impression_window",
    "item_column",
    "join",
    "numeric_columns",
    "queries_at",
    "raw_numbers",
    "replay_window",
    "rotation",
    "tasks_of",
    "trace",
    "user_column",
    "user_queries",
    "valid_of",
    "value_of",
    "vectors_for",
    "with_vectors",
]
