"""Coverage of features in a project's tables: which events have a value, and which a new one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.data import Dataset, Texts
from tamis.features._calendar import CONTEXTS, LocalCalendar
from tamis.features._place import GEOHASH, cells_of
from tamis.features._sources import Sources, as_lists, is_history
from tamis.features.encoders import VarLenEncoder, numbers
from tamis.features.vocabulary import FIRST, Vocabulary
from tamis.runtime import Bool, Int32
from tamis.schema import DenseFeat, Feature, ProjectConfig, Side, SparseFeat, VarLenSparseFeat


@dataclass(frozen=True)
class TableCoverage:
    """How much of the data has a value of one feature. Shares are in [0, 1]."""

    feature: str
    side: str
    """user, item or context."""
    kind: str
    rows: float | None
    """Share of the users or items that have a value; None for histories and the context."""
    events: float
    """Share of the events that have a value; of a history, whose user had such an event before."""
    distinct: int
    """Number of distinct values; of lists, of their elements."""
    unseen: float | None
    """Share of the events after the cut whose values were in no event before it; None for numbers
    and histories, and where no event is after the cut."""


class _Column(NamedTuple):
    """The values of a feature, and the value of each event."""

    values: pl.Series
    """(N,)."""
    of_event: NDArray[np.integer]
    """(E,) the row of `values` of each event."""


class _Coded(NamedTuple):
    """The values (N,) as codes."""

    present: Bool
    codes: Int32 | None
    """(N, w) of ids, 0 = none; None for numbers."""
    distinct: int


def table_coverage(
    data: Dataset, features: Sequence[Feature], config: ProjectConfig | None, cut: int
) -> list[TableCoverage]:
    """The coverage of each feature in `data`, in their order.

    Args:
        cut: time in ms; events at or after it are checked for values that none before it has.

    Raises ConfigError where features contradict the tables, DataError for columns of a wrong type.
    """
    sources = Sources(data, features, config)
    calendar = LocalCalendar.of(config, data)
    return [
        _of_history(data, f)
        if isinstance(f, VarLenSparseFeat) and is_history(f)
        else _of_column(sources, f, _column(sources, f, calendar), cut)
        for f in features
    ]


def _of_column(sources: Sources, feature: Feature, column: _Column, cut: int) -> TableCoverage:
    side = sources.sides[feature.name]
    coded = _coded(sources, feature, column.values)
    own = coded.present[:-1]  # the last row is an unknown user or item
    after = sources.data.events.time >= cut
    return TableCoverage(
        feature=feature.name,
        side=str(side),
        kind=feature.kind,
        rows=None if side is Side.CONTEXT else float(own.mean()) if len(own) else 0.0,
        events=float(coded.present[column.of_event].mean()) if len(column.of_event) else 0.0,
        distinct=coded.distinct,
        unseen=_unseen(coded, column.of_event, after),
    )


def _unseen(coded: _Coded, of_event: NDArray[np.integer], after: Bool) -> float | None:
    """Share of the events `after` whose values are in no other event."""
    if coded.codes is None or not after.any():
        return None
    before = np.unique(of_event[~after])
    seen = np.zeros(int(coded.codes.max(initial=0)) + 1, np.bool_)
    seen[coded.codes[before]] = True
    seen[0] = False
    fresh = coded.present & ~seen[coded.codes].any(axis=1)
    return float(fresh[of_event[after]].mean())


def _column(sources: Sources, feature: Feature, calendar: LocalCalendar) -> _Column:
    events = sources.data.events
    side = sources.sides[feature.name]
    if side is not Side.CONTEXT:
        rows = events.user if side is Side.USER else events.item
        values = sources.row_values(feature)
        return _Column(values, np.where(rows >= 0, rows, len(values) - 1))
    if feature.source in sources.context:
        return _of_texts(sources.context[feature.source])
    if feature.source == GEOHASH:
        context = events.context
        assert context is not None
        assert context.latitude is not None
        assert context.longitude is not None
        precision = feature.precision if isinstance(feature, SparseFeat) else None
        return _of_texts(cells_of(context.latitude, context.longitude, precision))
    values = pl.Series(feature.source, np.arange(CONTEXTS[feature.source]))
    return _Column(values, calendar.value(feature.source, events.time))


def _of_texts(texts: Texts) -> _Column:
    return _Column(texts.choices, texts.code)


def _coded(sources: Sources, feature: Feature, values: pl.Series) -> _Coded:
    if isinstance(feature, DenseFeat):
        raw = numbers(values, feature.width)
        present: Bool = np.isfinite(raw).min(axis=1)
        return _Coded(present, None, len(np.unique(raw[present], axis=0)))
    if isinstance(feature, SparseFeat):
        vocabulary = Vocabulary.fit(values)
        codes = vocabulary.encode(values)[:, None]
    else:
        lists = as_lists(feature, values)
        plain = feature.model_copy(update={"min_count": 1, "vocabulary": "dictionary"})
        encoder = VarLenEncoder.fit(plain, lists)
        vocabulary, codes = encoder.vocabulary, encoder.encode(lists)
    return _Coded(codes.max(axis=1) > 0, codes, vocabulary.size - FIRST)


def _of_history(data: Dataset, feature: VarLenSparseFeat) -> TableCoverage:
    """Of a history: whether an event's user had one of its behaviours before."""
    events, users = data.events, len(data.users)
    counted = np.isin(events.behaviour, [data.code(name) for name in feature.history])
    first = np.full(users + 1, np.iinfo(np.int64).max)
    np.minimum.at(first, events.user[counted], events.arrival[counted])
    first[-1] = np.iinfo(np.int64).max  # unknown users
    had = first[events.user] < events.time
    return TableCoverage(
        feature=feature.name,
        side=str(Side.USER),
        kind=feature.kind,
        rows=None,
        events=float(had.mean()) if len(had) else 0.0,
        distinct=len(np.unique(events.item[counted])),
        unseen=None,
    )
