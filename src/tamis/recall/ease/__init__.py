"""EASE: a linear item-to-item model in closed form."""

from tamis.recall.ease.ease import EASE, EASEConfig

__all__ = ["EASE", "EASEConfig"]
