"""Model inputs made of events, users, items and context, by the same code offline and online."""

from tamis.features._lists import History
from tamis.features.encoders import DenseEncoder, VarLenEncoder
from tamis.features.encoding import Encoders, LayoutBuilder
from tamis.features.frame_space import FrameSpace
from tamis.features.guess import GuessOptions, default_features, guess_feature, list_separator
from tamis.features.histories import Histories
from tamis.features.layout import DenseColumn, IdColumn, Layout, TableRange
from tamis.features.project_space import FeatureSpace
from tamis.features.rows import Batch, Block, Rows
from tamis.features.statistics import OfflineStatistics, OnlineStatistics, Recipes, Statistics
from tamis.features.vocabulary import Vocabulary

__all__ = [
    "Batch",
    "Block",
    "DenseColumn",
    "DenseEncoder",
    "Encoders",
    "FeatureSpace",
    "FrameSpace",
    "GuessOptions",
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
    "guess_feature",
    "list_separator",
]
