"""Saves and loads a project's feature space as JSON, Arrow and npy files, without pickle."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from tamis.features._calendar import LocalCalendar
from tamis.features._fitted import Fitted, Scale
from tamis.features._lookup import Attributes, HistoryLookup
from tamis.features._place import Distance
from tamis.features._sources import is_history
from tamis.features.encoding import Encoders, LayoutBuilder
from tamis.features.own_items import OwnItemFeatures
from tamis.features.pair_features import Category, Interest, Number, PositionInput, RecallColumn
from tamis.features.repeats import ItemRepeats
from tamis.features.statistics import Recipes
from tamis.features.vocabulary import Vocabulary
from tamis.features.windows import opened
from tamis.schema import Side, VersionError, read_json, reading

_FILE = "space.json"


def save_fitted(fitted: Fitted, directory: Path) -> None:
    """Writes scalars to `space.json` and each array to its own file."""
    directory.mkdir(parents=True, exist_ok=True)
    fitted.encoders.save(directory)
    fitted.users.save(directory, "users")
    fitted.items.save(directory, "items")
    if fitted.recipes is not None:
        fitted.recipes.save(directory / "statistics")
    interest = fitted.interest
    for k, lookup in enumerate(fitted.histories):
        np.save(directory / f"history{k}.npy", lookup.codes)
    for k, category in enumerate(interest.categories):
        np.save(directory / f"category{k}.npy", category.codes)
        np.save(directory / f"category{k}_base.npy", category.base)
    for k, number in enumerate(interest.numbers):
        np.save(directory / f"number{k}.npy", number.values)
    saved: dict[str, Any] = {
        "sides": dict(fitted.sides),
        "contexts": {name: codes.tolist() for name, codes in fitted.contexts.items()},
        "histories": [
            {"name": h.name, "wanted": h.wanted.tolist(), "pad": h.pad, "max_len": h.max_len}
            for h in fitted.histories
        ],
        "user_scale": _scale(fitted.user_scale),
        "item_scale": _scale(fitted.item_scale),
        "group_scales": [_scale(s) for s in fitted.group_scales],
        "pair_scales": [_scale(s) for s in fitted.pair_scales],
        "positive": interest.positive.tolist(),
        "columns": [asdict(c) for c in interest.columns],
        "position": None if interest.position is None else asdict(interest.position),
        "categories": [c.name for c in interest.categories],
        "category_vocabularies": {
            str(k): {
                "separator": category.separator,
                "vocabulary": category.vocabulary.save(directory, f"category{k}_vocabulary"),
            }
            for k, category in enumerate(interest.categories)
            if category.vocabulary is not None
        },
        "numbers": [n.name for n in interest.numbers],
        "statistics": fitted.recipes is not None,
        "own": _saved_own(interest.own, directory),
        "calendar": {
            "time_zone": fitted.calendar.time_zone,
            "holidays": fitted.calendar.holidays.tolist(),
        },
        "distance": _saved_distance(fitted.distance, directory),
    }
    (directory / _FILE).write_text(json.dumps(saved, indent=1))


def load_fitted(directory: Path) -> Fitted:
    """Loads what `save_fitted` wrote. Raises VersionError where there is no feature space."""
    file = directory / _FILE
    if not file.exists():
        raise VersionError(
            f"{directory} holds no feature space ({_FILE} is missing): give the folder "
            "that `FeatureSpace.save` wrote"
        )
    scale = (dict, type(None))
    saved = read_json(
        file,
        sides=dict,
        contexts=dict,
        histories=list,
        user_scale=scale,
        item_scale=scale,
        positive=list,
        columns=list,
        categories=list,
        numbers=list,
    )
    encoders = Encoders.load(directory)
    recipes = directory / "statistics"
    has_recipes = saved.get("statistics", recipes.exists())  # earlier releases lack the key
    with reading(file):
        fitted = Fitted(
            encoders=encoders,
            sides={name: Side(side) for name, side in saved["sides"].items()},
            users=Attributes.load(directory, "users"),
            items=Attributes.load(directory, "items"),
            contexts={n: np.array(c, np.int32) for n, c in saved["contexts"].items()},
            histories=tuple(
                HistoryLookup(
                    name=h["name"],
                    wanted=np.array(h["wanted"], np.bool_),
                    codes=opened(directory / f"history{k}.npy", np.int32, (None, None)),
                    pad=int(h["pad"]),
                    max_len=int(h["max_len"]),
                )
                for k, h in enumerate(saved["histories"])
            ),
            recipes=Recipes.load(recipes) if has_recipes else None,
            user_scale=_scale_of(saved["user_scale"]),
            item_scale=_scale_of(saved["item_scale"]),
            group_scales=tuple(_scale_of_groups(s) for s in saved.get("group_scales", [])),
            pair_scales=tuple(_scale_of_groups(s) for s in saved.get("pair_scales", [])),
            interest=_interest(directory, saved),
            calendar=_calendar(saved.get("calendar")),
            distance=_distance(directory, saved.get("distance")),
        )
        _check_rows(fitted)
    return fitted


def _check_rows(fitted: Fitted) -> None:
    """Raises ValueError unless every array of the items has a row per item and an unknown one's."""
    rows = len(fitted.items.ids)
    arrays = {
        **{f"history {h.name}": h.codes for h in fitted.histories},
        **{f"category {c.name}": c.codes for c in fitted.interest.categories},
        **{f"number {n.name}": n.values for n in fitted.interest.numbers},
    }
    for name, array in arrays.items():
        if len(array) != rows:
            raise ValueError(f"{name} has {len(array)} rows, the items have {rows}")
    own = fitted.interest.own
    if own is not None and not len(own.repeats.rate) == len(own.repeats.log_gap) == rows - 1:
        raise ValueError(
            f"the repeat rates and usual gaps have {len(own.repeats.rate)} and "
            f"{len(own.repeats.log_gap)} rows, the items have {rows - 1}"
        )
    for feature in fitted.encoders.features:
        if feature.name not in fitted.sides:
            raise ValueError(f"sides lacks the feature {feature.name!r}")
    for side, table in ((Side.USER, fitted.users), (Side.ITEM, fitted.items)):
        width, numbers = _widths(fitted, side)
        if table.ids.shape[1] != width or table.dense.shape[1] != numbers:
            raise ValueError(
                f"the arrays of the {side.value}s have {table.ids.shape[1]} ids and "
                f"{table.dense.shape[1]} numbers, the features need {width} and {numbers}"
            )


def _widths(fitted: Fitted, side: Side) -> tuple[int, int]:
    """Number of id and of number columns of a side's stored attributes."""
    own = [f for f in fitted.encoders.features if fitted.sides[f.name] is side]
    stored = [f for f in own if not is_history(f)]
    builder = LayoutBuilder()
    fitted.encoders.add_tables(builder)
    for feature in stored:
        fitted.encoders.add_columns(builder, feature, side)
    layout = builder.build()
    return layout.id_width, layout.dense_width


def _interest(directory: Path, saved: dict[str, Any]) -> Interest:
    own: dict[str, Any] = {}
    if "category_vocabularies" in saved:  # earlier releases lack them
        own = read_json(directory / _FILE, category_vocabularies=dict)["category_vocabularies"]
    categories = [
        Category(
            name,
            opened(directory / f"category{k}.npy", np.int32, (None, None)),
            opened(directory / f"category{k}_base.npy", np.float32, (None,)),
            Vocabulary.load(directory, own[str(k)]["vocabulary"]) if str(k) in own else None,
            own[str(k)]["separator"] if str(k) in own else None,
        )
        for k, name in enumerate(saved["categories"])
    ]
    numbers = [
        Number(name, opened(directory / f"number{k}.npy", np.float32, (None,)))
        for k, name in enumerate(saved["numbers"])
    ]
    return Interest(
        positive=np.array(saved["positive"], np.bool_),
        columns=tuple(RecallColumn(**c) for c in saved["columns"]),
        categories=tuple(categories),
        numbers=tuple(numbers),
        own=_own(directory, saved.get("own")),  # earlier releases lack these keys
        position=PositionInput(**position) if (position := saved.get("position")) else None,
    )


def _saved_own(own: OwnItemFeatures | None, directory: Path) -> dict[str, Any] | None:
    """Writes the arrays of the features of known items; their plain values for the JSON."""
    if own is None:
        return None
    np.save(directory / "own_log_gap.npy", own.repeats.log_gap)
    np.save(directory / "own_rate.npy", own.repeats.rate)
    return {
        "behaviours": list(own.behaviours),
        "counted": own.counted.tolist(),
        "spread": own.repeats.spread,
        "new_gap": own.repeats.new_gap,
        "new_rate": own.repeats.new_rate,
    }


def _own(directory: Path, saved: dict[str, Any] | None) -> OwnItemFeatures | None:
    """What `_saved_own` wrote."""
    if saved is None:
        return None
    repeats = ItemRepeats(
        log_gap=opened(directory / "own_log_gap.npy", np.float32, (None,)),
        rate=opened(directory / "own_rate.npy", np.float32, (None,)),
        spread=float(saved["spread"]),
        new_gap=float(saved.get("new_gap", float("nan"))),  # earlier releases lack these keys
        new_rate=float(saved.get("new_rate", 0.0)),
    )
    return OwnItemFeatures(
        tuple(saved["behaviours"]), np.array(saved["counted"], np.bool_), repeats
    )


def _calendar(saved: dict[str, Any] | None) -> LocalCalendar:
    """The stored calendar; UTC without holidays where an earlier release wrote the version."""
    if saved is None:
        return LocalCalendar()
    return LocalCalendar(str(saved["time_zone"]), np.array(saved["holidays"], np.int32))


def _saved_distance(distance: Distance | None, directory: Path) -> dict[str, Any] | None:
    """Writes the places of the items; the scale for the JSON."""
    if distance is None:
        return None
    np.save(directory / "item_places.npy", distance.places)
    return {"mean": distance.mean, "std": distance.std, "columns": distance.columns}


def _distance(directory: Path, saved: dict[str, Any] | None) -> Distance | None:
    """What `_saved_distance` wrote."""
    if saved is None:
        return None
    places = opened(directory / "item_places.npy", np.float32, (None, 2))
    columns = saved.get("columns")  # earlier releases lack them
    names = None if columns is None else (str(columns[0]), str(columns[1]))
    return Distance(places, float(saved["mean"]), float(saved["std"]), names)


def _scale(scale: Scale | None) -> dict[str, list[float]] | None:
    return None if scale is None else {"mean": scale.mean.tolist(), "std": scale.std.tolist()}


def _scale_of_groups(saved: dict[str, list[float]]) -> Scale:
    scale = _scale_of(saved)
    assert scale is not None
    return scale


def _scale_of(saved: dict[str, list[float]] | None) -> Scale | None:
    if saved is None:
        return None
    return Scale(np.array(saved["mean"], np.float32), np.array(saved["std"], np.float32))
