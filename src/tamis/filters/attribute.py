"""Keeps only items for which `column op value` holds."""

from __future__ import annotations

from typing import Any

from tamis.data import Condition, Table
from tamis.filters._base import ItemMaskFilter
from tamis.runtime import Bool


class AttributeConfig(Condition):
    """Options of the attribute filter: a condition on the items' table."""

    reason: str = ""
    """The reason that the trace gives. If empty: "not COLUMN OP VALUE"."""


class AttributeFilter(ItemMaskFilter):
    """Keeps items for which `column op value` holds: `price <= 100`, `genres contains Drama`.

    When to use: a fixed condition on the items' table: price, language, quality score.
    Cost: one lookup per candidate; the condition is evaluated once, at the fit.
    Source: common practice.
    """

    name = "attribute"
    Config = AttributeConfig
    config: AttributeConfig

    def __init__(self, config: AttributeConfig | None = None, **options: Any) -> None:
        super().__init__(config, **options)
        rule = f"{self.config.column} {self.config.op} {self.config.value}"
        self.reason = self.config.reason or f"not {rule}"

    def _allowed(self, items: Table) -> Bool:
        return self.config.holds(items.frame, "filter `attribute`")
