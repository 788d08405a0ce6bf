"""Fits a project's feature space: finds the table of each feature, fits encoders and scales."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.data import Dataset, item_categories
from tamis.features._calendar import CONTEXTS, LocalCalendar
from tamis.features._fitted import Fitted, Scale, item_order, user_order
from tamis.features._group_choice import StatisticsPlan, plan_groups
from tamis.features._lookup import Attributes, HistoryLookup
from tamis.features._place import Distance
from tamis.features._row_values import (
    category_codes,
    forget_ids,
    history_values,
    scaled_numbers,
    seen_codes,
)
from tamis.features._sources import Sources, is_history
from tamis.features.encoding import Encoders, LayoutBuilder, check_features
from tamis.features.layout import Layout
from tamis.features.own_items import OwnItemFeatures, wanted
from tamis.features.pair_features import (
    POSITION,
    Category,
    Interest,
    Number,
    PositionInput,
    RecallColumn,
)
from tamis.features.statistics import OfflineStatistics, Recipes
from tamis.features.vocabulary import UNSEEN, Vocabulary
from tamis.runtime import Int32
from tamis.schema import (
    ConfigError,
    DenseFeat,
    Feature,
    ProjectConfig,
    Side,
    VarLenSparseFeat,
)

_SAMPLE = 25_000
"""Number of events at whose times the scales of the statistics are fitted."""


class SpaceOptions(NamedTuple):
    """Arguments of `FeatureSpace.fit`, which describes them."""

    config: ProjectConfig | None
    windows: Sequence[str] | None
    item_category: str | None
    groups: Sequence[str] | Literal["auto"] | None
    seed: int
    towers: bool = False
    former: Fitted | None = None


def fit_space(
    data: Dataset,
    features: Sequence[Feature],
    columns: Mapping[str, NDArray[Any]] | Sequence[str],
    options: SpaceOptions,
) -> Fitted:
    """The fitted state of a space; for the arguments see `FeatureSpace.fit`."""
    config, windows, item_category, groups, seed, towers, former = options
    if features or not towers:
        check_features(features)
    sources = Sources(data, features, config)
    encoders = Encoders((), {}, {}, {})
    if features:
        encoders = Encoders.fit(features, sources.training_values)
    if former is not None:
        encoders = former.encoders.grown(encoders)
        groups = _counted_by(former)
    builder = LayoutBuilder()
    encoders.add_tables(builder)
    for f in features:
        encoders.add_columns(builder, f, sources.sides[f.name])
    layout = builder.build()
    items = _attributes(sources, encoders, layout, Side.ITEM)
    if windows is None:
        windows = config.windows if config is not None else ()
    if groups and not windows:
        raise ConfigError(
            f"groups = {groups!r} needs windows, and there are none: give `windows`, such as "
            '("7d", "all"), or no `groups`'
        )
    plan = plan_groups(data, encoders, config, groups) if windows else StatisticsPlan()
    recipes = Recipes.fit(data, windows, *plan) if windows else None
    if former is not None and recipes is not None and former.recipes is not None:
        recipes = recipes.with_priors_of(former.recipes)
    fitted = Fitted(
        encoders=encoders,
        sides=sources.sides,
        users=_attributes(sources, encoders, layout, Side.USER),
        items=items,
        contexts=_contexts(sources, encoders, layout),
        histories=_histories(sources, encoders, layout),
        recipes=recipes,
        user_scale=None,
        item_scale=None,
        group_scales=(),
        pair_scales=(),
        interest=_nothing_of_pairs(data)
        if towers
        else _interest(sources, encoders, config, item_category, former),
        calendar=LocalCalendar.of(config, data),
        distance=None if towers else Distance.fit(data, config),
    )
    if former is not None:
        return _continued(fitted, former)
    if recipes is not None:
        fitted = _with_scales(fitted, data, recipes, seed)
    if isinstance(columns, Mapping):
        return with_columns(fitted, columns)
    named = tuple(RecallColumn(name) for name in columns if _is_recall(name))
    return replace(fitted, interest=replace(fitted.interest, columns=named))


def _counted_by(former: Fitted) -> list[str]:
    """The attributes of a fitted space by which events are counted, as `groups` names them."""
    recipes = former.recipes
    if recipes is None:
        return []
    return [*(g.groups.name for g in recipes.groups), *(p.name for p in recipes.pairs)]


def _continued(fitted: Fitted, former: Fitted) -> Fitted:
    """A copy of `fitted` with the scales and the choice of inputs of a former fit, which the
    weights of models were learnt with."""
    distance = fitted.distance
    if distance is not None and former.distance is not None:
        distance = replace(distance, mean=former.distance.mean, std=former.distance.std)
    return replace(
        fitted,
        user_scale=former.user_scale,
        item_scale=former.item_scale,
        group_scales=former.group_scales,
        pair_scales=former.pair_scales,
        interest=replace(
            fitted.interest,
            columns=former.interest.columns,
            position=former.interest.position,
        ),
        distance=distance,
    )


def with_columns(fitted: Fitted, columns: Mapping[str, NDArray[Any]]) -> Fitted:
    """A copy of `fitted` with the scales of recall's columns, and of the position, fitted on
    `columns`."""
    fits = tuple(
        RecallColumn.fit(name, values) for name, values in columns.items() if _is_recall(name)
    )
    position = PositionInput.fit(columns[POSITION]) if POSITION in columns else None
    return replace(fitted, interest=replace(fitted.interest, columns=fits, position=position))


def _is_recall(name: str) -> bool:
    return name.startswith(("rank:", "score:"))


def _attributes(sources: Sources, encoders: Encoders, layout: Layout, side: Side) -> Attributes:
    order = user_order if side is Side.USER else item_order
    chosen = [
        f
        for f in order(encoders.features, sources.sides)
        if sources.sides[f.name] is side and not is_history(f)
    ]
    n = len(sources.data.users if side is Side.USER else sources.data.items) + 1
    ids, dense = encoders.encode(layout, chosen, sources.row_values, n)
    forget_ids(encoders, layout, chosen, sources.is_row_id, ids, np.array([n - 1]))
    return Attributes(ids, dense)


def _contexts(sources: Sources, encoders: Encoders, layout: Layout) -> dict[str, Int32]:
    out: dict[str, Int32] = {}
    for f in encoders.features:
        if sources.sides[f.name] is Side.CONTEXT and f.source in CONTEXTS:
            values = pl.Series(f.source, np.arange(CONTEXTS[f.source]))
            start = layout.table[encoders.table_of(f)].start
            out[f.source] = encoders.codes(f, values)[:, 0] + np.int32(start)
    return out


def _histories(sources: Sources, encoders: Encoders, layout: Layout) -> tuple[HistoryLookup, ...]:
    out: list[HistoryLookup] = []
    for f in encoders.features:
        if not isinstance(f, VarLenSparseFeat) or not is_history(f):
            continue
        column = sources.item_column(f)
        codes = history_values(encoders, sources.features, f, sources.row_values(f))
        # As many columns as the item with the most values needs.
        codes = codes[:, : max(1, int((codes != 0).sum(axis=1).max(initial=0)))]
        if column in sources.item_ids:
            codes[-1] = UNSEEN
        start = layout.table[encoders.table_of(f)].start
        wanted = np.array([b.name in f.history for b in sources.data.behaviours], np.bool_)
        lookup = HistoryLookup(
            f.name, wanted, np.ascontiguousarray(codes + np.int32(start)), start, f.max_len
        )
        out.append(lookup)
    return tuple(out)


def _with_scales(fitted: Fitted, data: Dataset, recipes: Recipes, seed: int) -> Fitted:
    """A copy with the scales of the statistics, fitted on a sample of events.

    Statistics are read both at the times of those events and at the end of the data: at the times
    of events alone, hardly any user would have been away for long.
    """
    events = data.events
    known = np.flatnonzero((events.user >= 0) & (events.item >= 0))
    if len(known) > _SAMPLE:
        known = np.random.default_rng(seed).choice(known, _SAMPLE, replace=False)
    statistics = OfflineStatistics(data, recipes)
    time = np.concatenate([events.time[known], np.full(len(known), data.end)])
    user, rows = np.tile(events.user[known], 2), np.arange(len(time))
    item = np.tile(events.item[known], 2)
    scales = (
        Scale.fit(statistics.group(k, g.groups.set_of(item), time))
        for k, g in enumerate(recipes.groups)
    )
    return replace(
        fitted,
        user_scale=Scale.fit(statistics.users(user, time)),
        item_scale=Scale.fit(statistics.items(item, time)),
        group_scales=tuple(scales),
        pair_scales=tuple(
            Scale.fit(statistics.pair(k, user, time, rows, item)) for k in range(len(recipes.pairs))
        ),
    )


def _nothing_of_pairs(data: Dataset) -> Interest:
    """No features of user and candidate, which a model with two separate sides cannot read."""
    positive = np.array([b.positive for b in data.behaviours], np.bool_)
    return Interest(positive, (), (), (), None)


def _interest(
    sources: Sources,
    encoders: Encoders,
    config: ProjectConfig | None,
    item_category: str | None,
    former: Fitted | None = None,
) -> Interest:
    data = sources.data
    liked = data.events.item[data.positive]
    popular = np.bincount(liked[liked >= 0], minlength=len(data.items)).astype(np.float64)
    categories: list[Category] = []
    numeric: list[Number] = []
    for f in item_order(encoders.features, sources.sides):
        if isinstance(f, DenseFeat):
            if not encoders.is_id(f) and f.width == 1:
                numeric.append(Number(f.name, scaled_numbers(encoders, f, sources.row_values(f))))
        elif not sources.is_row_id(f):
            codes = seen_codes(encoders.codes(f, sources.row_values(f)))
            size = encoders.size(f)
            categories.append(_category(f.name, codes, popular, size))
    column = item_category or (config.items.category if config is not None else None)
    read = {f.source for f in item_order(encoders.features, sources.sides)}
    if column is not None and column not in read:
        ours = config is not None and column == config.items.category
        separator = config.items.category_separator if config is not None and ours else None
        flat = item_categories(data.items, column, separator).explode()
        vocabulary = Vocabulary.fit(flat)
        codes = category_codes(data.items, column, separator, vocabulary)
        codes = np.append(codes, np.zeros((1, codes.shape[1]), np.int32), axis=0)
        category = _category(column, codes, popular, vocabulary.size)
        categories.append(replace(category, vocabulary=vocabulary, separator=separator))
    positive = np.array([b.positive for b in data.behaviours], np.bool_)
    wants_own = wanted(data, config) if former is None else former.interest.own is not None
    own = OwnItemFeatures.fit(data) if wants_own else None
    return Interest(positive, (), tuple(categories), tuple(numeric), own)


def _category(name: str, codes: Int32, popular: NDArray[np.float64], size: int) -> Category:
    """The category of `codes` (N + 1, w) below `size`, with `popular` (N,) positives per item.

    Base share of a code: (positives of items that have it + 1) / (all positives + 1).
    """
    width = max(1, int((codes > 0).sum(axis=1).max(initial=0)))
    codes = np.ascontiguousarray(codes[:, :width])
    weight = np.repeat(popular, width)
    counts = np.bincount(codes[:-1].reshape(-1), weight, minlength=size)
    return Category(name, codes, ((counts + 1) / (popular.sum() + 1)).astype(np.float32))
