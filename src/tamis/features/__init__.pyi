from ._calendar import LocalCalendar
from ._growing import GrowingRows
from ._lists import History
from .encoders import DenseEncoder, VarLenEncoder
from .encoding import Encoders, LayoutBuilder
from .frame_histories import history_column
from .frame_space import FrameSpace
from .group_names import check_groups
from .guess import GuessOptions, default_features, guess_feature, list_separator
from .histories import Histories
from .layout import DenseColumn, IdColumn, Layout, TableRange
from .pair_features import POSITION
from .project_space import FeatureSpace
from .recipe import Recipe
from .repeats import ItemRepeats, OwnItems
from .row_coverage import RowCoverage
from .rows import Batch, Block, Rows
from .statistics import OfflineStatistics, OnlineStatistics, Recipes, Statistics, UserStatistics
from .table_coverage import TableCoverage, table_coverage
from .text_vectors import (
    encoded,
    item_texts,
    placeholder_vectors,
    stored_vectors,
    with_text_vectors,
)
from .tower_features import IdHistory, TowerFeatures, histories_per_behaviour, tower_features
from .vocabulary import UNSEEN, Vocabulary

__all__ = [
    "POSITION",
    "UNSEEN",
    "Batch",
    "Block",
    "DenseColumn",
    "DenseEncoder",
    "Encoders",
    "FeatureSpace",
    "FrameSpace",
    "GrowingRows",
    "GuessOptions",
    "Histories",
    "History",
    "IdColumn",
    "IdHistory",
    "ItemRepeats",
    "Layout",
    "LayoutBuilder",
    "LocalCalendar",
    "OfflineStatistics",
    "OnlineStatistics",
    "OwnItems",
    "Recipe",
    "Recipes",
    "RowCoverage",
    "Rows",
    "Statistics",
    "TableCoverage",
    "TableRange",
    "TowerFeatures",
    "UserStatistics",
    "VarLenEncoder",
    "Vocabulary",
    "check_groups",
    "default_features",
    "encoded",
    "guess_feature",
    "histories_per_behaviour",
    "history_column",
    "item_texts",
    "list_separator",
    "placeholder_vectors",
    "stored_vectors",
    "table_coverage",
    "tower_features",
    "with_text_vectors",
]
