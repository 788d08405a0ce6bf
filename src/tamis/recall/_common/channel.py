"""What every channel shares: its config, fitting on a log or a frame, recommending, saving."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.cascade import FitContext, Queries, Recalled, at_end
from tamis.data import Dataset, columns_of, dataset_from_frame
from tamis.schema import (
    Component,
    ConfigError,
    DataError,
    NotFittedError,
    described,
    known_options,
    read_described,
    read_json,
    reading,
)

if TYPE_CHECKING:
    import pandas as pd


class BaseChannel(Component, ABC):
    """A channel whose fitted state is a dict of arrays and a dict of plain values.

    A subclass names its `Config`, fills `self._arrays` and `self._facts` in `_fit` and answers
    in `_recall`; saving, loading (memory-mapped), frames and errors come from here.
    """

    reads: tuple[str, ...] = ()
    """What it reads of a request's context: "interests", "place", "city"."""

    def __init__(self, config: Any = None, **options: Any) -> None:
        super().__init__(config, **options)
        self._arrays: dict[str, NDArray[Any]] = {}
        self._facts: dict[str, Any] | None = None
        self._data: Dataset | None = None
        self._id_types: tuple[pl.DataType, pl.DataType] = (pl.String(), pl.String())

    def fit(
        self,
        data: Dataset | pl.DataFrame | pd.DataFrame,
        context: FitContext | None = None,
        *,
        user: str = "user_id",
        item: str = "item_id",
        time: str | None = None,
        value: str | None = None,
        min_value: float | None = None,
    ) -> Self:
        """Learns from a data set, or from a frame of interactions whose columns are named.

        `time=None` takes the rows' order for time; with `value` and `min_value`, rows below
        min_value are seen but not liked. A second fit replaces the first.
        """
        if not isinstance(data, Dataset):
            names = [name for name in (user, item, time, value) if name is not None]
            frame = columns_of(data, names)
            data = dataset_from_frame(
                frame, user=user, item=item, time=time, value=value, min_value=min_value
            )
            self._id_types = (frame.schema[user], frame.schema[item])
        self._facts, self._arrays = None, {}
        facts = self._fit(data, context or FitContext())
        self._facts = {**facts, "items": len(data.items)}
        self._data = data
        for array in self._arrays.values():
            array.flags.writeable = False  # as after load: one type for the compiled kernels
        return self

    @abstractmethod
    def _fit(self, data: Dataset, context: FitContext) -> dict[str, Any]:
        """Fills `self._arrays`; returns plain values to keep beside them."""

    def recall(self, queries: Queries, k: int) -> Recalled:
        """Each query's best k items, none of `queries.exclude`; padded by -1 and -inf.

        Raises NotFittedError before `fit`, ConfigError where k < 1.
        """
        if self._facts is None:
            raise NotFittedError(f"channel {self.name!r} is not fitted yet: call fit(data) first")
        if k < 1:
            raise ConfigError(f"channel {self.name!r}: k = {k}, but at least 1 item must be asked")
        if len(queries) == 0:
            return nothing(0, k)
        return self._recall(queries, k)

    @abstractmethod
    def _recall(self, queries: Queries, k: int) -> Recalled:
        """`recall` of a fitted channel, at least one query, k >= 1."""

    def recommend(
        self, users: Sequence[object] | pl.Series, n: int = 10, exclude_seen: bool = True
    ) -> pl.DataFrame:
        """The best n items for each of `users` (external ids) after the log it was fitted on.

        Returns (user, item, rank, score), ranks from 1; a user may get fewer than n. Unknown
        users get what the channel has for strangers. Raises NotFittedError after `load`: the log
        is not saved with a channel.
        """
        if self._facts is None or self._data is None:
            raise NotFittedError(
                f"channel {self.name!r} has no log to recommend from: call fit(data) first, "
                f"or recall(queries, k) on a loaded channel"
            )
        data = self._data
        found = self.recall(at_end(data, data.users.rows(pl.Series(users)), exclude_seen), n)
        asked, place = np.nonzero(found.item >= 0)
        return pl.DataFrame(
            {
                "user": pl.Series(users).gather(asked),
                "item": data.items.ids.gather(found.item[asked, place]).cast(self._id_types[1]),
                "rank": (place + 1).astype(np.int32),
                "score": found.score[asked, place],
            }
        )

    def save(self, directory: Path) -> None:
        """Writes the fitted state into `directory` (made if absent)."""
        if self._facts is None:
            raise NotFittedError(f"channel {self.name!r} has nothing to save: call fit(data) first")
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        for name, array in self._arrays.items():
            np.save(directory / f"{name}.npy", array)
        about = {
            "name": self.name,
            "options": self.config.model_dump(mode="json"),
            "arrays": described(self._arrays),
            "facts": self._facts,
        }
        (directory / "channel.json").write_text(json.dumps(about, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, directory: Path, config: Any = None) -> Self:
        """Opens what `save` wrote, arrays memory-mapped.

        Options that `config` does not set are those of the fit, whatever the defaults are now.
        Raises VersionError if a file is missing or damaged.
        """
        directory = Path(directory)
        file = directory / "channel.json"
        given = {} if config is None else config.model_dump(exclude_unset=True)
        about = read_json(file, name=str, options=dict, arrays=(dict, list), facts=dict)
        with reading(file):
            channel = cls(**known_options(cls.Config, about["options"]) | given)
            int(about["facts"]["items"])
        channel._arrays = read_described(directory, about["arrays"])
        channel.name = about["name"]
        channel._facts = about["facts"]
        return channel

    @property
    def _n_items(self) -> int:
        """Items of the table it was fitted on."""
        assert self._facts is not None
        return int(self._facts["items"])


def nothing(queries: int, k: int) -> Recalled:
    """No item for any of the queries."""
    return Recalled(np.full((queries, k), -1, np.int32), np.full((queries, k), -np.inf, np.float32))


def need_positives(data: Dataset, channel: str) -> None:
    """Raises DataError where the log holds no positive event."""
    if not data.positive.any():
        names = [b.name for b in data.behaviours if b.positive]
        raise DataError(
            f"channel {channel!r} found no positive event among {len(data.events)}: "
            + (
                f"none is of {names}; check the bounds of [behaviours.*]"
                if names
                else "no behaviour is declared positive; set positive = true in [behaviours.*]"
            )
        )
