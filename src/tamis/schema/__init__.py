"""The declaration of a project (`tamis.toml`): tables, behaviours, features, tasks, cascade."""

from tamis.schema._task_checks import check_tasks
from tamis.schema.component import (
    Component,
    ComponentConfig,
    configured,
    known_options,
    option_problems,
)
from tamis.schema.config import (
    Behaviour,
    CascadeConfig,
    ChannelConfig,
    EventsConfig,
    MergeConfig,
    ProjectConfig,
    SplitConfig,
    StageConfig,
    TableConfig,
    TaskConfig,
)
from tamis.schema.errors import (
    ConfigError,
    DataError,
    MissingExtraError,
    NotFittedError,
    RequestError,
    StageError,
    StoreError,
    TamisError,
    TrainingError,
    VersionError,
)
from tamis.schema.features import DenseFeat, Feature, Side, SparseFeat, VarLenSparseFeat
from tamis.schema.load import FILE_NAME, load_config, parse_config, parse_features
from tamis.schema.suggestions import suggest
from tamis.schema.tasks import (
    chain,
    class_names,
    class_values,
    condition_of,
    prediction_names,
    product,
)
from tamis.schema.write import dump_config, write_config

__all__ = [
    "FILE_NAME",
    "Behaviour",
    "CascadeConfig",
    "ChannelConfig",
    "Component",
    "ComponentConfig",
    "ConfigError",
    "DataError",
    "DenseFeat",
    "EventsConfig",
    "Feature",
    "MergeConfig",
    "MissingExtraError",
    "NotFittedError",
    "ProjectConfig",
    "RequestError",
    "Side",
    "SparseFeat",
    "SplitConfig",
    "StageConfig",
    "StageError",
    "StoreError",
    "TableConfig",
    "TamisError",
    "TaskConfig",
    "TrainingError",
    "VarLenSparseFeat",
    "VersionError",
    "chain",
    "check_tasks",
    "class_names",
    "class_values",
    "condition_of",
    "configured",
    "dump_config",
    "known_options",
    "load_config",
    "option_problems",
    "parse_config",
    "parse_features",
    "prediction_names",
    "product",
    "suggest",
    "write_config",
]
