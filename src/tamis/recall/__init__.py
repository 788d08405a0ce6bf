"""Recall: one file per channel, found by its short name in `tamis.toml`."""

from tamis.recall.author import Author
from tamis.recall.base import BaseChannel, ChannelSettings, need_positives, nothing
from tamis.recall.cached import Cached
from tamis.recall.city import City
from tamis.recall.declared_interests import DeclaredInterests
from tamis.recall.demographic import Demographic
from tamis.recall.ease import EASE
from tamis.recall.fresh import Fresh
from tamis.recall.geohash import Geohash
from tamis.recall.hot import Hot
from tamis.recall.itemcf import ItemCF
from tamis.recall.offline import Offline
from tamis.recall.rules import Rules
from tamis.recall.two_tower import TwoTower

__all__ = [
    "EASE",
    "Author",
    "BaseChannel",
    "Cached",
    "ChannelSettings",
    "City",
    "DeclaredInterests",
    "Demographic",
    "Fresh",
    "Geohash",
    "Hot",
    "ItemCF",
    "Offline",
    "Rules",
    "TwoTower",
    "need_positives",
    "nothing",
]
