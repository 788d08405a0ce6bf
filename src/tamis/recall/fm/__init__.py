"""Factorisation machine channel."""

from tamis.recall.fm.fm import FM, FMConfig

__all__ = ["FM", "FMConfig"]
