"""What may not be shown: one file per rule.

Every filter has `fit(data, context)` (reads what it needs of the items' table or the declared
behaviours), `excluded(queries)`, `keep(queries, candidates)`, `save(directory)` and
`load(directory, config)`; its short name in `tamis.toml` is its file's name.
"""

from tamis.filters.attribute import AttributeConfig, AttributeFilter
from tamis.filters.available import AvailableConfig, AvailableFilter
from tamis.filters.request import RequestConfig, RequestFilter
from tamis.filters.seen import SeenConfig, SeenFilter

__all__ = [
    "AttributeConfig",
    "AttributeFilter",
    "AvailableConfig",
    "AvailableFilter",
    "RequestConfig",
    "RequestFilter",
    "SeenConfig",
    "SeenFilter",
]
