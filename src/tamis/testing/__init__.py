"""Public contract suites: checks for anyone's channel, filter or store."""

from tamis.testing.channels import CONTEXT, check_channel, queries_of, two_clans
from tamis.testing.filters import check_filter
from tamis.testing.servers import redis_server
from tamis.testing.stores import check_leftovers, check_recall_store

__all__ = [
    "CONTEXT",
    "check_channel",
    "check_filter",
    "check_leftovers",
    "check_recall_store",
    "queries_of",
    "redis_server",
    "two_clans",
]
