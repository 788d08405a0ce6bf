from ._engine.engine import Engine
from ._engine.export import export, unsupported
from ._engine.gather import Gather
from ._engine.network import RequestNetwork
from ._gate_report import GateReport
from .bst import BST, BSTConfig
from .dcn import DCN, DCNConfig
from .dcnv2 import DCNv2, DCNv2Config
from .deepfm import DeepFM, DeepFMConfig
from .din import DIN, DINConfig
from .dnn import DNN, DNNConfig
from .fibinet import FiBiNET, FiBiNETConfig
from .fm import FM, FMConfig
from .gbdt import GBDT, GBDTConfig
from .last_n import LastN, LastNConfig
from .lr import LR, LRConfig
from .mmoe import MMoE, MMoEConfig
from .ple import PLE, PLEConfig
from .ppnet import PPNet, PPNetConfig
from .shared_bottom import SharedBottom, SharedBottomConfig
from .wide_deep import WideDeep, WideDeepConfig

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
