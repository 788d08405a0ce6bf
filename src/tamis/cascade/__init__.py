"""The grammar: query, candidates, the stages' Protocols, the runner, the trace."""

from tamis.cascade.candidates import Candidates
from tamis.cascade.protocols import Channel, Explains, Filter, FitContext, Reranker, Scorer
from tamis.cascade.query import History, Queries, Ragged, Recalled
from tamis.cascade.runner import Cascade, Outcome, Retrieval

__all__ = [
    "Candidates",
    "Cascade",
    "Channel",
    "Explains",
    "Filter",
    "FitContext",
    "History",
    "Outcome",
    "Queries",
    "Ragged",
    "Recalled",
    "Reranker",
    "Retrieval",
    "Scorer",
]
