"""Rank: one file per backbone."""

from tamis.rank.dcn import DCN, DCNConfig
from tamis.rank.dcnv2 import DCNv2, DCNv2Config
from tamis.rank.deepfm import DeepFM, DeepFMConfig
from tamis.rank.dnn import DNN, DNNConfig
from tamis.rank.fibinet import FiBiNET, FiBiNETConfig
from tamis.rank.fm import FM, FMConfig
from tamis.rank.gbdt import GBDT, GBDTConfig
from tamis.rank.lr import LR, LRConfig
from tamis.rank.wide_deep import WideDeep, WideDeepConfig

__all__ = [
    "DCN",
    "DNN",
    "FM",
    "GBDT",
    "LR",
    "DCNConfig",
    "DCNv2",
    "DCNv2Config",
    "DNNConfig",
    "DeepFM",
    "DeepFMConfig",
    "FMConfig",
    "FiBiNET",
    "FiBiNETConfig",
    "GBDTConfig",
    "LRConfig",
    "WideDeep",
    "WideDeepConfig",
]
