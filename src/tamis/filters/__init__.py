"""Filters: remove items that may not be shown. One file per filter, named as in `tamis.toml`."""

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
