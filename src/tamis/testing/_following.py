"""Items and users that come or change while a stage serves, for the suites of this package."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import polars as pl

from tamis.cascade import FollowsItems, FollowsUsers
from tamis.data import Dataset, Table
from tamis.runtime import Int32

Stage = TypeVar("Stage")


def after_changes(table: Table) -> tuple[Table, Int32]:
    """The table after changes, and the rows (3,) that are new or changed.

    Row 1 takes the cells of row 2. The first new row has those of row 0, the second none.
    """
    n = len(table)
    source = np.arange(n + 1)
    source[min(1, n - 1)], source[n] = min(2, n - 1), 0
    frame = table.frame[source] if table.frame.width else table.frame
    frame = pl.concat([frame, table.frame.clear(1 if table.frame.width else 0)])
    ids = pl.concat([table.ids, pl.Series(table.ids.name, ["new one", "new two"])])
    changed = np.unique([min(1, n - 1), n, n + 1]).astype(np.int32)
    return Table(table.name, ids, frame), changed


def check_following(
    fitted: Callable[[Dataset], Stage],
    data: Dataset,
    answers: Callable[[Stage, int], Mapping[str, Any]],
) -> None:
    """Raises AssertionError unless a stage takes up changes as if it had been fitted after them.

    Args:
        fitted: fits a new stage on a data set.
        data: before the changes.
        answers: of a stage about n items, by what they are, as arrays.
    """
    items, rows = after_changes(data.items)
    stage = fitted(data)
    if isinstance(stage, FollowsItems):
        stage.update_items(items, rows)
        expected = fitted(replace(data, items=items))
        _same(answers(stage, len(items)), answers(expected, len(items)), "update_items", stage)
    users, rows = after_changes(data.users)
    stage = fitted(data)
    if isinstance(stage, FollowsUsers):
        stage.update_users(users, rows)
        expected = fitted(replace(data, users=users))
        n = len(data.items)
        _same(answers(stage, n), answers(expected, n), "update_users", stage)


def _same(
    found: Mapping[str, Any], expected: Mapping[str, Any], method: str, stage: object
) -> None:
    for what, value in expected.items():
        assert np.array_equal(np.asarray(found[what]), np.asarray(value), equal_nan=True), (
            f"after {method}, {type(stage).__name__} gives other {what} than a stage whose table "
            f"had the rows from the start: {found[what]}, not {value}"
        )
