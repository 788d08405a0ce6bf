"""Inputs of a request's context: of its time, its place and its declared columns."""

from __future__ import annotations

import numpy as np

from tamis.data import Context, Texts
from tamis.features._fitted import Fitted, user_order
from tamis.features._place import GEOHASH, cells_of
from tamis.features.layout import Layout
from tamis.runtime import Int32, Int64
from tamis.schema import Feature, Side, SparseFeat

MOST_KEPT = 10_000
"""Most texts of requests whose codes are kept."""


class ContextInputs:
    """Encodes the context of requests, for training rows and requests alike."""

    def __init__(self, fitted: Fitted, layout: Layout) -> None:
        self._encoders = fitted.encoders
        self._of_time = fitted.contexts
        self._kept: dict[tuple[str, ...], Int32] = {}
        self._calendar = fitted.calendar
        self._features = [
            f
            for f in user_order(fitted.encoders.features, fitted.sides)
            if fitted.sides[f.name] is Side.CONTEXT
        ]
        self._starts = {
            f.name: layout.table[fitted.encoders.table_of(f)].start for f in self._features
        }

    @property
    def width(self) -> int:
        """Number of id columns."""
        return len(self._features)

    @property
    def columns(self) -> tuple[str, ...]:
        """The declared columns of context that are among the inputs."""
        sources = dict.fromkeys(f.source for f in self._features)
        return tuple(s for s in sources if s not in self._of_time and s != GEOHASH)

    @property
    def reads_place(self) -> bool:
        """Whether the place of the request is among the inputs."""
        return any(f.source == GEOHASH for f in self._features)

    def write(self, time: Int64, context: Context | None, out: Int32) -> None:
        """Writes the fused-table rows of requests at `time` (Q,) in ms into `out` (Q, width).

        A column that a request does not give is missing.
        """
        for k, feature in enumerate(self._features):
            table = self._of_time.get(feature.source)
            if table is not None:
                out[:, k] = table[self._calendar.value(feature.source, time)]
                continue
            texts = None if context is None else _texts(feature, context)
            start = np.int32(self._starts[feature.name])
            if texts is None:
                out[:, k] = start
            else:
                out[:, k] = self._codes(feature, texts)[texts.code] + start

    def _codes(self, feature: Feature, texts: Texts) -> Int32:
        """(L + 1,) the code of each choice. Those of single requests are kept, as their texts
        repeat."""
        if len(texts.names) > 1:
            return self._encoders.codes(feature, texts.choices)[:, 0]
        key = (feature.name, *texts.names.to_list())
        if key not in self._kept:
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            self._kept[key] = self._encoders.codes(feature, texts.choices)[:, 0]
        return self._kept[key]


def _texts(feature: Feature, context: Context) -> Texts | None:
    """(Q,) the values of a column of context, or the cells of the places."""
    if feature.source == GEOHASH:
        precision = feature.precision if isinstance(feature, SparseFeat) else None
        return cells_of(context.latitude, context.longitude, precision)
    return context.columns.get(feature.source)
