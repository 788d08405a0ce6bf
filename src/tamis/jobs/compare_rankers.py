"""`tamis compare`: rankers on the same rows, by quality, training speed, latency and size."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import polars as pl

from tamis.cascade import FitContext
from tamis.data import read_frame
from tamis.evaluate import plot_comparison
from tamis.features import Rows
from tamis.jobs._ranker_trial import Entry, Standing, build, entries, failed, standing
from tamis.jobs._row_models import RowModel, guess_features, key_columns
from tamis.jobs._trainer import ChoiceRows, choice_rows
from tamis.runtime import Progress
from tamis.schema import ConfigError, DataError, Feature, TamisError, TamisWarning
from tamis.service import ProjectFolder
from tamis.train import check_device, reason_lines

HELD_OUT = 0.1
"""Share of a table's rows that is held out if there is no validation table."""
BASIC = ("lr", "deepfm", "dcnv2")
PLOT = "compare-rank.png"


@dataclass(frozen=True)
class Comparison:
    """The result of `tamis compare`."""

    standings: tuple[Standing, ...]
    """The rankers, best first."""
    protocol: str
    rows: int
    valid_rows: int
    plot: Path | None = None
    out: Path | None = None
    """Folder of the best ranker, which `tamis score` opens."""

    @property
    def best(self) -> Standing:
        return self.standings[0]

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks on the labels, and reasons why metrics are undefined, each once."""
        found: dict[str, None] = {}
        for one in self.standings:
            found.update(dict.fromkeys(one.notes))
            for task, reasons in one.undefined.items():
                found.update(dict.fromkeys(f"{task}: {line}" for line in reason_lines(reasons)))
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "models": [one.to_dict() for one in self.standings],
            "best": self.best.name,
            "protocol": self.protocol,
            "rows": self.rows,
            "valid_rows": self.valid_rows,
            "notes": list(self.notes),
            "plot": str(self.plot) if self.plot else None,
            "out": str(self.out) if self.out else None,
        }


def compare_rank(
    project: Path | str,
    *,
    models: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
    plot: Path | str | None = None,
    device: str = "cpu",
    progress: bool = False,
) -> Comparison:
    """Fits several rankers on a project's ranking rows and evaluates them on its validation window.

    Nothing is published.

    Args:
        project: folder with a `tamis.toml`.
        models: short names of rankers; empty for some that suit the rows and tasks.
        options: for all of them, each taking those that it has; the ranker of `tamis.toml` also
            keeps its declared options.
        plot: file of the plot; None for `compare-rank.png` in the project.
        device: where models train: "cpu", "cuda", …
        progress: whether progress is shown on standard error.

    Raises ConfigError, DataError or TrainingError if there are no rows or no ranker can be fitted.
    """
    opened = ProjectFolder(Path(project))
    _ = check_device(device)
    with Progress("compare rank", progress) as steps:
        steps.begin("make the ranking rows")
        made = choice_rows(opened, device)
        own = opened.config.cascade.rank
        chosen = entries(models or _suitable(made.rows, len(made.tasks)), options or {})
        chosen = [
            replace(e, options={**own.options, **e.options}) if e.use == own.use else e
            for e in chosen
        ]
        standings: list[Standing] = []
        for entry in chosen:
            steps.begin(f"fit {entry.name}")
            standings.append(_on_rows(entry, made, opened.config.seed, device))
    window = np.datetime64(made.window.start, "ms").astype("datetime64[s]")
    protocol = (
        f"trained on the ranking rows before {window} (UTC), stopped by and evaluated on those of "
        "the validation window after it; latency: 300 candidates, one thread"
    )
    target = Path(plot) if plot else opened.root / PLOT
    return _comparison(standings, protocol, len(made.rows), len(made.valid), target)


def compare_tables(
    table: Path | str | pl.DataFrame,
    *,
    valid: Path | str | pl.DataFrame | None = None,
    label: str | Sequence[str] = "label",
    models: Sequence[str | Entry] = (),
    features: Sequence[Feature] = (),
    keys: Sequence[str] = (),
    group: str | None = None,
    options: Mapping[str, Any] | None = None,
    out: Path | str | None = None,
    plot: Path | str | None = None,
    seed: int = 0,
    device: str = "cpu",
    progress: bool = False,
) -> Comparison:
    """Fits several rankers on a table of labelled rows; the best one is saved in `out`.

    Args:
        table, valid: files or frames; without `valid`, a tenth of the rows, drawn with `seed`, is
            held out.
        label: column(s) of 0 and 1; each is a task.
        models: names, or entries with options of their own; empty for some that suit.
        features: declared inputs; empty to guess them (`guess_features`).
        keys: columns that identify a row in the output of `tamis score`; empty for those that
            name a user, item, request or time.
        group: column whose equal values are one request, for NDCG@10 within it.
        options: for all models, each taking those that it has.
        out: folder for the best ranker; None to save none.
        plot: file of the plot; None for `compare-rank.png` in `out`, if given.
        seed: of the fits and of the held-out rows.
        device: where models train.
        progress: whether progress is shown on standard error.

    Raises ConfigError or DataError; a model that cannot be fitted has its error in its standing.
    """
    labels = [label] if isinstance(label, str) else list(label)
    _ = check_device(device)
    with Progress("compare rank", progress) as steps:
        steps.begin("read the tables")
        train, held, protocol = _parts(table, valid, seed)
        _check_columns(train, [*labels, *keys, *([group] if group else [])])
        declared = tuple(features) or guess_features(train, labels)
        named = [m for m in models or _basic(labels) if isinstance(m, str)]
        plain = iter(entries(named, options or {}))
        chosen = [m if isinstance(m, Entry) else next(plain) for m in models or named]
        best: RowModel | None = None
        standings: list[Standing] = []
        for entry in chosen:
            steps.begin(f"fit {entry.name}")
            one, model = _on_tables(entry, train, held, labels, declared, group, seed, device)
            if model is not None and not any(s.sort_key >= one.sort_key for s in standings):
                best = RowModel(entry.use, model, tuple(keys) or key_columns(train.columns))
            standings.append(one)
    folder = None if out is None else Path(out)
    target = Path(plot) if plot else folder / PLOT if folder else None
    comparison = _comparison(standings, protocol, len(train), len(held), target)
    if folder is None or best is None:
        return comparison
    about = {"label": labels, "comparison": comparison.to_dict()}
    replace(best, about=about).save(folder)
    return replace(comparison, out=folder)


def _on_rows(entry: Entry, made: ChoiceRows, seed: int, device: str) -> Standing:
    began = perf_counter()
    try:
        model = build(entry)
        context = FitContext(seed=seed, device=device)
        model.fit(made.rows, made.valid, made.tasks, context)
        return standing(entry, model, made.valid, began)
    except DataError:
        raise  # a fault of the labels, the same for every model
    except TamisError as error:
        return failed(entry, error)


def _on_tables(
    entry: Entry,
    train: pl.DataFrame,
    valid: pl.DataFrame,
    labels: Sequence[str],
    features: Sequence[Feature],
    group: str | None,
    seed: int,
    device: str,
) -> tuple[Standing, Any]:
    """(the result of an entry, its fitted model; None if it cannot be fitted)."""
    began = perf_counter()
    try:
        model = build(entry, features=features)
        with warnings.catch_warnings():  # the comparison shows the notes
            warnings.simplefilter("ignore", TamisWarning)
            model.fit(train, valid, labels, FitContext(seed=seed, device=device))
        rows = model.labelled(valid)
        if group is not None:
            codes = valid[group].rank("dense").fill_null(0).to_numpy().astype(np.int64)
            rows = replace(rows, groups=codes)
        return standing(entry, model, rows, began), model
    except DataError:
        raise  # a fault of the tables, the same for every model
    except TamisError as error:
        return failed(entry, error), None


def _parts(table: Any, valid: Any, seed: int) -> tuple[pl.DataFrame, pl.DataFrame, str]:
    """(training rows, evaluation rows, a description of the protocol)."""
    whole = _frame(table)
    protocol = (
        "stopped by and evaluated on the validation rows; latency: 300 candidates, one thread"
    )
    if valid is not None:
        return whole, _frame(valid), protocol
    order = np.random.default_rng(seed).permutation(len(whole))
    n = max(1, round(HELD_OUT * len(whole)))
    if n >= len(whole):
        raise DataError(
            f"the table has {len(whole)} rows: too few to hold some out; "
            "give a validation table (--valid)"
        )
    return (
        whole[np.sort(order[n:])],
        whole[np.sort(order[:n])],
        (f"{protocol}, a random tenth of the table (seed {seed})"),
    )


def _frame(table: Path | str | pl.DataFrame) -> pl.DataFrame:
    return table if isinstance(table, pl.DataFrame) else read_frame(Path(table))


def _check_columns(frame: pl.DataFrame, wanted: Sequence[str]) -> None:
    for name in wanted:
        if name not in frame.columns and "|" not in name:
            raise DataError(
                f"the table has no column {name!r}; it has {', '.join(frame.columns)[:400]}"
            )


def _suitable(rows: Rows, n_tasks: int) -> tuple[str, ...]:
    """Rankers that suit the rows: DIN if there are histories, mixtures if several tasks."""
    singles = {c.table for c in rows.layout.ids if not c.ragged}
    past = any(c.ragged and c.table in singles for c in rows.layout.ids)
    return (*BASIC, *(["din"] if past else []), *(["mmoe", "ple"] if n_tasks > 1 else []))


def _basic(labels: Sequence[str]) -> tuple[str, ...]:
    return (*BASIC, *(["mmoe", "ple"] if len(labels) > 1 else []))


def _comparison(
    standings: Sequence[Standing], protocol: str, rows: int, valid: int, plot: Path | None
) -> Comparison:
    ordered = sorted(standings, key=lambda s: s.sort_key, reverse=True)
    if ordered and ordered[0].error:
        texts = "\n".join(f"{one.name}: {one.error}" for one in ordered)
        raise ConfigError(f"none of the rankers could be fitted:\n{texts}")
    if plot is not None:
        plot.parent.mkdir(parents=True, exist_ok=True)
        plot_comparison([one.to_dict() for one in ordered if not one.error], plot)
    return Comparison(tuple(ordered), protocol, rows, valid, plot)
