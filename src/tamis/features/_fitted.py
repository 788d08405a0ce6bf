"""The fitted state of a project's feature space, and the order of its inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tamis.features._calendar import LocalCalendar
from tamis.features._groups import Groups
from tamis.features._lookup import Attributes, HistoryLookup
from tamis.features._place import Distance
from tamis.features._sources import is_history
from tamis.features.encoding import Encoders
from tamis.features.group_statistics import GroupRecipe
from tamis.features.pair_features import Interest
from tamis.features.pair_statistics import PairRecipe
from tamis.features.statistics import Recipes
from tamis.runtime import Float32, Int32
from tamis.schema import Feature, Side


@dataclass(frozen=True, eq=False)
class Scale:
    """z-scores of statistics, with the means and standard deviations of training data."""

    mean: Float32
    """(S,)."""
    std: Float32
    """(S,), 1 for constant columns."""

    def __call__(self, values: Float32) -> Float32:
        """(n, S) statistics as z-scores."""
        scaled = values - self.mean
        scaled /= self.std
        return scaled

    @classmethod
    def fit(cls, values: Float32) -> Scale:
        """The scale of `values` (n, S); the identity where n = 0."""
        if not len(values):
            width = int(values.shape[1])
            return cls(np.zeros(width, np.float32), np.ones(width, np.float32))
        wide = values.astype(np.float64)
        mean = np.asarray(wide.mean(axis=0), np.float32)
        std = np.asarray(wide.std(axis=0), np.float32)
        std[std <= 1e-6 * np.maximum(1.0, np.abs(mean))] = 1.0  # rounding noise
        return cls(mean, std)


@dataclass(frozen=True, eq=False)
class Fitted:
    """Everything that a feature space holds after its fit."""

    encoders: Encoders
    sides: Mapping[str, Side]
    """Side of each declared feature; history features belong to the user."""
    users: Attributes
    items: Attributes
    contexts: Mapping[str, Int32]
    """Fused-table rows of each value, per context feature."""
    histories: tuple[HistoryLookup, ...]
    recipes: Recipes | None
    user_scale: Scale | None
    item_scale: Scale | None
    group_scales: tuple[Scale, ...]
    """Of the statistics of each attribute in `recipes.groups`; () = these are not among the
    inputs."""
    pair_scales: tuple[Scale, ...]
    """Of the statistics of each attribute in `recipes.pairs`; () as for `group_scales`."""
    interest: Interest
    calendar: LocalCalendar = field(default_factory=LocalCalendar)
    """Time zone and holidays that features of the request's time follow."""
    distance: Distance | None = None
    """Distance of request and candidate; None where requests or items have no places."""

    @property
    def pair_recipes(self) -> tuple[PairRecipe, ...]:
        """The recipes of the pairs whose statistics are among the inputs."""
        return self.recipes.pairs if self.recipes is not None and self.pair_scales else ()

    @property
    def group_recipes(self) -> tuple[GroupRecipe, ...]:
        """The recipes of the attributes of items whose statistics are among the inputs."""
        return self.recipes.groups if self.recipes is not None and self.group_scales else ()

    @property
    def groups(self) -> list[tuple[Groups, Scale]]:
        """The values and the scale of each of these attributes."""
        return [(r.groups, s) for r, s in zip(self.group_recipes, self.group_scales, strict=False)]


def user_order(features: Sequence[Feature], sides: Mapping[str, Side]) -> list[Feature]:
    """Features of the user's side in the order of their inputs: attributes, context, histories."""
    own = [f for f in features if sides[f.name] is Side.USER]
    context = [f for f in features if sides[f.name] is Side.CONTEXT]
    return [
        *(f for f in own if not is_history(f)),
        *context,
        *(f for f in own if is_history(f)),
    ]


def item_order(features: Sequence[Feature], sides: Mapping[str, Side]) -> list[Feature]:
    """Features of the item's side in the order of their inputs."""
    return [f for f in features if sides[f.name] is Side.ITEM]
