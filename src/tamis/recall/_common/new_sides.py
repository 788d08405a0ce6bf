"""Inputs of users and items that come or change after the fit of a model with two sides."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tamis.data import Table
from tamis.features import Block, FeatureSpace
from tamis.recall._common.side_features import FIRST, PAD, SideInputs
from tamis.runtime import Float32, Int32
from tamis.schema import Side, read_json

FOLDER = "sides"
"""Folder of the encoders in that of the saved channel."""
FILE = "sides.json"
_NUMBERS = ("offset", "items", "users", "first_user")


@dataclass(eq=False)
class NewSides:
    """Encodes rows of the tables as the fit encoded those that it knew (`SideInputs`)."""

    space: FeatureSpace
    """The encoders of the fit; it holds no rows."""
    offset: int
    """Row of the model's fused table at which the tables of `space` start."""
    items: int
    """Items of the fit, each with a row of its own in the table of items, which is the first."""
    users: int
    """Users of the fit with a row of their own; -1 if users have no such row."""
    first_user: int
    """Padding row of the table of users."""
    taken_up: FeatureSpace | None = field(default=None, init=False, repr=False)
    """A space of the same encoders, which has taken up the items already; None: there is none."""
    _blank: Block | None = field(default=None, init=False, repr=False)
    """The attributes of a user without any."""

    @classmethod
    def of(cls, inputs: SideInputs) -> NewSides:
        """Those of a fit."""
        table = inputs.user.table.get("user")
        return cls(
            space=inputs.space.without_rows(),
            offset=inputs.offset,
            items=len(inputs.item_ids),
            users=-1 if table is None else table.size - FIRST,
            first_user=PAD if table is None else table.start,
        )

    def item_inputs(self, items: Table, rows: Int32, first: Int32) -> tuple[Int32, Float32]:
        """(m, w) rows of the fused table and (m, d) numbers of the items `rows`, as `item_ids` and
        `item_dense` of `SideInputs`; `first` (m,) is the row of each item itself."""
        if self.taken_up is not None:
            every = self.taken_up.attributes(Side.ITEM)
            block = Block(every.ids[rows], every.dense[rows])
        else:
            block = self.space.encoded(Side.ITEM, items, rows)
        ids = np.column_stack([first, block.ids + np.int32(self.offset)])
        return ids.astype(np.int32), block.dense

    def user_inputs(self, users: Table, rows: Int32) -> tuple[Int32, Float32]:
        """The same of users: as `user_ids` and `user_dense`; new users have no row of their own."""
        block = self._users(users, rows)
        ids = block.ids + np.int32(self.offset)
        if self.users >= 0:
            known = (rows < self.users) & ~again(users, rows)
            own = np.where(known, self.first_user + FIRST + rows, self.first_user + PAD)
            ids = np.column_stack([own, ids])
        return ids.astype(np.int32), block.dense

    def _users(self, users: Table, rows: Int32) -> Block:
        """The attributes of users; those without any, as most who come with an event, are equal."""
        if any(users.cells(row) for row in rows.tolist()):
            return self.space.encoded(Side.USER, users, rows)
        if self._blank is None:
            self._blank = self.space.encoded(Side.USER, users, rows[:1])
        blank, alike = self._blank, np.zeros(len(rows), np.int64)
        return Block(blank.ids[alike], blank.dense[alike])

    def known(self, items: Table, rows: Int32) -> NDArray[np.bool_]:
        """(m,) whether an item was among those of the fit."""
        return (rows < self.items) & ~again(items, rows)

    def save(self, directory: Path) -> None:
        """Writes into a folder of its own, which is created."""
        self.space.save(directory)
        numbers = {name: getattr(self, name) for name in _NUMBERS}
        (directory / FILE).write_text(json.dumps(numbers, indent=1), "utf-8")

    @classmethod
    def load(cls, directory: Path) -> NewSides | None:
        """Opens what `save` wrote; None in versions of earlier releases."""
        if not (directory / FILE).is_file():
            return None
        saved = read_json(directory / FILE, offset=int, items=int, users=int, first_user=int)
        numbers = {name: saved[name] for name in _NUMBERS}
        return cls(FeatureSpace.load(directory), **numbers)


def again(table: Table, rows: Int32) -> NDArray[np.bool_]:
    """(m,) rows of ids that were removed: nothing that was learnt of these ids may be used."""
    return table.is_again(rows)
