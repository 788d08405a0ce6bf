"""Two-tower channel (DSSM)."""

from tamis.recall.two_tower._config import TwoTowerConfig
from tamis.recall.two_tower._learning import softmax_items
from tamis.recall.two_tower.two_tower import TwoTower

__all__ = ["TwoTower", "TwoTowerConfig", "softmax_items"]
