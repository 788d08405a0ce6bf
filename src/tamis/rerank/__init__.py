"""Diversity and rules over the ranked list: one file per rule.

Every re-ranker has `fit(data, context)` (reads the items' attributes), `order(queries, candidates,
n)` and `arrange(queries, candidates, n)`, the same with one number per candidate for the trace
(`rerank:NAME`), `save(directory)` and `load(directory, config)`; its short name in `tamis.toml` is
its file's name. Rules that must hold come last: a later rule may undo an earlier one."""

from tamis.rerank._categories import ItemCategories
from tamis.rerank.at_most import AtMost, AtMostConfig
from tamis.rerank.mmr import MMR, MMRConfig

__all__ = [
    "MMR",
    "AtMost",
    "AtMostConfig",
    "ItemCategories",
    "MMRConfig",
]
