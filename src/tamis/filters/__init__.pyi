from ._base import BaseFilter
from .age_limit import AgeLimitConfig, AgeLimitFilter
from .attribute import AttributeConfig, AttributeFilter
from .available import AvailableConfig, AvailableFilter
from .blocked import BlockedConfig, BlockedFilter
from .bought import BoughtConfig, BoughtFilter
from .condition import ConditionConfig, ConditionFilter, names_of
from .exposed import ExposedConfig, ExposedFilter
from .hidden import HiddenConfig, HiddenFilter
from .out_of_stock import OutOfStockConfig, OutOfStockFilter
from .region import RegionConfig, RegionFilter
from .request import RequestConfig, RequestFilter
from .seen import SeenConfig, SeenFilter

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
    "ConditionConfig",
    "ConditionFilter",
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
    "names_of",
]
