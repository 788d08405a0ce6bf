"""Author fatigue: each further item of an author counts for less."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tamis.cascade import Candidates, FitContext, Queries
from tamis.data import Dataset, Events, Table
from tamis.features import Histories, History
from tamis.rerank._categories import ItemCategories
from tamis.rerank._group_rule import GroupRule
from tamis.rerank._statement import GroupFatigue, Statement
from tamis.runtime import Float64, Int32, Int64
from tamis.schema import ComponentConfig, read_array, read_json

_COLUMN, _SHOWN = "column.json", "shown"
LAST = 500
"""Most impressions of a user that are looked at."""


class FatigueConfig(ComponentConfig):
    """Options of the re-rank rule `fatigue`."""

    column: str | None = None
    """Items' column of the author (or category). If omitted: `items.author`."""
    decay: Annotated[float, Field(ge=0, le=1)] = 0.5
    """The score is multiplied by (1 − floor) · decay^k + floor after k items of the same author: 1,
    0.625, 0.4375 … with the defaults."""
    floor: Annotated[float, Field(ge=0, le=1)] = 0.25
    """Factor that no number of items falls below."""
    hours: Annotated[float, Field(ge=0)] = 24.0
    """Hours before the request in which items that the user was shown, or acted on, count like
    those above in the slate. 0: only the slate counts."""


class Fatigue(GroupRule):
    """Lowers the score of an author's further items, in the slate and across requests.

    k counts the author's items that are placed above, and those that the user was shown
    (impressions of the log and the journal) or acted on in the last `hours`, each once. The factor
    applies to the value, min–max scaled within the request, before MMR or DPP see it.

    When to use: feeds in which one prolific author should not fill the screen, today or an hour
    later.
    Cost: a few microseconds per request.
    Source: the author diversity scorer of the published X algorithm (decay .5, floor .25).
    """

    name = "fatigue"
    Config = FatigueConfig
    config: FatigueConfig

    def __init__(self, config: Any = None, **options: Any) -> None:
        super().__init__(config, **options)
        self._shown: Histories | None = None
        """The impressions of the last hours before the end of the data, and those since."""
        self._impressions = np.zeros(0, np.bool_)
        """(behaviours,) which are impressions."""

    def fit(self, data: Dataset, context: FitContext | None = None) -> Self:
        """Reads the items' authors."""
        roles = None if context is None else context.items
        self._column = self.config.column or (roles.author if roles else None) or "author"
        self._groups = self._read(data.items)
        self._impressions = np.array([b.impression for b in data.behaviours], np.bool_)
        events = data.events
        lately = events.time >= data.end - self._horizon
        kept = replace(data, events=events.take(lately & self._impressions[events.behaviour]))
        self._shown = Histories.of(kept, impressions=True)
        return self

    @property
    def _horizon(self) -> int:
        return int(self.config.hours * 3_600_000)

    def update_events(self, events: Events) -> None:
        """Takes up new impressions, see `FollowsEvents`."""
        self._histories().add(events.take(self._impressions[events.behaviour]))

    def forget_row(self, user: int) -> None:
        """Removes the impressions of a user row."""
        self._histories().forget(user)

    def appended(self) -> dict[str, NDArray[Any]]:
        """The impressions that were added since the version was opened."""
        return self._histories().appended()

    def restore(self, appended: Mapping[str, NDArray[Any]]) -> None:
        """Adds what `appended` returned."""
        self._histories().restore(appended)

    def _histories(self) -> Histories:
        self._known()
        assert self._shown is not None  # read by `fit` and `load`, with the categories
        return self._shown

    def update_users(self, users: Table, rows: Int32) -> None:
        """Impressions are kept by row: new users are treated like others, see `FollowsUsers`."""
        del users, rows

    def state(self, queries: Queries, candidates: Candidates, n: int) -> Statement:
        """The factor; the trace shows the one with which an item was placed."""
        del n
        author = self._group_of(candidates.item)
        config = self.config
        shown = self._met(queries, candidates, author)
        return Statement(fatigue=GroupFatigue(author, shown, config.decay, config.floor))

    def _met(self, queries: Queries, candidates: Candidates, author: Int64) -> Float64:
        """(n,) distinct items of the candidate's author that the user met in the last hours."""
        since = queries.time - self._horizon
        shown = self._histories().at(queries.user, queries.time, LAST)
        met = np.concatenate([_recent(queries.history, since), _recent(shown, since)], axis=1)
        met = np.unique(met, axis=1)
        if not met.shape[1] or not len(candidates):
            return np.zeros(len(candidates))
        names, own = np.unique(author, return_inverse=True)
        whose = self._group_of(met[1].astype(np.int32))
        place = np.minimum(np.searchsorted(names, whose), len(names) - 1)
        known = (whose >= 0) & (names[place] == whose)
        cell = met[0][known] * len(names) + place[known]
        count = np.bincount(cell, minlength=len(queries) * len(names))
        found = count[candidates.query * len(names) + own]
        return np.where(author >= 0, found, 0).astype(np.float64)

    def save(self, directory: Path) -> None:
        """Writes the authors."""
        self._known().save(directory)
        self._histories().save(directory / _SHOWN)
        np.save(directory / "impressions.npy", self._impressions)
        (directory / _COLUMN).write_text(json.dumps({"column": self._column}), "utf-8")

    @classmethod
    def load(cls, directory: Path, config: Any) -> Self:
        """Opens what `save` wrote, memory-mapped."""
        loaded = cls(config)
        loaded._groups = ItemCategories.load(directory)
        loaded._column = read_json(directory / _COLUMN, column=str)["column"]
        loaded._shown = Histories.load(directory / _SHOWN)
        loaded._impressions = read_array(directory / "impressions.npy", np.bool_, (None,))
        return loaded


def _recent(history: History, since: Int64) -> Int64:
    """(2, m) query and item of the events since a time (Q,)."""
    query = np.repeat(np.arange(len(history)), np.diff(history.indptr))
    recent = history.time >= since[query]
    return np.stack([query[recent], history.item[recent].astype(np.int64)])
