"""Rank: one file per backbone."""

from tamis.rank._engine.engine import Engine
from tamis.rank._engine.export import export, unsupported
from tamis.rank._engine.gather import Gather
from tamis.rank._engine.network import RequestNetwork
from tamis.rank._gate_report import GateReport
from tamis.rank.bst import BST, BSTConfig
from tamis.rank.dcn import DCN, DCNConfig
from tamis.rank.dcnv2 import DCNv2, DCNv2Config
from tamis.rank.deepfm import DeepFM, DeepFMConfig
from tamis.rank.din import DIN, DINConfig
from tamis.rank.dnn import DNN, DNNConfig
from tamis.rank.fibinet import FiBiNET, FiBiNETConfig
from tamis.rank.fm import FM, FMConfig
from tamis.rank.gbdt import GBDT, GBDTConfig
from tamis.rank.last_n import LastN, LastNConfig
from tamis.rank.lr import LR, LRConfig
from tamis.rank.mmoe import MMoE, MMoEConfig
from tamis.rank.ple import PLE, PLEConfig
from tamis.rank.ppnet import PPNet, PPNetConfig
from tamis.rank.shared_bottom import SharedBottom, SharedBottomConfig
from tamis.rank.wide_deep import WideDeep, WideDeepConfig

__all__ = [
    "BST",
    "DCN",
    "DIN",
    "DNN",
    "FM",
    "GBDT",
    "LR",
    "PLE",
    "BSTConfig",
    "DCNConfig",
    "DCNv2",
    "DCNv2Config",
    "DINConfig",
    "DNNConfig",
    "DeepFM",
    "DeepFMConfig",
    "Engine",
    "FMConfig",
    "FiBiNET",
    "FiBiNETConfig",
    "GBDTConfig",
    "GateReport",
    "Gather",
    "LRConfig",
    "LastN",
    "LastNConfig",
    "MMoE",
    "MMoEConfig",
    "PLEConfig",
    "PPNet",
    "PPNetConfig",
    "RequestNetwork",
    "SharedBottom",
    "SharedBottomConfig",
    "WideDeep",
    "WideDeepConfig",
    "export",
    "unsupported",
]
