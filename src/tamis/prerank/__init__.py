"""Pre-rankers: cheap models that reduce thousands of candidates to hundreds; a file per model."""

from tamis.prerank._base import PrerankConfig, Preranker
from tamis.prerank.gbdt import GBDT, GBDTConfig
from tamis.prerank.inner_product import InnerProduct, InnerProductConfig
from tamis.prerank.lr import LR, LRConfig
from tamis.prerank.stored import Stored, StoredConfig
from tamis.prerank.three_tower import ThreeTower, ThreeTowerConfig

__all__ = [
    "GBDT",
    "LR",
    "GBDTConfig",
    "InnerProduct",
    "InnerProductConfig",
    "LRConfig",
    "PrerankConfig",
    "Preranker",
    "Stored",
    "StoredConfig",
    "ThreeTower",
    "ThreeTowerConfig",
]
