"""The pins of a single request: items with a place of their own, above all other re-rank rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from tamis.cascade import Cascade
from tamis.data import UNKNOWN
from tamis.rerank import Pins
from tamis.schema import RequestError
from tamis.service.answer import unknown_item
from tamis.service.assembly import Parts

NAME = "request.pins"
"""Name of the rule in the trace, and in `broken_rules`."""


def pinned(
    cascade: Cascade, pins: Mapping[str, int], n: int, parts: Parts, version: str
) -> Cascade:
    """The cascade with a last, most important re-rank rule for the pins; without pins unchanged.

    Args:
        pins: item id → place, from 1; see `Request.pins`.
        n: places of the slate.

    Raises RequestError for an item that is unknown, or a place beyond the slate.
    """
    if not pins:
        return cascade
    for item, place in pins.items():
        if place > n:
            raise RequestError(
                f"pins[{item}] = {place}: the slate has {n} places; give a place from 1 to {n}, "
                "or a larger `n`",
                "pins",
            )
    ids = list(pins)
    rows = parts.items.rows_of_texts(ids)
    for item, row in zip(ids, rows.tolist(), strict=True):
        if row == UNKNOWN:
            raise RequestError(f"pins: {unknown_item(parts.config, item, version)}", "pins")
    rule = Pins(items=tuple(ids), places=tuple(pins.values())).of_rows(rows.astype(np.int32))
    return replace(cascade, rerank={**cascade.rerank, NAME: rule})
