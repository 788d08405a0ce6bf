"""What a project's feature space learnt, and the order of its inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tamis.features._lookup import Attributes, HistoryLookup
from tamis.features.encoding import Encoders
from tamis.features.pair_features import Interest
from tamis.features.statistics import Recipes
from tamis.runtime import Float32, Int32
from tamis.schema import Feature, Side


@dataclass(frozen=True, eq=False)
class Scale:
    """Makes statistics z-scores with the training data's means and deviations."""

    mean: Float32
    std: Float32

    def __call__(self, values: Float32) -> Float32:
        return (values - self.mean) / self.std

    @classmethod
    def fit(cls, values: Float32) -> Scale:
        if not len(values):
            width = int(values.shape[1])
            return cls(np.zeros(width, np.float32), np.ones(width, np.float32))
        wide = values.astype(np.float64)
        mean = np.asarray(wide.mean(axis=0), np.float32)
        std = np.asarray(wide.std(axis=0), np.float32)
        std[std <= 1e-6 * np.maximum(1.0, np.abs(mean))] = 1.0  # a constant's noise is no scale
        return cls(mean, std)


@dataclass(frozen=True, eq=False)
class Fitted:
    """Everything a space learnt from its training data."""

    encoders: Encoders
    sides: Mapping[str, Side]
    """Side of each declared feature; history features are the user's."""
    users: Attributes
    items: Attributes
    contexts: Mapping[str, Int32]
    """Fused-table rows of each value of the context features."""
    histories: tuple[HistoryLookup, ...]
    recipes: Recipes | None
    user_scale: Scale | None
    item_scale: Scale | None
    interest: Interest


def is_history(feature: Feature) -> bool:
    return feature.kind == "varlen" and bool(feature.history)


def user_order(features: Sequence[Feature], sides: Mapping[str, Side]) -> list[Feature]:
    """The user's attributes, the context, the histories: the order of their inputs."""
    own = [f for f in features if sides[f.name] is Side.USER]
    moment = [f for f in features if sides[f.name] is Side.CONTEXT]
    return [
        *(f for f in own if not is_history(f)),
        *moment,
        *(f for f in own if is_history(f)),
    ]


def item_order(features: Sequence[Feature], sides: Mapping[str, Side]) -> list[Feature]:
    return [f for f in features if sides[f.name] is Side.ITEM]
