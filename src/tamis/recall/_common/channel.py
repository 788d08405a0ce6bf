"""Base class of every channel: options, fit on a log or a frame, recommend, save and load."""

from __future__ import annotations

import json
import warnings
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.cascade import FitContext, Queries, Recalled, at_end
from tamis.data import Dataset, columns_of, dataset_from_frame, id_column
from tamis.recall._common.popularity import log_popularity
from tamis.runtime import Int32, one_blas_thread
from tamis.schema import (
    Component,
    ConfigError,
    DataError,
    NotFittedError,
    TamisWarning,
    described,
    known_options,
    read_described,
    read_json,
    reading,
    whole_number,
)

if TYPE_CHECKING:
    import pandas as pd


class BaseChannel(Component, ABC):
    """A channel whose fitted state is a dict of arrays and a dict of plain values.

    A subclass declares `name`, `Config` and `config`, fills `self._arrays` and returns the plain
    values in `_fit`, and recalls in `_recall`. Saving, loading (memory-mapped), fitting on frames
    and the errors are implemented here.
    """

    reads: tuple[str, ...] = ()
    """Parts of a request's context that the channel reads: "interests", "place", "city"."""
    exclude_seen: bool = True
    """Whether `recommend` leaves out the items of the user's own log by default."""

    def __init__(self, config: Any = None, **options: Any) -> None:
        super().__init__(config, **options)
        self._arrays: dict[str, NDArray[Any]] = {}
        self._facts: dict[str, Any] | None = None
        self._data: Dataset | None = None
        self._item_type: pl.DataType = pl.String()

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
        """Fits the channel on a data set, or on a frame of interactions.

        Args:
            data: a data set, or a polars or pandas frame with one row per interaction.
            context: seed, device, declared features and more; None: the defaults.
            user, item: columns of the ids in a frame.
            time: column of the time in a frame; None: the rows are in order of time.
            value: column of a rating or strength in a frame.
            min_value: rows with a smaller `value` are seen but not liked; None: all are liked.

        A second fit replaces the first.
        """
        if not isinstance(data, Dataset):
            frame = data
            data = dataset_from_frame(
                frame, user=user, item=item, time=time, value=value, min_value=min_value
            )
            self._item_type = columns_of(frame, [item]).schema[item]
        else:
            self._item_type = pl.String()
        self._facts, self._arrays = None, {}
        with one_blas_thread():
            facts = self._fit(data, context or FitContext())
        self._facts = {**facts, "items": len(data.items)}
        self._data = data
        for array in self._arrays.values():
            array.flags.writeable = False  # as after load: one type for the compiled kernels
        return self

    @abstractmethod
    def _fit(self, data: Dataset, context: FitContext) -> dict[str, Any]:
        """Fills `self._arrays`; returns plain values (JSON) to keep with them."""

    def recall(self, queries: Queries, k: int) -> Recalled:
        """Each query's best k items (Q, k), none of `queries.exclude`; padded with -1 and -inf.

        Raises NotFittedError before `fit`, ConfigError if k < 1.
        """
        if self._facts is None:
            raise NotFittedError(f"channel {self.name!r} is not fitted yet: call fit(data) first")
        if k < 1:
            raise ConfigError(f"channel {self.name!r}: k = {k}; request at least 1 item")
        if len(queries) == 0:
            return nothing(0, k)
        return self._recall(queries, k)

    @abstractmethod
    def _recall(self, queries: Queries, k: int) -> Recalled:
        """Implements `recall`; called on a fitted channel with at least one query and k >= 1."""

    def recommend(
        self, users: object, n: int = 10, exclude_seen: bool | None = None
    ) -> pl.DataFrame:
        """The best n items for each of `users` (external ids) at the end of the fitted log.

        Returns a frame of (user, item, rank, score), ranks from 1; a user may get fewer than n.
        Users who are not in the log and for whom the channel has nothing get the items with most
        likes, with their interest values as scores. A TamisWarning reports these users, and known
        users without an item.

        Raises NotFittedError before `fit`, and after `load`: the log is not saved with a channel.
        Raises ConfigError for a wrong n, DataError for users that are no ids.

        Args:
            users: external ids, or one id.
            n: items per user, at least 1.
            exclude_seen: whether to leave out items of the user's own log; None: as the channel's
                `exclude_seen` says, which is true except for channels of the user's own items.
        """
        if self._facts is None or self._data is None:
            raise NotFittedError(
                f"channel {self.name!r} has no log to recommend from: call fit(data) first, "
                f"or recall(queries, k) on a loaded channel"
            )
        data, given = self._data, id_column(users)
        rows = data.users.rows(given)
        hidden = self.exclude_seen if exclude_seen is None else exclude_seen
        found = self.recall(at_end(data, rows, hidden), whole_number("n", n))
        found = self._or_popular(found, data, given, rows)
        query, place = np.nonzero(found.item >= 0)
        item = data.items.ids.gather(found.item[query, place])
        return pl.DataFrame(
            {
                "user": given.gather(query),
                "item": item.cast(self._item_type) if self._item_type.is_numeric() else item,
                "rank": (place + 1).astype(np.int32),
                "score": found.score[query, place],
            }
        )

    def _or_popular(
        self, found: Recalled, data: Dataset, given: pl.Series, rows: Int32
    ) -> Recalled:
        """The items with most likes instead of empty lists of unknown users, with a warning."""
        empty = ~(found.item >= 0).any(axis=1)
        known = empty & (rows >= 0)
        if known.any():
            warnings.warn(
                f"channel {self.name!r} found no item for {int(known.sum()):,} of {len(rows):,} "
                f"users, such as {given[int(known.argmax())]!r}",
                TamisWarning,
                stacklevel=3,
            )
        unknown = empty & (rows < 0)
        if not unknown.any():
            return found
        worth = np.exp2(log_popularity(data, np.inf))
        best = np.argsort(-worth, kind="stable")[: found.item.shape[1]]
        best = best[worth[best] > 0]
        item, score = found.item.copy(), found.score.copy()
        item[unknown, : len(best)], score[unknown, : len(best)] = best, worth[best]
        warnings.warn(
            f"channel {self.name!r}: {int(unknown.sum()):,} of {len(rows):,} users are not in the "
            f"fitted log, such as {given[int(unknown.argmax())]!r}; they get the items with most "
            "likes",
            TamisWarning,
            stacklevel=3,
        )
        return Recalled(item, score)

    def save(self, directory: Path) -> None:
        """Writes the fitted state into `directory`, which is created if it does not exist.

        Raises NotFittedError before `fit`.
        """
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
    def warm(self) -> bool | None:
        """Whether the fit started from the weights of an earlier one; None: the channel learns no
        weights that it could start from, or is not fitted."""
        return (self._facts or {}).get("warm")

    @property
    def _n_items(self) -> int:
        """Number of items in the table that the channel was fitted on."""
        assert self._facts is not None
        return int(self._facts["items"])


def nothing(queries: int, k: int) -> Recalled:
    """(queries, k) recalled items of which none is filled: -1 and -inf."""
    return Recalled(np.full((queries, k), -1, np.int32), np.full((queries, k), -np.inf, np.float32))


def need_positives(data: Dataset, channel: str) -> None:
    """Raises DataError if the log has no positive event; `channel` is a name for the message."""
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
