from ._base import PrerankConfig, Preranker
from .gbdt import GBDT, GBDTConfig
from .inner_product import InnerProduct, InnerProductConfig
from .lr import LR, LRConfig
from .stored import Stored, StoredConfig
from .three_tower import ThreeTower, ThreeTowerConfig

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
