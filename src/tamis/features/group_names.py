"""The names in `groups` of `tamis.toml`: attributes by which events are counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from tamis.data import Dataset
from tamis.features.window_names import WINDOWS
from tamis.schema import ConfigError, suggest

USER, OWN = "user:", "own:"
"""Prefixes of names: an attribute of the users; a user's own events by an attribute of the items.
"""


class GroupName(NamedTuple):
    """What a name in `groups` stands for."""

    kind: Literal["item", "user", "own"]
    """Counts of the items' events; of an item's events by users' value; of a user's own events."""
    column: str
    """The column of the items' table, or of the users' for the kind user."""


def group_name(data: Dataset, name: str) -> GroupName:
    """What `name` stands for. Raises ConfigError for a column that the tables do not have."""
    items, users = data.items.frame.columns, data.users.frame.columns
    if name in items:
        return GroupName("item", name)
    if name.startswith(OWN) and name.removeprefix(OWN) in items:
        return GroupName("own", name.removeprefix(OWN))
    if name.startswith(USER) and name.removeprefix(USER) in users:
        return GroupName("user", name.removeprefix(USER))
    known = [*items, *(f"{OWN}{c}" for c in items), *(f"{USER}{c}" for c in users)]
    stem, _, window = name.rpartition(":")
    if stem in known and window in WINDOWS:
        raise ConfigError(
            f"groups: {name!r} names a window; write {stem!r} and add {window!r} to `windows`, "
            "which all statistics have"
        )
    raise ConfigError(
        f"groups: the tables have no column for {name!r}.{suggest(name, known)} There are "
        f"{', '.join(known) or 'none'}"
    )


def check_groups(data: Dataset, groups: Sequence[str] | Literal["auto"]) -> None:
    """Raises ConfigError for a name that the tables have no column for."""
    for name in () if groups == "auto" else groups:
        group_name(data, name)
