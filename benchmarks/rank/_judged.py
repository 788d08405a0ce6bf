"""A project's ranker on the impressions after the test cut, for lines that need its very rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tomlkit
from numpy.typing import NDArray

from tamis.bundle import Kind
from tamis.cascade import Hydrate, raw_numbers
from tamis.cascade.replay import Replay, impression_window
from tamis.data import Dataset, read_dataset
from tamis.features import Histories, OfflineStatistics
from tamis.service import Recommender


@dataclass(frozen=True, eq=False)
class Judged:
    """The evaluation version's predictions of what it does not know."""

    data: Dataset
    shown: Replay
    """The impressions after the cut, with a column of labels per task."""
    scores: Mapping[str, NDArray[np.float32]]
    ranker: Any


def judged(project: Path) -> Judged:
    """Every impression after the test cut, each with inputs as of its own time."""
    version = Recommender.open(project, Kind.EVALUATION)
    parts, cut = version.parts, version.manifest.data_until
    data = read_dataset(parts.config, project)[0]
    shown = impression_window(parts.config, data, Histories.of(data), (cut, data.end), 10**9)
    raw = raw_numbers(parts.config, parts.items)
    hydrate = Hydrate(parts.space, OfflineStatistics(data, parts.space.recipes), raw)
    scores = parts.rank.score_rows(hydrate(shown.queries, shown.candidates))
    return Judged(data, shown, scores, parts.rank)


def configure(project: Path, **changes: Mapping[str, Any] | None) -> None:
    """Writes sections into the project's `tamis.toml`; `cascade` is merged, None removes a key."""
    path = project / "tamis.toml"
    config: Any = tomlkit.parse(path.read_text("utf-8"))
    for section, entries in changes.items():
        if section == "cascade" and entries is not None:
            for key, value in entries.items():
                if value is None:
                    config["cascade"].pop(key, None)
                else:
                    config["cascade"][key] = value
        else:
            config[section] = entries
    path.write_text(tomlkit.dumps(config), "utf-8")
