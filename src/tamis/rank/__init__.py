"""Rank: one file per backbone."""

from tamis.rank.deepfm import DeepFM, DeepFMConfig
from tamis.rank.gbdt import GBDT, GBDTConfig

__all__ = ["GBDT", "DeepFM", "DeepFMConfig", "GBDTConfig"]
