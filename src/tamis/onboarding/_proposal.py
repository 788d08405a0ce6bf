"""Proposes features, tasks and a cascade for the tables that `tamis init` found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from tamis.data import Dataset, usual_meaning
from tamis.features import guess_feature
from tamis.onboarding._declared import Declared
from tamis.onboarding._request_columns import context_features
from tamis.schema import Feature, Side


def describe_features(
    declared: Declared, items: pl.DataFrame | None, users: pl.DataFrame | None
) -> None:
    """Adds `features`: the attributes, by `tamis.features.guess_feature`.

    Where the log holds impressions, the two ids and the user's history are added as well: only
    then are there enough rows for a ranker to learn them.
    """
    data = declared.data
    user_id = data["users"]["id"] if users is not None else data["events"]["user"]
    columns: dict[str, Any] = data.get("items", {})
    item_id = columns.get("id", data["events"]["item"])
    shown = any(entry.get("impression") for entry in data["behaviours"].values())
    features: list[dict[str, Any]] = []
    if shown:
        features = [
            {"kind": "sparse", "name": user_id, "side": "user"},
            {"kind": "sparse", "name": item_id, "side": "item"},
        ]
    skipped: list[str] = []
    taken = {user_id, item_id, columns.get("title"), columns.get("published")}
    for side, frame in ((Side.USER, users), (Side.ITEM, items)):
        for column in frame if frame is not None else ():
            if column.name in taken:
                continue
            feature = _attribute(column, side, columns)
            if feature is None:
                skipped.append(column.name)
                continue
            names = {f["name"] for f in features}
            name = column.name if column.name not in names else f"{side}_{column.name}"
            target = {} if name == column.name else {"column": column.name}
            options = feature.model_dump(
                mode="json", exclude_defaults=True, exclude={"kind", "name", "side"}
            )
            features.append(
                {"kind": feature.kind, "name": name, "side": str(side)} | target | options
            )
    if shown:
        good = [n for n, entry in data["behaviours"].items() if entry.get("positive")]
        history = {"kind": "varlen", "name": "history", "side": "user", "history": good}
        features.append({**history, "shares": item_id})
        declared.comments["features[history]"] = "The items of the user's last positive events."
    if features:
        features += context_features(declared, {f["name"] for f in features})
        data["features"] = features
    if skipped:
        declared.notes.append(
            f"no features made of {', '.join(skipped)} (free text, a single value, or values that "
            "hardly repeat)"
        )


def _attribute(column: pl.Series, side: Side, items: dict[str, Any]) -> Feature | None:
    """The feature of a column; the items' author and category are read as declared."""
    name = column.name if side is Side.ITEM else None
    is_category = name is not None and name == items.get("category")
    separator = items.get("category_separator") if is_category else None
    is_id = name is not None and name in (items.get("author"), items.get("category"))
    return guess_feature(column, side=side, is_id=is_id and not separator, separator=separator)


_CONDITIONED = 0.9
"""Least share of a behaviour's events that follow a condition for a conditional task."""
_LEARNABLE = 500
"""Least number of events of a behaviour for a task that predicts its rate."""
_FIRST_STEPS, _LATER_STEPS = ("click", "view"), ("cart", "purchase")
"""Usual meanings of the steps of a funnel."""


def describe_tasks(declared: Declared, data: Dataset) -> None:
    """Adds `tasks` and a fusion where the log holds a funnel.

    That is: impressions and clicks, or views (clicks) with carts or purchases. The tasks are the
    click or view, each further behaviour (given it, where it follows one), and purchases given a
    cart where they follow one.
    """
    behaviours: dict[str, dict[str, Any]] = declared.data["behaviours"]
    counts = np.bincount(data.events.behaviour, minlength=len(data.behaviours))
    steps = funnel_steps(data)
    first = steps.get("click") or steps.get("view")
    if first is None or not (data.has_impressions or steps.keys() & {*_LATER_STEPS}):
        return
    weights = {
        name: entry.get("weight", 1.0)
        for name, entry in behaviours.items()
        if name != first and not entry.get("impression") and "`" not in name and "|" not in name
    }
    later = {
        name: weight
        for name, weight in weights.items()
        if weight > 0 and counts[data.code(name)] >= _LEARNABLE
    }
    declared.notes += [
        f"no task for {name}: {counts[data.code(name)]:,} events, {_LEARNABLE} needed"
        for name, weight in weights.items()
        if weight > 0 and name not in later
    ]
    if not later:
        return
    given = {name: first for name in later if _follows(data, name, first)}
    cart, purchase = (steps.get(step) for step in _LATER_STEPS)
    if cart in later and purchase in later and _follows(data, str(purchase), str(cart)):
        given[str(purchase)] = str(cart)
    rates = [f"{name}|{given[name]}" if name in given else name for name in later]
    declared.data["tasks"] = {name: {} for name in (first, *rates)}
    parts = [_in_fusion(first), *(f"{w:g} * {_in_fusion(name)}" for name, w in later.items())]
    declared.data["cascade"]["fusion"] = " + ".join(parts)
    declared.comments["cascade.fusion"] = (
        "probabilities of the behaviours (rates times their conditions), weighted"
    )
    declared.notes.append(
        f"tasks {first}, {', '.join(rates)}"
        + (": a rate after | holds among the events of its condition" if given else "")
    )


def funnel_steps(data: Dataset) -> dict[str, str]:
    """{usual step of a funnel: its most frequent behaviour}: click, view, cart, purchase."""
    counts = np.bincount(data.events.behaviour, minlength=len(data.behaviours))
    found: dict[str, str] = {}
    order: list[int] = np.argsort(-counts, kind="stable").tolist()
    for code in order:
        name = data.behaviours[code].name
        usual = usual_meaning(name)
        step = usual.name if usual is not None else ""
        if step in (*_FIRST_STEPS, *_LATER_STEPS) and counts[code]:
            found.setdefault(step, name)
    if {"click", "view"} <= found.keys() and not data.has_impressions:
        # The more frequent of the two begins the funnel.
        rare = min(_FIRST_STEPS, key=lambda step: counts[data.code(found[step])])
        del found[rare]
    return found


def _in_fusion(name: str) -> str:
    """A behaviour's name as fusion expressions write it."""
    return name if name.isidentifier() else f"`{name}`"


def _follows(data: Dataset, name: str, condition: str) -> bool:
    """Whether nearly all events of a behaviour are of users who have the condition on the item."""
    pair = data.events.user.astype(np.int64) << 32 | data.events.item
    later = pair[data.events.behaviour == data.code(name)]
    before = pair[data.events.behaviour == data.code(condition)]
    return bool(np.isin(later, before).mean() >= _CONDITIONED)


_ORDER = {"loss": "listwise", "metric": "ndcg", "epochs": 6, "batch_size": 4096}
_SMALL_DEEPFM = {
    "loss": "listwise",
    "metric": "ndcg",
    "epochs": 4,
    "batch_size": 4096,
    "learning_rate": 2e-3,
    "embedding_learning_rate": 0.02,
    "embedding_dim": 8,
    "hidden_units": [128, 64],
    "dropout": 0.2,
}
"""Settings of rankers trained on replayed queries; see docs/decisions/0005."""


REPEATS = 0.1
"""Share of positive events on known items from which on they are recommended again."""
_EASE_ITEMS = 12_000
"""Number of items up to which EASE's matrix (items², float32) stays below 0.6 GB."""


def describe_cascade(
    declared: Declared,
    items: pl.DataFrame | None,
    count: int,
    repeats: float,
    returns: Mapping[str, float],
) -> None:
    """Adds the usual cascade, with a diversity rule where the items have a category.

    Args:
        items: their table, if there is one.
        count: number of items.
        repeats: share of the positive events on items that the user knew (`repeat_share`); from
            `REPEATS` on, the channel `again` recalls them.
        returns: how often users come back after each behaviour (`return_rates`); below `REPEATS`
            the filter `seen` removes the items of that behaviour.
    """
    data = declared.data
    columns: dict[str, Any] = data.get("items", {})
    # Without impressions the ranker is trained on replayed queries, a few thousand at most.
    few = not any(entry.get("impression") for entry in data["behaviours"].values())
    rerank: dict[str, Any] = {}
    category = columns.get("category")
    if category and items is not None:
        options: dict[str, Any] = {"column": category}
        if "category_separator" in columns:
            options["separator"] = columns["category_separator"]
        rerank["mmr"] = {"theta": 0.99, **options}
    data["cascade"] = {
        "prerank_keep": 300,
        "slate": 20,
        "order": "auto",
        **({"cold_start": "recall"} if few else {}),
        "channels": {
            **({"again": {"quota": 100}} if repeats >= REPEATS else {}),
            "itemcf": {"quota": 300, "prune": "auto"},
            **({"ease": {"quota": 300}} if count <= _EASE_ITEMS else {}),
            "two_tower": {"quota": 300},
            "hot": {"quota": 200},
        },
        **_seen(declared, repeats, returns),
        "prerank": {"use": "lr", **(_ORDER if few else {})},
        "rank": {"use": "deepfm", **(_SMALL_DEEPFM if few else {})},
        "rerank": rerank,
    }
    declared.comments |= {
        "cascade.prerank_keep": "candidates that pre-rank lets through",
        "cascade.slate": "longest answer, where the request gives no length",
        "cascade.order": "the ranker, a channel or a fusion of both, by the validation windows",
        "cascade.cold_start": "users without history get recall's order, not the ranker's",
        "cascade.channels.itemcf": "items of users with the same interests",
        "cascade.channels.two_tower": "learned vectors of users and items",
        "cascade.channels.hot": "recently popular items; answers for unknown users as well",
        "cascade.rerank.mmr": "diversity: 1 = only the rank's order, 0 = only diversity; for a "
        "hard limit\nper category add [cascade.rerank.at_most], which costs accuracy where "
        "interests are narrow",
    }
    if repeats >= REPEATS:
        declared.comments["cascade.channels.again"] = (
            f"the items that a user comes back to: {repeats:.1%} of the positive events are on "
            "items that\nthe user knew"
        )
    if count <= _EASE_ITEMS:
        declared.comments["cascade.channels.ease"] = (
            "closed form; a strong and cheap channel for small catalogues"
        )


def _seen(declared: Declared, repeats: float, returns: Mapping[str, float]) -> dict[str, Any]:
    """The filter `seen` for the behaviours after which users do not come back, with a note."""
    acted = [n for n, entry in declared.data["behaviours"].items() if not entry.get("impression")]
    once = [name for name in acted if returns.get(name, repeats) < REPEATS]
    shares = ", ".join(f"{name} {returns[name]:.1%}" for name in acted if name in returns)
    figure = f"{repeats:.1%} of the positive events are on items that the user knew"
    if len(acted) > 1 and shares:
        figure += f" (as strong or stronger events on items known by {shares})"
    again = "; the channel `again` recalls them" if repeats >= REPEATS else ""
    place = "cascade.filters.seen"
    if not once:
        declared.notes.append(f"repeat consumption: {figure}{again}; there is no filter `seen`")
        return {}
    if len(once) == len(acted):
        declared.notes.append(f"{figure}; known items are not recommended again (filter `seen`)")
        declared.comments[place] = "an item is not recommended again once acted upon"
        return {"filters": {"seen": {}}}
    named = ", ".join(once)
    declared.notes.append(f"repeat consumption: {figure}{again}; `seen` filters by {named} only")
    declared.comments[place] = "users do not come back to an item after these"
    return {"filters": {"seen": {"behaviours": once}}}
