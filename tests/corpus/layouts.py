"""Tiny tables in many layouts, and the check of what `tamis init` makes of them."""

import datetime
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tamis.onboarding import guess_config, write_guess
from tamis.schema import load_config

START = 1_577_836_800  # 2020-01-01
Row = tuple[int, int, int]


def log(
    users: int = 30, items: int = 25, days: int = 60, repeat: float = 0.0, by_user: bool = False
) -> list[Row]:
    """(user, item, second): users act in sessions; popular items more often.

    repeat: share of events on an item that the user had before; otherwise items are new to them.
    by_user: the rows of a user lie together; otherwise they are in the order of time.
    """
    random = np.random.default_rng(1)
    share = 1 / np.arange(1, items + 1) ** 0.7
    rows: list[Row] = []
    for user in range(users):
        order = list(random.choice(items, items, replace=False, p=share / share.sum()))
        seen: list[int] = []
        for _ in range(int(random.integers(2, 5))):
            time = START + int(random.integers(days)) * 86_400 + int(random.integers(86_400))
            for _ in range(int(random.integers(2, 7))):
                if (seen and random.random() < repeat) or not order:
                    item = seen[int(random.integers(len(seen)))]
                else:
                    item = int(order.pop(0))
                seen.append(item)
                time += int(random.integers(20, 400))
                rows.append((user, item, time))
    return rows if by_user else sorted(rows, key=lambda row: row[2])


def text(columns: str, rows: Iterable[Sequence[object]], mark: str = ",") -> str:
    """A text table; `columns` are separated by blanks, or empty for no header."""
    lines = [mark.join("" if v is None else str(v) for v in row) for row in rows]
    head = [mark.join(columns.split())] if columns else []
    return "\n".join([*head, *lines]) + "\n"


def jsonl(rows: Iterable[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def date(second: int, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    return datetime.datetime.fromtimestamp(second, datetime.UTC).strftime(form)


def pick(k: int, *shares: tuple[str, int]) -> str:
    """The k-th label of a fixed sequence that holds each label in its share of 100."""
    place = k * 37 % 100
    for label, share in shares:
        place -= share
        if place < 0:
            return label
    return shares[-1][0]


Content = str | bytes | pl.DataFrame
Tables = dict[str, str]


def put(path: Path, content: Content) -> None:
    """Writes a table: a text, bytes, or a frame as Parquet."""
    if isinstance(content, pl.DataFrame):
        content.write_parquet(path)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content, "utf-8")


_READ = ("path", "columns", "encoding")


@dataclass
class Case:
    """Tables and their right reading."""

    tables: Callable[[], Mapping[str, Content]]
    events: dict[str, Any]
    """Keys of [events] without its path."""
    good: list[str]
    """Positive behaviours."""
    rest: list[str] = field(default_factory=list[str])
    """The other behaviours; impressions end in "!"."""
    items: dict[str, Any] | None = None
    """Keys of [items]; None: no table of items."""
    users: str = ""
    """File and column of the users: "users.csv id"; empty: no table of users."""
    used: float = 1.0
    """Share of the log's rows that are used."""
    bounds: dict[str, float] = field(default_factory=dict[str, float])
    """min_value of behaviours."""
    again: bool = False
    """Repeat consumption: the channel `again` is proposed, and no filter `seen` of all known
    items."""
    notes: Sequence[str] = ()
    """Texts that are reported."""


def check(case: Case, folder: Path) -> None:
    """Proposes a declaration of the tables of a case and compares it with their right reading."""
    for file, content in case.tables().items():
        put(folder / file, content)
    guess = guess_config(folder, "t")
    write_guess(guess, folder / "tamis.toml")
    config = load_config(folder)
    told = "\n".join(guess.notes)
    events = {k: v for k, v in guess.data["events"].items() if k not in _READ}
    assert events == case.events, told
    items = {k: v for k, v in guess.data.get("items", {}).items() if k != "columns"}
    assert items == (case.items or {}), told
    users = guess.data.get("users", {})
    assert " ".join(users[key] for key in ("path", "id") if key in users) == case.users, told
    rest = {b.name + "!" * b.impression for b in config.behaviours.values() if not b.positive}
    assert {b.name for b in config.behaviours.values() if b.positive} == set(case.good), told
    assert rest == set(case.rest), told
    for behaviour, bound in case.bounds.items():
        assert config.behaviours[behaviour].min_value == bound, told
    line = next(note for note in guess.notes if " rows of " in note and " used" in note)
    used, total = (int(line.split()[at].replace(",", "")) for at in (0, 2))
    assert used / total == pytest.approx(case.used, abs=0.02), line
    assert ("again" in config.cascade.channels) == case.again, told
    seen = config.cascade.filters.get("seen")
    assert (seen is not None and not seen.options) != case.again, told
    for text_ in case.notes:
        assert text_ in told, told
