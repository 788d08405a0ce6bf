"""What may not be shown: one file per rule.

Every filter has `fit(data, context)` (reads what it needs of the tables, the events or the declared
behaviours), `excluded(queries)`, `keep(queries, candidates)`, `save(directory)` and
`load(directory, config)`; its short name in `tamis.toml` is its file's name."""

from tamis.filters._base import BaseFilter
from tamis.filters.age_limit import AgeLimitConfig, AgeLimitFilter
from tamis.filters.attribute import AttributeConfig, AttributeFilter
from tamis.filters.available import AvailableConfig, AvailableFilter
from tamis.filters.blocked import BlockedConfig, BlockedFilter
from tamis.filters.bought import BoughtConfig, BoughtFilter
from tamis.filters.exposed import ExposedConfig, ExposedFilter
from tamis.filters.hidden import HiddenConfig, HiddenFilter
from tamis.filters.out_of_stock import OutOfStockConfig, OutOfStockFilter
from tamis.filters.region import RegionConfig, RegionFilter
from tamis.filters.request import RequestConfig, RequestFilter
from tamis.filters.seen import SeenConfig, SeenFilter

__all__ = [
    "AgeLimitConfig",
    "AgeLimitFilter",
    "AttributeConfig",
    "AttributeFilter",
    "AvailableConfig",
    "AvailableFilter",
    "BaseFilter",
    "BlockedConfig",
    "BlockedFilter",
    "BoughtConfig",
    "BoughtFilter",
    "ExposedConfig",
    "ExposedFilter",
    "HiddenConfig",
    "HiddenFilter",
    "OutOfStockConfig",
    "OutOfStockFilter",
    "RegionConfig",
    "RegionFilter",
    "RequestConfig",
    "RequestFilter",
    "SeenConfig",
    "SeenFilter",
]
