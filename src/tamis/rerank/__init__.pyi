from ._categories import ItemCategories
from ._rule import SlateRule
from ._similarity import SimilarityConfig
from ._statement import (
    Diversity,
    Drawing,
    Exploring,
    FixedPlaces,
    GroupFatigue,
    LeastShare,
    Limit,
    PinnedItems,
    Statement,
)
from .ads import Ads, AdsConfig
from .at_most import AtMost, AtMostConfig
from .dpp import DPP, DPPConfig
from .explore import Explore, ExploreConfig
from .fair import Fair, FairConfig
from .fatigue import Fatigue, FatigueConfig
from .mmr import MMR, MMRConfig
from .objective import ObjectiveConfig, Objectives
from .pins import Pins, PinsConfig
from .quota import Quota, QuotaConfig
from .sample import Sample, SampleConfig

__all__ = [
    "DPP",
    "MMR",
    "Ads",
    "AdsConfig",
    "AtMost",
    "AtMostConfig",
    "DPPConfig",
    "Diversity",
    "Drawing",
    "Explore",
    "ExploreConfig",
    "Exploring",
    "Fair",
    "FairConfig",
    "Fatigue",
    "FatigueConfig",
    "FixedPlaces",
    "GroupFatigue",
    "ItemCategories",
    "LeastShare",
    "Limit",
    "MMRConfig",
    "ObjectiveConfig",
    "Objectives",
    "PinnedItems",
    "Pins",
    "PinsConfig",
    "Quota",
    "QuotaConfig",
    "Sample",
    "SampleConfig",
    "SimilarityConfig",
    "SlateRule",
    "Statement",
]
