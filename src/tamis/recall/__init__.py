"""Recall channels, by family; a channel is declared in `tamis.toml` by its short name."""

from tamis.recall._common.channel import BaseChannel, need_positives, nothing
from tamis.recall.author import Author
from tamis.recall.cached import Cached
from tamis.recall.city import City
from tamis.recall.content.content import Content
from tamis.recall.declared_interests import DeclaredInterests
from tamis.recall.deep_retrieval.deep_retrieval import DeepRetrieval
from tamis.recall.demographic import Demographic
from tamis.recall.ease.ease import EASE
from tamis.recall.fm.fm import FM
from tamis.recall.fresh import Fresh
from tamis.recall.geohash import Geohash
from tamis.recall.hot import Hot
from tamis.recall.lookalike import Lookalike
from tamis.recall.mf.mf import MF
from tamis.recall.neighbours.itemcf import ItemCF
from tamis.recall.neighbours.swing import Swing
from tamis.recall.neighbours.usercf import UserCF
from tamis.recall.offline import Offline
from tamis.recall.rules import Rules
from tamis.recall.sequence.gru4rec import GRU4Rec
from tamis.recall.sequence.sasrec import SASRec
from tamis.recall.two_tower.two_tower import TwoTower

__all__ = [
    "EASE",
    "FM",
    "MF",
    "Author",
    "BaseChannel",
    "Cached",
    "City",
    "Content",
    "DeclaredInterests",
    "DeepRetrieval",
    "Demographic",
    "Fresh",
    "GRU4Rec",
    "Geohash",
    "Hot",
    "ItemCF",
    "Lookalike",
    "Offline",
    "Rules",
    "SASRec",
    "Swing",
    "TwoTower",
    "UserCF",
    "need_positives",
    "nothing",
]
