"""`tamis events`, `export` and `parity`: a project's journal and its files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from tamis.cli._console import AsJson, ProjectDir, console, print_json, wants_progress


def events(
    project: ProjectDir,
    file: Annotated[
        Path, typer.Argument(help="Table of events with the columns of the project's event log.")
    ],
    store: Annotated[
        str,
        typer.Option(
            help="Journal of events: redis://host:port/db. If omitted: a file of the project."
        ),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Append a file of new events to the project's journal.

    A running service reads the journal. The same file again adds only what is missing.
    """
    from tamis.jobs import import_events as job

    report = job(project, file, store=store, progress=wants_progress(as_json))
    if as_json:
        return print_json(report.to_dict())
    console.print(
        f"{report.accepted:,} events of {escape(report.file)} appended to the journal; "
        f"{report.duplicates:,} were in it already.",
        highlight=False,
        soft_wrap=True,
    )
    for one in report.rejected:
        console.print(
            f"  • {escape(one.file)}: {one.rows:,} × {escape(one.reason)} ({escape(one.sample)})",
            highlight=False,
            soft_wrap=True,
        )
    return None


def export(
    project: ProjectDir,
    trim: Annotated[
        bool,
        typer.Option(
            "--trim",
            help="Everything that is in a file leaves the journal now, not after `keep_days`.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write new entries of the journal to Parquet files.

    What `[journal]` in tamis.toml says is old is deleted. Training and services read the files.
    """
    from tamis.jobs import export as job

    report = job(project, trim=trim, progress=wants_progress(as_json))
    if as_json:
        return print_json(report.to_dict())
    for folder in report.folders:
        console.print(f"[green]written[/] {escape(folder)}", highlight=False, soft_wrap=True)
    console.print(
        f"{report.exported:,} entries were written; the files hold all up to number "
        f"{report.position:,}. {report.trimmed:,} entries left the journal, "
        f"{report.forgotten_keys:,} ids of events were forgotten, {report.deleted_answers:,} "
        "answers deleted.",
        highlight=False,
        soft_wrap=True,
    )
    return None


def parity(
    project: ProjectDir,
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="Most answers to check.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Compare what the service read with the log.

    It compares what the service read for its last answers with the same computed from the log.

    Answers of the serving version are checked whose inputs the journal holds.
    """
    from tamis.jobs import parity as job

    report = job(project, n=n, progress=wants_progress(as_json))
    if as_json:
        return print_json(report.to_dict())
    console.print(
        f"version {escape(report.version)}: {report.values:,} input values of "
        f"{report.candidates:,} candidates of {report.answers:,} answers; "
        f"[bold]{report.share:.4%}[/] agree. {report.same_slates:,} answers were the same when "
        f"they were repeated; {report.missing:,} candidates were not ranked again.",
        highlight=False,
        soft_wrap=True,
    )
    if report.features:
        table = Table("feature", title="Values that differ", title_justify="left")
        table.add_column("values", justify="right")
        for name, count in report.features.items():
            table.add_row(escape(name), f"{count:,}")
        console.print(table)
    return None
