"""Recall: one file per channel, found by its short name in `tamis.toml`."""

from tamis.recall.base import BaseChannel, ChannelSettings, need_positives, nothing
from tamis.recall.city import City
from tamis.recall.ease import EASE
from tamis.recall.fresh import Fresh
from tamis.recall.geohash import Geohash
from tamis.recall.hot import Hot
from tamis.recall.itemcf import ItemCF
from tamis.recall.two_tower import TwoTower

__all__ = [
    "EASE",
    "BaseChannel",
    "ChannelSettings",
    "City",
    "Fresh",
    "Geohash",
    "Hot",
    "ItemCF",
    "TwoTower",
    "need_positives",
    "nothing",
]
