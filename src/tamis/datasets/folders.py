"""Public data sets made from files that the user has; these are not downloaded."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from tamis.data import Dataset
from tamis.datasets.interaction_files import read_interactions, read_pairs, read_sequences
from tamis.datasets.labelled_rows import frappe, funnel, kuairand
from tamis.runtime import Progress
from tamis.schema import DataError

DAY_S = 86_400
LAST_DAY = 1_404_172_800
"""1 July 2014 00:00 UTC in seconds, the last day of generated times."""
TRAIN_DAYS = 30
"""Days over which the training pairs of a set without times are distributed."""

Tables = dict[str, pl.DataFrame]


@dataclass(frozen=True)
class FolderSource:
    """A data set that is made from files that the user has."""

    name: str
    files: tuple[str, ...]
    """Files that the folder must contain."""
    read: Callable[[Path], Tables]
    """Reads the folder; returns tables by the stem of the file to write."""
    terms: str
    citation: str
    times: str
    """Description of the origin of the times."""
    rows: bool = False
    """Labelled rows, for `tamis compare --table`; no log, so no project."""


def write_tables(source: FolderSource, folder: Path, out: Path, progress: Progress) -> Path:
    """Reads a data set from `folder` and writes its tables as CSV to `out`, which is returned.

    Raises:
        DataError: the folder lacks a file, or a file is damaged.
    """
    missing = [name for name in source.files if not (folder / name).is_file()]
    if missing:
        there = ", ".join(sorted(p.name for p in folder.glob("*"))[:12]) if folder.is_dir() else ""
        raise DataError(
            f"{folder} is not a folder of {source.name}: {', '.join(missing)} is missing (it holds "
            f"{there or 'nothing'}). Give the folder with {', '.join(source.files)} by --from."
        )
    progress.begin(f"read {source.name}")
    tables = source.read(folder)
    out.mkdir(parents=True, exist_ok=True)  # only now: what cannot be read leaves no folder
    for stem, frame in tables.items():
        progress.begin(f"write {stem}.csv: {frame.height:,} rows")
        draft = out / f"{stem}.csv.part"
        frame.write_csv(draft)
        os.replace(draft, out / f"{stem}.csv")
    return out


def _events(data: Dataset, seconds: np.ndarray[tuple[int], np.dtype[np.int64]]) -> pl.DataFrame:
    """The table (user_id, item_id, time) sorted by time, which is ISO text in UTC.

    seconds: (n,) time of each event, in seconds since 1970.
    """
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
    """Reads Amazon Beauty. Each user's last event is on the last day, the one before it a day
    earlier, and so on."""
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
    """The attribute numbers of each item, joined by |; None for items without any."""
    try:
        found: dict[str, list[int]] = json.loads(path.read_text("utf-8"))
        return ["|".join(map(str, found.get(item, ()))) or None for item in items.to_list()]
    except (ValueError, AttributeError, TypeError) as error:
        raise DataError(
            f"{path.name}: not an object of lists, like {{'4': [1, 2]}} ({error}). Use the file "
            "from the source of Beauty.txt, or remove it."
        ) from error


def _gowalla(folder: Path) -> Tables:
    """Reads Gowalla. Training pairs have random times before the last day, test pairs that day."""
    train, test = read_pairs(folder / "train.txt", folder / "test.txt")
    random = np.random.default_rng(0)
    first = LAST_DAY - TRAIN_DAYS * DAY_S
    random_times = random.integers(first, LAST_DAY, len(train.events))
    earlier = _events(train, random_times)
    later = _events(test, np.full(len(test.events), LAST_DAY, np.int64))
    return {
        "events": pl.concat([earlier, later]),
        "train": earlier,
        "test": later,
        "items": pl.DataFrame({"item_id": train.items.ids}),
    }


def _foursquare(folder: Path) -> Tables:
    """Reads Foursquare: check-ins and the coordinates of the places."""
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
            f"Foursquare_poi_coos.txt: {broken.height} lines are not item, latitude, longitude, "
            f"separated by tabs, such as {broken.row(0)}; correct or remove them"
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
            "published for research; no licence is stated. Preprocessing: S3-Rec.",
            "Ruining He and Julian McAuley. 2016. Ups and Downs. WWW, 507-517. · Kun Zhou et al. "
            "2020. S3-Rec. CIKM, 1893-1902. https://doi.org/10.1145/3340531.3411954",
            "generated, as the set has an order but no times: each user's last event is on the "
            "last day, the one before it a day earlier",
        ),
        FolderSource(
            "gowalla",
            ("train.txt", "test.txt"),
            _gowalla,
            "Check-ins of Gowalla's users, collected for research (SNAP, Stanford); no licence is "
            "stated. The split is LightGCN's.",
            "Eunjoon Cho, Seth A. Myers and Jure Leskovec. 2011. Friendship and Mobility. KDD, "
            "1082-1090. · Xiangnan He et al. 2020. LightGCN. SIGIR, 639-648.",
            f"generated, as the set has none: training pairs at random times in {TRAIN_DAYS} days, "
            "all test pairs at the time after them",
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
            "Use of mobile apps in context, for research only, not to be redistributed. Negatives "
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
            "KuaiRand, CC BY-SA 4.0. It has only rows of liked or hated videos: their rates "
            "do not describe all that was shown.",
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
            "as in the log",
        ),
    )
}
