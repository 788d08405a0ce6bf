"""Public contract suites: checks for anyone's channel, filter, scorer, re-rank rule or store."""

from tamis.testing.channels import CONTEXT, check_channel, queries_of, two_clans
from tamis.testing.durability import KillReport, kill_under_load, serve_process
from tamis.testing.filters import check_filter
from tamis.testing.journals import an_event, check_journal
from tamis.testing.projects import corner_shop
from tamis.testing.rerankers import check_reranker, ranked_lists
from tamis.testing.scorers import candidate_rows, check_scorer
from tamis.testing.servers import redis_server
from tamis.testing.stores import check_leftovers, check_recall_store

__all__ = [
    "CONTEXT",
    "KillReport",
    "an_event",
    "candidate_rows",
    "check_channel",
    "check_filter",
    "check_journal",
    "check_leftovers",
    "check_recall_store",
    "check_reranker",
    "check_scorer",
    "corner_shop",
    "kill_under_load",
    "queries_of",
    "ranked_lists",
    "redis_server",
    "serve_process",
    "two_clans",
]
