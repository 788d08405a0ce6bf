from .candidates import Candidates
from .fusion import Fusion
from .hydrate import Hydrate, raw_numbers
from .online import Home, Precomputed, Remembers, UsesStore
from .protocols import (
    Channel,
    Embeds,
    Explains,
    Filter,
    FitContext,
    GivesReasons,
    ReadsContext,
    Reranker,
    Scorer,
    TrainableScorer,
    Valid,
    Wraps,
)
from .query import Context, Queries, Recalled
from .query_batches import at_end, holdout_queries, queries_at, user_queries, valid_of
from .replay import (
    REPLAY_BLOCK,
    REPLAY_USERS,
    Replay,
    candidate_labels,
    impression_window,
    join,
    replay_window,
    returning_users,
)
from .replay_vectors import with_vectors
from .runner import Cascade, Outcome, Retrieval, StageTimer
from .task_values import check_task_values
from .tracing import Found, Trace, trace
from .value import DEFAULT_TASK, Value, numeric_columns, tasks_of, value_of
from .vector_inputs import (
    VectorInputs,
    beside,
    block_of,
    item_column,
    rotation,
    user_column,
    vectors_for,
)

__all__ = [
    "DEFAULT_TASK",
    "REPLAY_BLOCK",
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
    "GivesReasons",
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
    "TrainableScorer",
    "UsesStore",
    "Valid",
    "Value",
    "VectorInputs",
    "Wraps",
    "at_end",
    "beside",
    "block_of",
    "candidate_labels",
    "check_task_values",
    "holdout_queries",
    "impression_window",
    "item_column",
    "join",
    "numeric_columns",
    "queries_at",
    "raw_numbers",
    "replay_window",
    "returning_users",
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
