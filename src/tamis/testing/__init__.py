"""Public contract suites: anyone's new channel, model, rule or store is checked by them."""

from tamis.testing.channels import CONTEXT, check_channel, queries_of, two_clans

__all__ = ["CONTEXT", "check_channel", "queries_of", "two_clans"]
