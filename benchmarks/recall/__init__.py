"""The lines of the recall benchmark, one file each (`benchmarks.harness`), and their data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl
from benchmarks.places import (
    BUILD,
    ROOT,
    MissingDataError,
    folder,
    notes,
    standard,
    there,
)

from tamis.data import Dataset
from tamis.datasets import at_least, materialise, read_interactions, read_pairs
from tamis.runtime import peak_mb
from tamis.splitting import Holdout, carve, given, leave_one_out

__all__ = [
    "BUILD",
    "ROOT",
    "MissingDataError",
    "beauty",
    "folder",
    "foursquare",
    "gowalla",
    "leave_out",
    "movielens_1m",
    "notes",
    "peak_mb",
    "standard",
]


def beauty(data: Path | None = None) -> Dataset:
    """Amazon Beauty, or another file of interactions."""
    return read_interactions(there(data) or standard("amazon-beauty/Beauty.txt"))


def movielens_1m(data: Path | None = None) -> Dataset:
    """MovieLens-1M's ratings of the 3,416 items that have at least 5, or another file likewise.

    All ratings are positive, as the published figures have it.
    """
    if there(data) is None:
        made = BUILD / "movielens-1m"
        if not (made / "users.csv").exists():
            materialise("movielens-1m", made)
        data = made / "events.csv"
    return at_least(read_interactions(data), item=5)


def foursquare(data: Path | None = None) -> Dataset:
    """Foursquare's check-ins; places have columns latitude and longitude.

    data: a folder, or a file of check-ins, with the places' file beside it (its name holds "poi").
    """
    place = there(data) or standard("foursquare")
    beside = place if place.is_dir() else place.parent
    checkins = _only(beside, "*checkins*.txt") if place.is_dir() else place
    found = read_interactions(checkins)
    at = pl.read_csv(
        _only(beside, "*poi*.txt"),
        separator="\t",
        has_header=False,
        new_columns=["id", "latitude", "longitude"],
        schema_overrides={"id": pl.String},
    )
    frame = pl.DataFrame({"id": found.items.ids}).join(
        at.unique("id"), on="id", how="left", maintain_order="left"
    )
    return replace(found, items=replace(found.items, frame=frame.drop("id")))


def gowalla(data: Path | None = None) -> Holdout:
    """LightGCN's split of Gowalla, or another one of the same format.

    data: a folder with train.txt and test.txt; or a train file whose test file lies beside it; or
    one file alone, of which a random fifth of each user's items is the test set (seed 0). The
    protocol says which.
    """
    place = there(data) or standard("gowalla")
    if place.is_dir():
        return given(*read_pairs(place / "train.txt", place / "test.txt"))
    test = place.with_name(place.name.replace("train", "test"))
    if test != place and test.exists():
        return given(*read_pairs(place, test))
    lists = place.suffix == ".txt"
    whole = read_pairs(place, place)[0] if lists else read_interactions(place)
    split = carve(whole, 0.2, seed=0)
    notes.append(f"{place.name}: {split.protocol}")
    return split


def leave_out(data: Dataset) -> tuple[Holdout, Holdout]:
    """(validation, test) of strict leave-one-out."""
    return leave_one_out(data, "valid"), leave_one_out(data, "test")


def _only(beside: Path, pattern: str) -> Path:
    found = sorted(beside.glob(pattern))
    if not found:
        raise MissingDataError(f"{beside} holds no file like {pattern}")
    return found[0]
