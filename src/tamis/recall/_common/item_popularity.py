"""Time-decayed popularity of items, of which some come or change after the fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.data import Dataset
from tamis.recall._common.item_columns import UNKNOWN_TIME
from tamis.recall._common.popularity import log_popularity, with_publication
from tamis.runtime import Float64, Int32, Int64, grown


@dataclass(frozen=True, eq=False)
class ItemPopularity:
    """The likes of each item and its publication, from which its popularity is computed."""

    likes: Float64
    """(I,) log2 of the decayed likes of the fitted log; -inf without any."""
    published: Int64
    """(I,) ms, see `publication_times`; (0,) if no column is declared."""
    end: int
    """End of the fitted log, ms."""
    half_life: float
    """Days after which a like, or a publication, counts half."""
    new_item_weight: float
    """Weight of a publication, in likes of weight 1."""
    floor: float
    """Key of the items without likes and publication: below those of all items of the fit."""

    @classmethod
    def fit(
        cls, data: Dataset, published: Int64, half_life: float, new_item_weight: float
    ) -> ItemPopularity:
        """Measured on a log."""
        return cls.of(
            log_popularity(data, half_life), published, data.end, half_life, new_item_weight
        )

    @classmethod
    def of(
        cls,
        likes: Float64,
        published: Int64,
        end: int,
        half_life: float,
        new_item_weight: float,
    ) -> ItemPopularity:
        """Of the items of a fit, which determine `floor`."""
        found = cls(likes, published, end, half_life, new_item_weight, 0.0)
        key = found._keys(likes, published)
        real = np.isfinite(key)
        return replace(found, floor=float(key[real].min() if real.any() else 0.0) - 1.0)

    def _keys(self, likes: Float64, published: Int64) -> Float64:
        return with_publication(likes, published, self.end, self.half_life, self.new_item_weight)

    def keys(self, rows: Int32 | Int64 | None = None) -> Float64:
        """log2 of the popularity of the items `rows` (m,), or of all; `floor` without any."""
        likes, published = self.likes, self.published
        if rows is not None:
            likes = likes[rows]
            published = published[rows] if len(published) else published
        key = self._keys(likes, published)
        return np.where(np.isfinite(key), key, self.floor)

    def replaced(self, rows: Int32, published: Int64, n: int) -> ItemPopularity:
        """That of n items after `rows` (m,) were added or changed: new items have no likes.

        published: (m,) or (0,) ms.
        """
        times = self.published
        if len(times):
            times = grown(times, n, UNKNOWN_TIME)
            times[rows] = published
        return replace(self, likes=grown(self.likes, n, -np.inf), published=times)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays by the names under which channels save them."""
        return {"likes": self.likes, "published": self.published}

    def facts(self) -> dict[str, Any]:
        """The learnt numbers, as JSON values."""
        return {"end": self.end, "floor": self.floor}

    @classmethod
    def within(
        cls,
        arrays: Mapping[str, NDArray[Any]],
        facts: Mapping[str, Any],
        half_life: float,
        new_item_weight: float,
    ) -> ItemPopularity:
        """From what `arrays` and `facts` gave."""
        return cls(
            arrays["likes"], arrays["published"], int(facts["end"]), half_life, new_item_weight,
            float(facts["floor"]),
        )  # fmt: skip
