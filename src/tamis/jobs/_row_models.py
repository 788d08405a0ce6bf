"""A ranker fitted on a table of labelled rows, without a cascade: saved, opened, scoring tables."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import polars as pl

from tamis.features import GuessOptions, guess_feature
from tamis.schema import ConfigError, Feature, VersionError, read_json, reading
from tamis.service import registry
from tamis.train import FrameModel

ABOUT = "rows.json"
"""File beside the model's own: the ranker's name, its labels and keys, and how it was chosen."""
_KEY = re.compile(r"(^|_)(user|item|request|time|timestamp|id|uid|iid)(_|$)", re.IGNORECASE)


_MOMENT = re.compile(r"(^|_)(request|session|time|timestamp|date)(_|$)", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class RowModel:
    """A ranker fitted on a table of rows."""

    use: str
    """Short name or dotted path of the ranker."""
    model: FrameModel
    keys: tuple[str, ...]
    """Columns that identify a row; they are written beside its score."""
    about: dict[str, Any] = field(default_factory=dict[str, Any])
    """How it was made and chosen, for readers of the folder."""

    def score(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The keys and scores of all rows, in order: a column `score`, or one per prediction of
        several tasks. If the table has none of the keys, a column `row` counts from 0.

        Raises DataError where a feature's column is missing or of another type.
        """
        assert self.model.space is not None
        scores = self.model.score_rows(self.model.space.rows(frame))
        keys = [name for name in self.keys if name in frame.columns]
        out = frame.select(keys) if keys else frame.select(row=pl.int_range(pl.len()))
        return with_scores(out, scores, single=len(self.model.tasks) == 1)

    def save(self, folder: Path) -> None:
        """Writes the model and its description into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        self.model.save(folder)
        about = {"use": self.use, "keys": self.keys, **self.about}
        (folder / ABOUT).write_text(json.dumps(about, indent=1, default=str) + "\n", "utf-8")

    @classmethod
    def is_in(cls, folder: Path) -> bool:
        """Whether `folder` holds such a model, written by `save` or by a ranker's own `save`."""
        return (folder / ABOUT).is_file() or (folder / "estimator.json").is_file()

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Raises VersionError where files are missing or the model was not fitted on a table."""
        about = read_json(folder / ABOUT) if _has(folder, ABOUT) else {}
        use = about.get("use") or _named(folder)
        registry.look_in(folder)
        with reading(folder):
            ranker: Any = registry.find("rank", use)
            model = ranker.load(folder)
        if model.space is None:
            raise VersionError(
                f"{folder} holds a {use} that was fitted on a cascade's rows: give its project"
            )
        columns = [feature.source for feature in model.features]
        return cls(use, model, tuple(about.get("keys") or key_columns(columns)), about)


def with_scores(keys: pl.DataFrame, scores: dict[str, Any], *, single: bool) -> pl.DataFrame:
    """The rows' keys with columns of predictions; that of a single task is called `score`."""
    if single:
        return keys.with_columns(score=pl.Series(next(iter(scores.values()))))
    clash = {name: f"{name}_score" if name in keys.columns else name for name in scores}
    return keys.with_columns(**{clash[name]: pl.Series(s) for name, s in scores.items()})


def key_columns(columns: Sequence[str]) -> tuple[str, ...]:
    """The columns whose names suggest that they identify a row: user, item, request, time, id."""
    return tuple(name for name in columns if _KEY.search(name))


def guess_features(frame: pl.DataFrame, leave: Sequence[str]) -> tuple[Feature, ...]:
    """The features of a table of labelled rows, by `tamis.features.guess_feature`.

    Left out are the columns of `leave` (labels), dates, and columns named after a request or a
    time: other tables hold other values of those.

    Left out are the labels, and columns of requests and times, whose values do not recur in other
    tables. Raises ConfigError if no column is left.
    """
    options = GuessOptions(log=True, dates=False)
    columns = (c for c in frame if c.name not in leave and not _MOMENT.search(c.name))
    guesses = (guess_feature(column, options=options) for column in columns)
    found = tuple(feature for feature in guesses if feature is not None)
    if not found:
        raise ConfigError(
            f"no feature can be made of the table's columns ({', '.join(frame.columns)}; labels: "
            f"{', '.join(leave)}): add a column with several values, or declare `features`"
        )
    return found


def _has(folder: Path, name: str) -> bool:
    return (folder / name).is_file()


def _named(folder: Path) -> str:
    """The short name of the ranker whose `save` wrote `folder`."""
    saved = folder / "estimator.json"
    if not saved.is_file():
        raise VersionError(
            f"{folder} holds no model ({ABOUT} is missing): "
            "run `tamis compare --table TABLE --out FOLDER`"
        )
    name = read_json(saved, model=str)["model"]
    found = [use for use, stage in registry.available("rank").items() if stage.__name__ == name]
    if not found:
        raise VersionError(f"{folder} holds a {name}, which is no ranker of this version of Tamis")
    return found[0]
