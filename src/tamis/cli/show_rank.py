"""What the commands about rankers print: a comparison, the scores of a table."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from tamis.cli import show
from tamis.schema import ConfigError

if TYPE_CHECKING:
    from tamis.jobs import Comparison, Scored
    from tamis.schema import Feature

FIGURES = {"auc": "AUC", "logloss": "log loss", "ndcg@10": "NDCG@10", "xauc": "XAUC", "mae": "MAE"}


def run_comparison(
    stage: str,
    project: Path | None,
    *,
    models: str,
    options: Sequence[str],
    table: Path | None,
    rows: Mapping[str, Any],
    plot: Path | None,
    device: str,
    progress: bool,
) -> Comparison:
    """Reads the words of `tamis compare rank` and calls the one of the two jobs that they mean."""
    from tamis.jobs import compare_rank, compare_tables, parsed_options

    if stage != "rank":
        raise ConfigError(f"tamis compare {stage}: only rankers are compared: `tamis compare rank`")
    common: dict[str, Any] = {
        "models": _names(models),
        "options": parsed_options(options),
        "plot": plot,
        "device": device,
        "progress": progress,
    }
    if (project is None) == (table is None):
        raise ConfigError(
            "tamis compare rank: name a project's folder, or a table of labelled rows by --table"
        )
    if project is not None:
        given = [f"--{'key' if k == 'keys' else k}" for k, v in rows.items() if v not in _UNSAID]
        if given:
            raise ConfigError(f"{', '.join(given)}: for --table; a project has its own rows")
        return compare_rank(project, **common)
    assert table is not None
    words = {k: rows[k] for k in ("valid", "group", "out", "seed")}
    features = _features(rows["features"])
    keys, label = _names(rows["keys"]), _names(rows["label"])
    return compare_tables(table, label=label, keys=keys, features=features, **words, **common)


_UNSAID = (None, "", "label", 0)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


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


def comparison(told: Comparison, json_wanted: bool) -> None:
    """The table, best first."""
    if json_wanted:
        return show.as_json(told.to_dict())
    show.console.print(_table(told))
    for one in told.standings:
        if one.error:
            show.console.print(f"[yellow]{escape(one.name)}[/]: {escape(one.error)}")
    for one in told.standings:
        gates(one.gates, f"{one.name}: mean gate weights on the validation rows")
    show.console.print(f"[dim]{told.rows:,} rows; {escape(told.protocol)}[/]", highlight=False)
    if told.plot:
        show.console.print(f"picture: [bold]{told.plot}[/]")
    if told.out:
        show.console.print(
            f"[green]left[/] {escape(told.best.name)} in [bold]{told.out}[/]: "
            f"tamis score {told.out} TABLE --out FILE",
            highlight=False,
        )
    return None


def gates(report: Mapping[str, Any], title: str) -> None:
    """A mixture's gate report; nothing of other rankers."""
    if not report:
        return
    from tamis.rank import GateReport

    show.console.print(f"[bold]{escape(title)}[/]", highlight=False)
    show.console.print(escape(str(GateReport.from_dict(report))), highlight=False)


def _table(told: Comparison) -> Table:
    fitted = [one for one in told.standings if not one.error]
    table = Table("ranker", title="tamis compare rank", title_justify="left")
    columns = [(task, key) for task, figures in fitted[0].tasks.items() for key in figures]
    several = len(fitted[0].tasks) > 1
    for task, key in columns:
        heading = FIGURES.get(key, key)
        table.add_column(f"{escape(task)}\n{heading}" if several else heading, justify="right")
    for heading in ("best epoch", "samples/s", "ms / 300", "MB"):
        table.add_column(heading, justify="right")
    for one in fitted:
        cells = [f"{one.tasks[task][key]:.4f}" for task, key in columns]
        timing = f"{one.latency_ms['p50']:.2f}" if one.latency_ms else "–"
        rest = (str(one.epochs), f"{one.samples_per_second:,.0f}", timing, f"{one.mb:.1f}")
        table.add_row(escape(one.name), *cells, *rest)
    return table


def scored(done: Scored, json_wanted: bool) -> None:
    if json_wanted:
        return show.as_json(done.to_dict())
    show.console.print(
        f"Wrote [bold]{done.out}[/]: {done.rows:,} rows, columns {', '.join(done.columns)}; "
        f"scored by {escape(done.model)}.",
        highlight=False,
    )
    for what, count in done.unknown.items():
        if count:
            show.console.print(
                f"[yellow]note[/]: {count:,} rows have unknown {what}: scored as strangers are"
            )
    return None
