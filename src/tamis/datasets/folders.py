"""Public data sets made from files that the user has: nothing here downloads them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from tamis.data import Dataset, Progress
from tamis.datasets.interaction_files import read_interactions, read_pairs, read_sequences
from tamis.datasets.labelled_rows import frappe, funnel, kuairand
from tamis.schema import DataError

DAY_S = 86_400
LAST_DAY = 1_404_172_800
"""1 July 2014 00:00 UTC, the last day of made-up times."""
TRAIN_DAYS = 30
"""Days over which the train pairs of a set without times are strewn."""

Tables = dict[str, pl.DataFrame]


@dataclass(frozen=True)
class FolderSource:
    """A data set of the catalogue that is made from files which the user has."""

    name: str
    files: tuple[str, ...]
    """What the folder must hold."""
    read: Callable[[Path], Tables]
    """Folder → table by the stem of the file to be written."""
    terms: str
    citation: str
    times: str
    """In words: where the times come from."""
    rows: bool = False
    """Labelled rows, for `tamis compare --table`; no log, so no project."""


def write_tables(source: FolderSource, folder: Path, out: Path, say: Progress) -> Path:
    """Writes the tables of a data set, read from `folder`, as CSV into `out`.

    Raises:
        DataError: the folder lacks a file, or a file is damaged.
    """
    missing = [name for name in source.files if not (folder / name).is_file()]
    if missing:
        there = ", ".join(sorted(p.name for p in folder.glob("*"))[:12]) if folder.is_dir() else ""
        raise DataError(
            f"{folder} is no folder of {source.name}: {', '.join(missing)} is missing (it holds "
            f"{there or 'nothing'}). --from names the folder with {', '.join(source.files)}."
        )
    say(f"reading {source.name}")
    out.mkdir(parents=True, exist_ok=True)
    for stem, frame in source.read(folder).items():
        say(f"writing {stem}.csv: {frame.height:,} rows")
        draft = out / f"{stem}.csv.part"
        frame.write_csv(draft)
        os.replace(draft, out / f"{stem}.csv")
    return out


def _events(data: Dataset, seconds: np.ndarray[tuple[int], np.dtype[np.int64]]) -> pl.DataFrame:
    """user_id, item_id, time in order of time (ISO text, UTC)."""
    events = data.events
    moment = pl.Series("time", seconds).cast(pl.Int64) * 1000
    frame = pl.DataFrame(
        {
            "user_id": data.users.ids.gather(events.user),
            "item_id": data.items.ids.gather(events.item),
            "time": moment.cast(pl.Datetime("ms")).dt.strftime("%Y-%m-%dT%H:%M:%S"),
        }
    )
    return frame.sort("time", maintain_order=True)


def _beauty(folder: Path) -> Tables:
    """A user's last event is of the last day, the one before it of the day before, and so on."""
    data = read_sequences(folder / "Beauty.txt")
    events = data.events
    sizes = np.bincount(events.user, minlength=len(data.users))
    back = sizes[events.user] - 1 - events.time
    items = pl.DataFrame({"item_id": data.items.ids})
    path = folder / "Beauty_item2attributes.json"
    if path.is_file():
        items = items.with_columns(
            pl.Series("attributes", _attributes(path, data.items.ids), pl.String)
        )
    return {"events": _events(data, LAST_DAY - DAY_S * back), "items": items}


def _attributes(path: Path, items: pl.Series) -> list[str | None]:
    """Per item its attributes' numbers, joined by |; None where it has none."""
    try:
        found: dict[str, list[int]] = json.loads(path.read_text("utf-8"))
        return ["|".join(map(str, found.get(item, ()))) or None for item in items.to_list()]
    except (ValueError, AttributeError, TypeError) as error:
        raise DataError(
            f"{path.name}: not an object of lists, like {{'4': [1, 2]}} ({error}). Take it from "
            "where Beauty.txt came from, or leave it out."
        ) from error


def _gowalla(folder: Path) -> Tables:
    """Train pairs are strewn over the days before the last one, test pairs are of that day."""
    train, test = read_pairs(folder / "train.txt", folder / "test.txt")
    random = np.random.default_rng(0)
    first = LAST_DAY - TRAIN_DAYS * DAY_S
    strewn = random.integers(first, LAST_DAY, len(train.events))
    earlier = _events(train, strewn)
    later = _events(test, np.full(len(test.events), LAST_DAY, np.int64))
    return {
        "events": pl.concat([earlier, later]),
        "train": earlier,
        "test": later,
        "items": pl.DataFrame({"item_id": train.items.ids}),
    }


def _foursquare(folder: Path) -> Tables:
    data = read_interactions(folder / "Foursquare_checkins.txt")
    places = pl.read_csv(
        folder / "Foursquare_poi_coos.txt",
        separator="\t",
        has_header=False,
        new_columns=["item_id", "latitude", "longitude"],
        schema_overrides=[pl.String, pl.Float64, pl.Float64],
        ignore_errors=True,
    ).unique("item_id", maintain_order=True)
    broken = places.filter(pl.any_horizontal(pl.all().is_null()))
    if broken.height:
        raise DataError(
            f"Foursquare_poi_coos.txt: {broken.height} lines are not item, latitude, longitude "
            f"with tabs between them, like {broken.row(0)}"
        )
    ids = pl.DataFrame({"item_id": data.items.ids})
    items = ids.join(places, on="item_id", how="full", coalesce=True, maintain_order="left_right")
    return {"events": _events(data, data.events.time // 1000), "items": items}


FOLDERS = {
    source.name: source
    for source in (
        FolderSource(
            "amazon-beauty",
            ("Beauty.txt",),
            _beauty,
            "Reviews by Amazon's customers, collected by J. McAuley's group (UC San Diego) and "
            "given out for research; no licence is stated. Preprocessing: S3-Rec.",
            "Ruining He and Julian McAuley. 2016. Ups and Downs. WWW, 507-517. · Kun Zhou et al. "
            "2020. S3-Rec. CIKM, 1893-1902. https://doi.org/10.1145/3340531.3411954",
            "made up, for the set has an order but no times: a user's last event is of the last "
            "day, the one before it of the day before",
        ),
        FolderSource(
            "gowalla",
            ("train.txt", "test.txt"),
            _gowalla,
            "Check-ins of Gowalla's users, collected for research (SNAP, Stanford); no licence is "
            "stated. The split is LightGCN's.",
            "Eunjoon Cho, Seth A. Myers and Jure Leskovec. 2011. Friendship and Mobility. KDD, "
            "1082-1090. · Xiangnan He et al. 2020. LightGCN. SIGIR, 639-648.",
            f"made up, for the set has none: train pairs at random moments of {TRAIN_DAYS} days, "
            "all test pairs at the moment after them",
        ),
        FolderSource(
            "foursquare",
            ("Foursquare_checkins.txt", "Foursquare_poi_coos.txt"),
            _foursquare,
            "Check-ins of Foursquare's users, collected for research; no licence is stated.",
            "Yiding Liu et al. 2017. An Experimental Evaluation of Point-of-interest "
            "Recommendation in Location-based Social Networks. PVLDB 10, 10, 1010-1021.",
            "as collected (UTC)",
        ),
        FolderSource(
            "frappe",
            ("train.csv", "valid.csv"),
            frappe,
            "Use of mobile apps in context, for research alone, not to be redistributed. Negatives "
            "are drawn, two for each use.",
            "Linas Baltrunas et al. 2015. Frappe: Understanding the Usage and Perception of Mobile "
            "App Recommendations In-The-Wild. https://arxiv.org/abs/1505.03014",
            "none: a part of the day and the weekday are among its columns",
            rows=True,
        ),
        FolderSource(
            "kuairand",
            ("interactions.csv",),
            kuairand,
            "KuaiRand, CC BY-SA 4.0. These are rows of liked or hated videos alone: their rates "
            "say nothing of all that was shown.",
            "Chongming Gao et al. 2022. KuaiRand: An Unbiased Sequential Recommendation Dataset "
            "with Randomly Exposed Videos. CIKM, 3953-3957. "
            "https://doi.org/10.1145/3511808.3557624",
            "as collected (ms, UTC)",
        ),
        FolderSource(
            "funnel",
            (),
            funnel,
            "Your own log of views, carts and purchases.",
            "none",
            "those of the log",
        ),
    )
}
