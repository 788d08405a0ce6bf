"""Again: a user's own items, for repeat consumption."""

from tamis.recall.again.again import Again, AgainConfig

__all__ = ["Again", "AgainConfig"]
