"""Rank: one file per backbone."""

from tamis.rank.deepfm import DeepFM, DeepFMConfig, DeepFMNet

__all__ = ["DeepFM", "DeepFMConfig", "DeepFMNet"]
