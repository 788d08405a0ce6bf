"""The grammar: query, candidates, the stages' Protocols, the runner, the trace."""

from tamis.cascade.candidates import Candidates
from tamis.cascade.protocols import Channel, Explains, Filter, FitContext, Reranker, Scorer
from tamis.cascade.query import History, Queries, Ragged, Recalled

__all__ = [
    "Candidates",
    "Channel",
    "Explains",
    "Filter",
    "FitContext",
    "History",
    "Queries",
    "Ragged",
    "Recalled",
    "Reranker",
    "Scorer",
]
