"""A small feed with impressions, whose log can be written up to any day."""

from __future__ import annotations

from pathlib import Path

import numpy as np

DAY = 86_400
START = 1_700_000_000
USERS, ITEMS, PER_DAY, SLATE = 150, 60, 60, 5

TOML = """
name = "feed"
clock = "data"
windows = ["7d", "all"]
[events]
path = "events.csv"
behaviour = "what"
request = "request"
[items]
path = "items.csv"
id = "item_id"
category = "kind"
unknown = "{unknown}"
[users]
path = "users.csv"
id = "user_id"
[behaviours.show]
impression = true
[behaviours.click]
positive = true
[split]
windows = 2
[[features]]
kind = "sparse"
name = "user_id"
[[features]]
kind = "sparse"
name = "item_id"
[[features]]
kind = "sparse"
name = "kind"
[[features]]
kind = "sparse"
name = "taste"
[[features]]
kind = "dense"
name = "price"
[cascade.channels.hot]
quota = 30
[cascade.channels.itemcf]
quota = 30
[cascade.channels.two_tower]
quota = 30
epochs = 2
embedding_dim = 8
[cascade.rank]
use = "deepfm"
embedding_dim = 4
hidden_units = [16]
epochs = 8
batch_size = 128
engine = "torch"
[cascade.prerank]
use = "inner_product"
embedding_dim = 4
user_units = [8]
item_units = [8]
epochs = 2
[tasks.click]
[update]
nice = 0
[gate]
latency_ratio = 1000.0
"""
"""The trial requests of tests are not timed: machines differ."""


def write_tables(
    folder: Path, items: int = ITEMS, *, price: str = "", order: int = 1, unknown: str = "keep"
) -> None:
    """Writes the declaration, and the tables of users and of the first `items` items.

    price: "" as it is, "constant", or "shifted".
    order: -1 writes the rows of both tables in reverse.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tamis.toml").write_text(TOML.format(unknown=unknown), "utf-8")
    lines = []
    for item in range(items):
        cost = {"": 5 + 3 * (item % 17), "constant": 7, "shifted": 105 + 3 * (item % 17)}[price]
        lines.append(f"m{item},{'ab'[item % 2]},{cost}")
    head = "item_id,kind,price"
    (folder / "items.csv").write_text("\n".join([head, *lines[::order]]) + "\n", "utf-8")
    people = [f"u{user},{'ab'[user % 2]}" for user in range(USERS)]
    (folder / "users.csv").write_text(
        "\n".join(["user_id,taste", *people[::order]]) + "\n", "utf-8"
    )


def write_log(
    folder: Path, days: int, *, shuffled_from: int | None = None, items: int = ITEMS
) -> int:
    """Writes the events of the first days; returns their number.

    A user clicks half of the items of his taste, and one of ten others; users and items come in
    the course of time. From day `shuffled_from` on, clicks fall on any shown item.
    """
    draw = np.random.default_rng(4)
    lines: list[str] = []
    for day in range(days):
        known_users = min(USERS, 100 + 2 * day)
        known_items = min(items, 40 + day)
        for number in range(PER_DAY):
            request = day * PER_DAY + number
            time = START + day * DAY + number * (DAY // PER_DAY)
            user = int(draw.integers(known_users))
            shown = draw.choice(known_items, SLATE, replace=False).tolist()
            chance = draw.random(SLATE)
            luck = draw.permutation(SLATE)
            clicked = [
                chance[k] < (0.6 if item % 2 == user % 2 else 0.05) for k, item in enumerate(shown)
            ]
            if shuffled_from is not None and day >= shuffled_from:
                clicked = [clicked[k] for k in luck]
            for item, click in zip(shown, clicked, strict=True):
                lines.append(f"u{user},m{item},show,{time},{request}")
                if click:
                    lines.append(f"u{user},m{item},click,{time + 1},{request}")
    head = "user_id,item_id,what,time,request"
    (folder / "events.csv").write_text("\n".join([head, *lines]) + "\n", "utf-8")
    return len(lines)


LIKES = """
name = "likes"
clock = "data"
windows = ["7d", "all"]
[events]
path = "events.csv"
[items]
path = "items.csv"
id = "item_id"
category = "kind"
[behaviours.like]
positive = true
[split]
windows = 2
horizon = "4d"
[[features]]
kind = "sparse"
name = "item_id"
[[features]]
kind = "sparse"
name = "kind"
[cascade.channels.hot]
quota = 20
[cascade.channels.itemcf]
quota = 20
[cascade.channels.mf]
quota = 20
embedding_dim = 8
[cascade.channels.fm]
quota = 20
embedding_dim = 8
epochs = 2
[cascade.channels.sasrec]
quota = 20
embedding_dim = 8
epochs = 2
[cascade.filters.seen]
[cascade.rank]
use = "{rank}"
{options}
[cascade.prerank]
use = "lr"
epochs = 2
[tasks.like]
[update]
nice = 0
[gate]
latency_ratio = 1000.0
"""
"""A project without impressions."""


def write_likes(
    folder: Path, days: int, rank: str = "lr", options: str = "epochs = 2", order: int = 1
) -> None:
    """A project without impressions, and the first days of its log: users like items of their own
    kind, and new items come.

    order: -1 writes the items in reverse.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tamis.toml").write_text(LIKES.format(rank=rank, options=options), "utf-8")
    items = [f"m{item},{'ab'[item % 2]}" for item in range(120)]
    (folder / "items.csv").write_text("\n".join(["item_id,kind", *items[::order]]) + "\n", "utf-8")
    draw = np.random.default_rng(5)
    lines = []
    for day in range(days):
        for number in range(80):
            user, known = int(draw.integers(60)), 60 + 2 * day
            item = int(draw.integers(known // 2)) * 2 + user % 2
            if draw.random() < 0.1:
                item = int(draw.integers(known))
            time = START + day * DAY + number * (DAY // 80)
            lines.append(f"u{user},m{min(item, 119)},{time}")
    (folder / "events.csv").write_text("\n".join(["user_id,item_id,time", *lines]) + "\n", "utf-8")
