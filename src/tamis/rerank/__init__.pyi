from ._categories import ItemCategories
from .at_most import AtMost, AtMostConfig
from .mmr import MMR, MMRConfig

__all__ = [
    "MMR",
    "AtMost",
    "AtMostConfig",
    "ItemCategories",
    "MMRConfig",
]
