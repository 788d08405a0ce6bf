"""The second half of `tamis init`: behaviours, features and a cascade for the tables found."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import polars as pl

from tamis.data import column_names as words

_SEPARATORS = ("|", ";", ",", " ")
_FEW = 100
"""Whole numbers with at most so many different values are taken for codes."""


@dataclass
class Declared:
    """The growing declaration with its comments and notes."""

    data: dict[str, Any]
    comments: dict[str, str]
    notes: list[str]


def describe_behaviours(declared: Declared, events: pl.DataFrame) -> None:
    """Adds `behaviours` from the words of the behaviour column, or from the ratings."""
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
    counts = labels.cast(pl.String).drop_nulls().value_counts(sort=True)
    behaviours: dict[str, dict[str, Any]] = {}
    shown = False
    for label, count in counts.iter_rows():
        name = _key(label)
        usual = words.USUAL.get(words.plain(label))
        entry: dict[str, Any] = {} if name == label else {"label": label}
        if usual is None:
            entry["weight"] = 0.0
            says = "an unknown word: set positive = true and a weight if it is a success"
        else:
            entry["weight"], says = usual.weight, usual.meaning
            entry |= {"positive": True} if usual.positive else {}
            entry |= {"impression": True} if usual.impression else {}
        shown |= bool(entry.get("impression"))
        behaviours[name] = entry
        declared.comments[f"behaviours.{name}"] = f"{count:,} events: {says}."
    if not any(entry.get("positive") for entry in behaviours.values()):
        first = next(name for name, e in behaviours.items() if not e.get("impression"))
        behaviours[first] |= {"positive": True, "weight": 1.0}
        declared.notes.append(f"no known word of success: `{first}`, the most frequent, is taken")
    declared.data["behaviours"] = behaviours
    good = [name for name, entry in behaviours.items() if entry.get("positive")]
    declared.notes.append(
        f"behaviours {', '.join(behaviours)}; positive: {', '.join(good)}"
        + ("" if shown else "; no impressions, so the ranker trains on replayed recall")
    )


def _from_ratings(declared: Declared, values: pl.Series) -> None:
    """>= 4 of 5 is liked; on other scales the upper 60 % of the events."""
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
    declared.comments["behaviours.rate"] = "A lower one only says that the item was seen."
    declared.notes.append(
        f"ratings from {low:g} to {high:g}: {bound:g} and above are the positive `like` "
        f"({share:.0%} of the events)"
    )


def _key(label: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "_", label.strip()).strip("_") or "behaviour"


def features_of(declared: Declared, items: pl.DataFrame, users: pl.DataFrame | None) -> None:
    """Adds `features`: each attribute by its type and number of values, and, where impressions give
    the ranker rows enough to learn them from, the two ids and the history."""
    data = declared.data
    user_id = data["users"]["id"] if users is not None else data["events"]["user"]
    item_id = data["items"]["id"]
    shown = any(entry.get("impression") for entry in data["behaviours"].values())
    features: list[dict[str, Any]] = []
    if shown:
        features = [
            {"kind": "sparse", "name": user_id, "side": "user"},
            {"kind": "sparse", "name": item_id, "side": "item"},
        ]
    skipped: list[str] = []
    taken = {user_id, item_id, data["items"].get("title"), data["items"].get("published")}
    tables = (("user", users), ("item", items))
    for side, frame in tables:
        for column in frame if frame is not None else ():
            if column.name in taken:
                continue
            feature = _feature(column)
            if feature is None:
                skipped.append(column.name)
                continue
            names = {f["name"] for f in features}
            name = column.name if column.name not in names else f"{side}_{column.name}"
            target = {} if name == column.name else {"column": column.name}
            features.append(
                {"kind": feature.pop("kind"), "name": name, "side": side} | target | feature
            )
    if shown:
        good = [n for n, entry in data["behaviours"].items() if entry.get("positive")]
        history = {"kind": "varlen", "name": "history", "side": "user", "history": good}
        features.append({**history, "shares": item_id})
        declared.comments["features[history]"] = "The items of the user's last positive events."
    data["features"] = features
    if skipped:
        declared.notes.append(f"no features of {', '.join(skipped)} (free text, or one value)")


def _feature(column: pl.Series) -> dict[str, Any] | None:
    """The kind of feature that a column makes; None = none."""
    dtype, rows = column.dtype, len(column)
    if isinstance(dtype, pl.List | pl.Array):
        if dtype.inner not in (pl.Float32(), pl.Float64()):
            return {"kind": "varlen"}
        first = column.drop_nulls().head(1).to_list()
        return {"kind": "dense", "width": len(first[0])} if first and first[0] else None
    different = column.drop_nulls().n_unique()
    if different < 2 or dtype.is_nested() or dtype.is_temporal():
        return None
    if dtype.is_numeric():
        return _numeric_feature(column, different)
    if dtype == pl.String and (separator := list_separator(column)):
        return {"kind": "varlen", "separator": separator}
    if different > 0.7 * rows and different > _FEW:
        return None
    return {"kind": "sparse"} if different <= 1000 else {"kind": "sparse", "min_count": 2}


def _numeric_feature(column: pl.Series, different: int) -> dict[str, Any] | None:
    name = words.plain(column.name)
    whole = column.dtype.is_integer() or bool((column == column.round()).all())
    if re.search(r"(^|_)id$", name):
        return {"kind": "sparse"} if different <= 0.7 * len(column) else None
    if whole and different <= _FEW and not _is_year(column):
        return {"kind": "sparse"}
    numbers = column.cast(pl.Float64).drop_nulls()
    least, middle, most = (float(numbers.quantile(q) or 0.0) for q in (0.0, 0.5, 1.0))
    skewed = least >= 0 and most > 20 * max(middle, 1e-9)
    return {"kind": "dense", "transform": "log1p"} if skewed else {"kind": "dense"}


def _is_year(column: pl.Series) -> bool:
    """Years are a scale: what is new is told by their distance."""
    return "year" in words.plain(column.name) and bool(
        column.drop_nulls().is_between(1800, 2200).all()
    )


def list_separator(column: pl.Series) -> str | None:
    """What splits a text column into a few recurring words ("Action|Comedy"), if anything does."""
    if column.dtype != pl.String:
        return None
    texts = column.drop_nulls().head(20_000)
    for separator in _SEPARATORS:
        several = texts.str.contains(separator, literal=True).sum() / max(len(texts), 1)
        if several < 0.05:
            continue
        parts = texts.str.split(separator).list.explode()
        few = parts.n_unique() <= max(20, 0.1 * len(parts))
        plain = separator in "|;" or parts.n_unique() < texts.n_unique()  # commas end sentences too
        if few and plain:
            return separator
    return None


_LEARNABLE = 500
"""Events of a behaviour from which its rate may be learnt."""


def describe_tasks(declared: Declared, events: pl.DataFrame) -> None:
    """Adds `tasks` and a fusion where the log says what was shown and clicked: the click, the rate
    of each further behaviour among clicks, and of purchases among carts."""
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
        "products of the rates with their conditions, by the behaviours' weights"
    )
    declared.notes.append(f"tasks click, {', '.join(rates)}: rates where their condition holds")


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
"""docs/decisions/0005: what replayed queries teach best; an order, calibrated on validation."""


_EASE_ITEMS = 12_000
"""Items up to which EASE's matrix (items², float32) stays below 0.6 GB."""


def describe_cascade(declared: Declared, items: pl.DataFrame) -> None:
    """Adds the cascade that suits most projects; a category adds the diversity rules."""
    data, columns = declared.data, declared.data["items"]
    # Without impressions the ranker learns from replayed queries, a few thousand at most.
    few = not any(entry.get("impression") for entry in data["behaviours"].values())
    rerank: dict[str, Any] = {}
    category = columns.get("category")
    if category:
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
            **({"ease": {"quota": 300}} if len(items) <= _EASE_ITEMS else {}),
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
        "cascade.slate": "most places of an answer, if the request does not say",
        "cascade.cold_start": "without a history, recall's own order: rankers have seen none such",
        "cascade.channels.itemcf": "what people with the same interests took",
        "cascade.channels.two_tower": "learned vectors of users and items",
        "cascade.channels.hot": "popular of late; answers where no other channel can",
        "cascade.filters.seen": "an item is not recommended again once acted upon",
        "cascade.rerank.mmr": "variety: 1 = only the rank's order, 0 = only variety",
        "cascade.rerank.at_most": "at most so many of one category among neighbours",
    }
    if len(items) <= _EASE_ITEMS:
        declared.comments["cascade.channels.ease"] = (
            "closed form; the strongest cheap channel of a small catalogue"
        )
