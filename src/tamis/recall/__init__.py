"""Recall: one file per channel, found by its short name in `tamis.toml`."""

from tamis.recall.base import BaseChannel, ChannelSettings, need_positives, nothing
from tamis.recall.cached import Cached
from tamis.recall.city import City
from tamis.recall.ease import EASE
from tamis.recall.fresh import Fresh
from tamis.recall.geohash import Geohash
from tamis.recall.hot import Hot
from tamis.recall.itemcf import ItemCF
from tamis.recall.offline import Offline
from tamis.recall.two_tower import TwoTower

__all__ = [
    "EASE",
    "BaseChannel",
    "Cached",
    "ChannelSettings",
    "City",
    "Fresh",
    "Geohash",
    "Hot",
    "ItemCF",
    "Offline",
    "TwoTower",
    "need_positives",
    "nothing",
]
