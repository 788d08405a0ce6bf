"""Pre-rank: cheap models, thousands of candidates to hundreds; one file per model."""

from tamis.prerank.lr import LR, LRConfig

__all__ = ["LR", "LRConfig"]
