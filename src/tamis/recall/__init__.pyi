from ._common.channel import BaseChannel, need_positives, nothing
from .again.again import Again, AgainConfig
from .author import Author, AuthorConfig
from .cached import Cached, CachedConfig
from .city import City, CityConfig
from .content.content import Content, ContentConfig
from .declared_interests import DeclaredInterests, DeclaredInterestsConfig
from .deep_retrieval.deep_retrieval import DeepRetrieval, DeepRetrievalConfig
from .demographic import Demographic, DemographicConfig
from .ease.ease import EASE, EASEConfig
from .fm.fm import FM, FMConfig
from .fresh import Fresh, FreshConfig
from .geohash import Geohash, GeohashConfig
from .hot import Hot, HotConfig
from .lookalike import Lookalike, LookalikeConfig
from .mf.mf import MF, MFConfig
from .neighbours.itemcf import ItemCF, ItemCFConfig
from .neighbours.swing import Swing, SwingConfig
from .neighbours.usercf import UserCF, UserCFConfig
from .offline import Offline, OfflineConfig
from .rules import Rule, Rules, RulesConfig
from .sequence.gru4rec import GRU4Rec, GRU4RecConfig
from .sequence.sasrec import SASRec, SASRecConfig
from .two_tower._config import TwoTowerConfig
from .two_tower._dssm import DSSM, DSSMConfig
from .two_tower._learning import softmax_items
from .two_tower.two_tower import TwoTower

__all__ = [
    "DSSM",
    "EASE",
    "FM",
    "MF",
    "Again",
    "AgainConfig",
    "Author",
    "AuthorConfig",
    "BaseChannel",
    "Cached",
    "CachedConfig",
    "City",
    "CityConfig",
    "Content",
    "ContentConfig",
    "DSSMConfig",
    "DeclaredInterests",
    "DeclaredInterestsConfig",
    "DeepRetrieval",
    "DeepRetrievalConfig",
    "Demographic",
    "DemographicConfig",
    "EASEConfig",
    "FMConfig",
    "Fresh",
    "FreshConfig",
    "GRU4Rec",
    "GRU4RecConfig",
    "Geohash",
    "GeohashConfig",
    "Hot",
    "HotConfig",
    "ItemCF",
    "ItemCFConfig",
    "Lookalike",
    "LookalikeConfig",
    "MFConfig",
    "Offline",
    "OfflineConfig",
    "Rule",
    "Rules",
    "RulesConfig",
    "SASRec",
    "SASRecConfig",
    "Swing",
    "SwingConfig",
    "TwoTower",
    "TwoTowerConfig",
    "UserCF",
    "UserCFConfig",
    "need_positives",
    "nothing",
    "softmax_items",
]
