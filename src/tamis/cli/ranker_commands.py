"""`tamis compare` and `tamis score`: rankers side by side, and a ranker's scores of a table."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from tamis.cli._console import (
    AsJson,
    Device,
    check_declaration,
    console,
    names,
    print_json,
    wants_progress,
)
from tamis.cli.evaluation_commands import print_gates
from tamis.schema import ConfigError

if TYPE_CHECKING:
    from tamis.jobs import Comparison
    from tamis.schema import Feature

_HEADINGS = {
    "auc": "AUC",
    "logloss": "log loss",
    "ndcg@10": "NDCG@10",
    "xauc": "XAUC",
    "mae": "MAE",
}


def compare(
    project: Annotated[
        Path | None,
        typer.Argument(help="Folder of the project; not with --table.", callback=check_declaration),
    ] = None,
    models: Annotated[
        str,
        typer.Option(
            help="Rankers, separated by commas: deepfm,dcnv2,din,mmoe,ple. If omitted: a few that "
            "suit the rows."
        ),
    ] = "",
    options: Annotated[
        list[str] | None,
        typer.Option("--set", help="key=value, for every ranker that has the option."),
    ] = None,
    table: Annotated[
        Path | None, typer.Option(help="A table of labelled rows, instead of a project.")
    ] = None,
    valid: Annotated[
        Path | None,
        typer.Option(help="With --table: rows to evaluate on. If omitted: a random tenth."),
    ] = None,
    label: Annotated[
        str, typer.Option(help="With --table: label columns of 0 and 1, separated by commas.")
    ] = "label",
    features: Annotated[
        Path | None,
        typer.Option(help="With --table: TOML file of [[features]]. If omitted: guessed."),
    ] = None,
    key: Annotated[
        str,
        typer.Option(help="With --table: columns that identify a row, separated by commas."),
    ] = "",
    group: Annotated[
        str | None, typer.Option(help="With --table: column of the request, for NDCG.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="With --table: folder to save the best ranker in.")
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(help="Plot. If omitted: compare-rank.png in PROJECT or --out."),
    ] = None,
    seed: Annotated[
        int, typer.Option(help="With --table: random seed of the fits and the held-out rows.")
    ] = 0,
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """Compare several rankers that are fitted on the same rows.

    One table shows quality, training speed, latency and size.

    On a project: the rows by which `train` chooses its settings; nothing is published. With
    --table: the rows of a file (`--table train.csv --valid valid.csv --label label`); --out keeps
    the best ranker for `tamis score`.
    """
    from tamis.jobs import compare_rank, compare_tables, parsed_options

    common: dict[str, Any] = {
        "models": names(models),
        "options": parsed_options(options or []),
        "plot": plot,
        "device": device,
        "progress": wants_progress(as_json),
    }
    if (project is None) == (table is None):
        raise ConfigError(
            "tamis compare: give a project's folder, or a table of labelled rows with --table"
        )
    if project is not None:
        for_tables = {
            "--valid": valid,
            "--label": None if label == "label" else label,
            "--features": features,
            "--key": key,
            "--group": group,
            "--out": out,
            "--seed": seed,
        }
        given = [option for option, value in for_tables.items() if value]
        if given:
            raise ConfigError(f"{', '.join(given)}: only with --table; a project has its own rows")
        comparison = compare_rank(project, **common)
    else:
        comparison = compare_tables(
            table or "",
            valid=valid,
            label=names(label),
            features=_features(features),
            keys=names(key),
            group=group,
            out=out,
            seed=seed,
            **common,
        )
    if as_json:
        return print_json(comparison.to_dict())
    _print_comparison(comparison)
    return None


def score(
    folder: Annotated[
        Path, typer.Argument(help="A trained project, or the folder of `compare --out`.")
    ],
    table: Annotated[Path, typer.Argument(help="Rows to score (CSV, TSV, Parquet, JSONL).")],
    out: Annotated[
        Path, typer.Option(help="File to write: .csv, .tsv, .parquet or .jsonl.")
    ] = Path("scores.csv"),
    version: Annotated[
        str, typer.Option(help="Version of a project: serving or evaluation.")
    ] = "serving",
    as_json: AsJson = False,
) -> None:
    """Score the rows of a table with the ranker.

    Their keys and scores are written in the same order.

    A project's rows have a user, an item and optionally a time, in the columns of its [events].
    """
    from tamis.jobs import score as job

    done = job(folder, table, out, version=version, progress=wants_progress(as_json))
    if as_json:
        return print_json(done.to_dict())
    console.print(
        f"Wrote [bold]{done.out}[/]: {done.rows:,} rows, columns {', '.join(done.columns)}; "
        f"scored by {escape(done.model)}.",
        highlight=False,
    )
    for what, count in done.unknown.items():
        if count:
            console.print(f"[yellow]note[/]: {count:,} rows have unknown {what}")
    return None


def _features(path: Path | None) -> Sequence[Feature]:
    """The [[features]] of a TOML file."""
    if path is None:
        return ()
    from tamis.schema import parse_features

    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"--features {path}: cannot be read: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"--features {path}: not valid TOML: {error}") from error
    return parse_features(data, path)


def _print_comparison(comparison: Comparison) -> None:
    """The table, best ranker first; errors, gate weights, and what was written."""
    console.print(_comparison_table(comparison))
    for one in comparison.standings:
        if one.error:
            console.print(f"[yellow]{escape(one.name)}[/]: {escape(one.error)}")
    for note in comparison.notes:
        console.print(f"[yellow]note[/]: {escape(note)}", highlight=False)
    for one in comparison.standings:
        print_gates(one.gates, f"{one.name}: mean gate weights on the validation rows")
    console.print(
        f"[dim]{comparison.rows:,} rows; {escape(comparison.protocol)}[/]", highlight=False
    )
    if comparison.plot:
        console.print(f"plot: [bold]{comparison.plot}[/]")
    if comparison.out:
        console.print(
            f"[green]saved[/] {escape(comparison.best.name)} in [bold]{comparison.out}[/]: "
            f"tamis score {comparison.out} TABLE --out FILE",
            highlight=False,
        )


def _shown(value: float) -> str:
    """A metric with four places; a dash where it is undefined."""
    return "–" if isnan(value) else f"{value:.4f}"


def _comparison_table(comparison: Comparison) -> Table:
    fitted = [one for one in comparison.standings if not one.error]
    table = Table("ranker", title="tamis compare", title_justify="left")
    columns = [(task, key) for task, metrics in fitted[0].tasks.items() for key in metrics]
    several = len(fitted[0].tasks) > 1
    for task, key in columns:
        heading = _HEADINGS.get(key, key)
        table.add_column(f"{escape(task)}\n{heading}" if several else heading, justify="right")
    for heading in ("best epoch", "samples/s", "ms / 300", "MB"):
        table.add_column(heading, justify="right")
    for one in fitted:
        cells = [_shown(one.tasks[task][key]) for task, key in columns]
        timing = f"{one.latency_ms['p50']:.2f}" if one.latency_ms else "–"
        rest = (str(one.epochs), f"{one.samples_per_second:,.0f}", timing, f"{one.mb:.1f}")
        table.add_row(escape(one.name), *cells, *rest)
    return table
