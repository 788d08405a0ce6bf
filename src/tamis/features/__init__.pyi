from ._lists import History
from .encoders import DenseEncoder, VarLenEncoder
from .encoding import Encoders, LayoutBuilder
from .frame_space import FrameSpace
from .guess import default_features
from .histories import Histories
from .layout import DenseColumn, IdColumn, Layout, TableRange
from .project_space import FeatureSpace
from .rows import Batch, Block, Rows
from .statistics import OfflineStatistics, OnlineStatistics, Recipes, Statistics
from .vocabulary import Vocabulary

__all__ = [
    "Batch",
    "Block",
    "DenseColumn",
    "DenseEncoder",
    "Encoders",
    "FeatureSpace",
    "FrameSpace",
    "Histories",
    "History",
    "IdColumn",
    "Layout",
    "LayoutBuilder",
    "OfflineStatistics",
    "OnlineStatistics",
    "Recipes",
    "Rows",
    "Statistics",
    "TableRange",
    "VarLenEncoder",
    "Vocabulary",
    "default_features",
]
