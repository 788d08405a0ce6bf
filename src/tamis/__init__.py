"""Tamis sieves millions of items down to the ten that matter."""

__version__ = "0.1.0"
