"""Factorisation machine for recall: a user vector and an item vector."""

from tamis.recall.fm.fm import FM, FMConfig

__all__ = ["FM", "FMConfig"]
