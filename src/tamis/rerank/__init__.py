"""Re-rank: diversity and rules over the ranked list. One file per rule, named as in tamis.toml."""

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
