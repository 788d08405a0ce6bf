"""Proposes behaviours, features, tasks and a cascade for the tables that `tamis init` found."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import polars as pl

from tamis.data import column_names as words
from tamis.features import guess_feature
from tamis.schema import Feature, Side


@dataclass
class Declared:
    """The declaration under construction, with its comments and notes (see `table_guess.Guess`)."""

    data: dict[str, Any]
    comments: dict[str, str]
    notes: list[str]


def describe_behaviours(declared: Declared, events: pl.DataFrame) -> None:
    """Adds `behaviours`: of the labels in the behaviour column, or of ratings."""
    columns = declared.data["events"]
    if "behaviour" in columns:
        _from_labels(declared, events[columns["behaviour"]])
    elif "value" in columns and words.plain(columns["value"]) in words.RATING:
        _from_ratings(declared, events[columns["value"]])
    else:
        declared.data["behaviours"] = {"interaction": {"positive": True}}
        declared.comments["behaviours.interaction"] = "Every event counts as a success."
        declared.notes.append("no behaviour column: every event is a positive `interaction`")


def _from_labels(declared: Declared, labels: pl.Series) -> None:
    """Adds a behaviour per label, most frequent first, with the usual meaning of its name."""
    counts = labels.cast(pl.String).drop_nulls().value_counts(sort=True)
    behaviours: dict[str, dict[str, Any]] = {}
    shown = False
    for label, count in counts.iter_rows():
        name = _key(label)
        usual = words.USUAL.get(words.plain(label))
        entry: dict[str, Any] = {} if name == label else {"label": label}
        if usual is None:
            entry["weight"] = 0.0
            meaning = "unknown name: set positive = true and a weight if it is a success"
        else:
            entry["weight"], meaning = usual.weight, usual.meaning
            entry |= {"positive": True} if usual.positive else {}
            entry |= {"impression": True} if usual.impression else {}
        shown |= bool(entry.get("impression"))
        behaviours[name] = entry
        declared.comments[f"behaviours.{name}"] = f"{count:,} events: {meaning}."
    if not any(entry.get("positive") for entry in behaviours.values()):
        first = next(name for name, e in behaviours.items() if not e.get("impression"))
        behaviours[first] |= {"positive": True, "weight": 1.0}
        declared.notes.append(
            f"no behaviour has a usual name of a success: the most frequent, `{first}`, is taken"
        )
    declared.data["behaviours"] = behaviours
    good = [name for name, entry in behaviours.items() if entry.get("positive")]
    declared.notes.append(
        f"behaviours {', '.join(behaviours)}; positive: {', '.join(good)}"
        + ("" if shown else "; no impressions, so the ranker trains on replayed recall")
    )


def _from_ratings(declared: Declared, values: pl.Series) -> None:
    """Adds a positive `like` (at least 4 of 5; on other scales the upper 60 %) and a `rate`."""
    numbers = values.cast(pl.Float64).drop_nulls()
    low, high = (float(numbers.quantile(q) or 0.0) for q in (0.0, 1.0))
    if low >= 0 and 4 < high <= 5:
        bound = 4.0
    else:
        bound = float(numbers.quantile(0.4, interpolation="higher") or high)
    share = (numbers >= bound).sum() / max(len(numbers), 1)
    declared.data["behaviours"] = {
        "like": {"min_value": bound, "positive": True},
        "rate": {"weight": 0.0},
    }
    declared.comments["behaviours.like"] = f"A rating of at least {bound:g} is a success."
    declared.comments["behaviours.rate"] = "A lower rating only shows that the user knows the item."
    declared.notes.append(
        f"ratings from {low:g} to {high:g}: {bound:g} and above are the positive `like` "
        f"({share:.0%} of the events)"
    )


def _key(label: str) -> str:
    """The label as a key of TOML."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", label.strip()).strip("_") or "behaviour"


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
        data["features"] = features
    if skipped:
        declared.notes.append(
            f"no features made of {', '.join(skipped)} (free text, a single value, or values that "
            "hardly repeat)"
        )


def _attribute(column: pl.Series, side: Side, items: dict[str, Any]) -> Feature | None:
    """The feature of a column; the items' author and category are read as declared."""
    of_item = side is Side.ITEM
    return guess_feature(
        column,
        side=side,
        is_id=of_item and column.name == items.get("author"),
        separator=items.get("category_separator")
        if of_item and column.name == items.get("category")
        else None,
    )


_LEARNABLE = 500
"""Least number of events of a behaviour for a task that predicts its rate."""


def describe_tasks(declared: Declared, events: pl.DataFrame) -> None:
    """Adds `tasks` and a fusion where the log holds impressions and clicks.

    The tasks are the click, each further behaviour given a click, and purchases given a cart.
    """
    behaviours: dict[str, dict[str, Any]] = declared.data["behaviours"]
    column = declared.data["events"].get("behaviour")
    shown = any(entry.get("impression") for entry in behaviours.values())
    if column is None or not shown or "click" not in behaviours:
        return
    labels = events[column].cast(pl.String)
    weights = {
        name: entry.get("weight", 1.0)
        for name, entry in behaviours.items()
        if name != "click" and name.isidentifier() and not entry.get("impression")
    }
    later = {
        name: weight
        for name, weight in weights.items()
        if weight > 0 and (labels == behaviours[name].get("label", name)).sum() >= _LEARNABLE
    }
    if not later:
        return
    given = dict.fromkeys(later, "click")
    if {"cart", "purchase"} <= set(later):
        given["purchase"] = "cart"
    rates = [f"{name}|{condition}" for name, condition in given.items()]
    declared.data["tasks"] = {name: {} for name in ("click", *rates)}
    parts = ["click", *(f"{weight:g} * {name}" for name, weight in later.items())]
    declared.data["cascade"]["fusion"] = " + ".join(parts)
    declared.comments["cascade.fusion"] = (
        "probabilities of the behaviours (rates times their conditions), weighted"
    )
    declared.notes.append(
        f"tasks click, {', '.join(rates)}: each rate among the events where its condition holds"
    )


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


_EASE_ITEMS = 12_000
"""Number of items up to which EASE's matrix (items², float32) stays below 0.6 GB."""


def describe_cascade(declared: Declared, items: pl.DataFrame | None, count: int) -> None:
    """Adds the usual cascade, with diversity rules where the items have a category.

    items: their table, if there is one; count: the number of items.
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
        rerank["mmr"] = {"theta": 0.95, **options}
        if int(items[category].n_unique()) >= 5:
            rerank["at_most"] = {"limit": 3, "window": 5, **options, "count": "primary"}
    data["cascade"] = {
        "prerank_keep": 300,
        "slate": 20,
        **({"cold_start": "recall"} if few else {}),
        "channels": {
            "itemcf": {"quota": 300},
            **({"ease": {"quota": 300}} if count <= _EASE_ITEMS else {}),
            "two_tower": {"quota": 300},
            "hot": {"quota": 300, "fallback": True},
        },
        "filters": {"seen": {}},
        "prerank": {"use": "lr", **(_ORDER if few else {})},
        "rank": {"use": "deepfm", **(_SMALL_DEEPFM if few else {})},
        "rerank": rerank,
    }
    declared.comments |= {
        "cascade.prerank_keep": "candidates that pre-rank lets through",
        "cascade.slate": "longest answer, where the request gives no length",
        "cascade.cold_start": "users without history get recall's order, not the ranker's",
        "cascade.channels.itemcf": "items of users with the same interests",
        "cascade.channels.two_tower": "learned vectors of users and items",
        "cascade.channels.hot": "recently popular items; answers where no other channel can",
        "cascade.filters.seen": "an item is not recommended again once acted upon",
        "cascade.rerank.mmr": "diversity: 1 = only the rank's order, 0 = only diversity",
        "cascade.rerank.at_most": "most items of one category within any 5 consecutive places",
    }
    if count <= _EASE_ITEMS:
        declared.comments["cascade.channels.ease"] = (
            "closed form; a strong and cheap channel for small catalogues"
        )
