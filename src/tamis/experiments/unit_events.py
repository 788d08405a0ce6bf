"""The events of the units of an experiment, from the journal and from the project's own log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.data import Dataset
from tamis.experiments.exposures import ArmComparison, Exposures, UnitRows
from tamis.experiments.unit_sums import DELETED
from tamis.runtime import Int32, Int64

_MIX = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(0x165667B19E3779F9))
"""Odd factors that spread the bits of numbers over 64 bits."""


class UnitEvents:
    """Events with the units that they belong to; others are left out.

    Args:
        table: the project's own log of events, which sessions cannot be found in; None: it has
            none. An event that the journal has as well, equal in user, item, behaviour and time, is
            counted once.
    """

    def __init__(
        self, comparison: ArmComparison, exposures: Exposures, table: Dataset | None
    ) -> None:
        self._comparison, self._exposures = comparison, exposures
        self._table = None if table is None or comparison.unit == "session" else table
        self._known, self._last = np.zeros(0, np.uint64), -1

    @staticmethod
    def fields(comparison: ArmComparison, table: bool) -> tuple[str, ...]:
        """The fields of entries that are read; `table`: beside a log of the project's own."""
        own = ("user_id",) if comparison.unit == "user" else ("recommendation_id",)
        item = ("item_id",) if table and comparison.unit == "user" else ()
        return ("kind", *own, *item, "behaviour", "time", "arrival", "value")

    def of_table(self) -> Iterator[UnitRows]:
        """The events of the log, one block; must be read before the journal's."""
        if self._table is None:
            return
        units, events, items = self._exposures.units, self._table.events, self._table.items
        unit = np.append(units.rows(self._table.users.ids), np.int32(-1))[events.user]
        design, first = self._comparison, int(units.first.min(initial=2**62))
        kept = (unit >= 0) & (events.time >= first - design.before) & (events.time < design.until)
        kept = np.flatnonzero(kept)
        kept = kept[np.argsort(events.arrival[kept], kind="stable")]
        unit, time = unit[kept], events.time[kept]
        behaviour = events.behaviour[kept].astype(np.int32)
        value = np.nan_to_num(events.value[kept].astype(np.float64), posinf=0.0, neginf=0.0)
        item = items.ids.hash().to_numpy()[events.item[kept]]
        self._known = np.unique(_key(unit, item, behaviour, time))
        self._last = int(time.max(initial=-1))
        came = np.maximum.accumulate(events.arrival[kept])
        yield UnitRows(unit, time, came, {"behaviour": behaviour, "value": value})

    def of_journal(
        self, blocks: Iterable[pl.DataFrame], names: Iterable[str]
    ) -> Iterator[UnitRows]:
        """The events of the journal's entries, and the deletions of users.

        names: the behaviours by their codes.
        """
        codes = {name: code for code, name in enumerate(names)}
        came = 0
        for block in blocks:
            block = block.filter(pl.col("kind").is_in(["event", "user_delete"]))
            if not len(block):
                continue
            arrival = block["arrival"].fill_null(0).to_numpy()
            arrival = np.maximum.accumulate(np.maximum(arrival, came))
            came = int(arrival[-1])
            unit = self._exposures.units_of(block)
            kept = unit >= 0
            rows, unit, arrival = block.filter(pl.Series(kept)), unit[kept], arrival[kept]
            time = np.minimum(rows["time"].fill_null(0).to_numpy(), arrival)
            behaviour = _behaviours(rows, codes)
            value = rows["value"].fill_null(0.0).fill_nan(0.0).to_numpy()
            new = np.ones(len(unit), np.bool_)
            if self._last >= 0:
                new = self._new(rows["item_id"], unit, behaviour, time)
            others = {"behaviour": behaviour[new], "value": value[new]}
            yield UnitRows(unit[new], time[new], arrival[new], others)

    def _new(
        self, item: pl.Series, unit: Int32, behaviour: Int32, time: Int64
    ) -> NDArray[np.bool_]:
        """(n,) whether each event is not in the log."""
        new = np.ones(len(unit), np.bool_)
        at = np.flatnonzero((time <= self._last) & (behaviour >= 0))
        if len(at):
            hashes = item.gather(at).hash().to_numpy()
            keys = _key(unit[at], hashes, behaviour[at], time[at])
            new[at] = ~np.isin(keys, self._known)
        return new


def _behaviours(rows: pl.DataFrame, codes: dict[str, int]) -> Int32:
    """(n,) the code of each event's behaviour; −1: not declared, `DELETED`: no event."""
    code = rows["behaviour"].replace_strict(codes, default=-1, return_dtype=pl.Int32)
    deleted = (rows["kind"] == "user_delete").to_numpy()
    return np.where(deleted, DELETED, code.fill_null(-1).to_numpy()).astype(np.int32)


def _key(
    unit: Int32, item: NDArray[np.uint64], behaviour: Int32, time: Int64
) -> NDArray[np.uint64]:
    """(n,) a hash of each event."""
    key = item.copy()
    for column, factor in zip((unit, behaviour, time), _MIX, strict=True):
        key = (key ^ (key >> np.uint64(29))) * _MIX[0] + column.astype(np.uint64) * factor
    return key
