"""`tamis train`, `versions`, `activate` and `rollback`: the versions of a project."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from tamis.cli._console import (
    AsJson,
    Device,
    ProjectDir,
    console,
    print_json,
    print_next,
    wants_progress,
)

if TYPE_CHECKING:
    from tamis.jobs import TrainReport
    from tamis.service import VersionLine


def train(
    project: ProjectDir,
    only: Annotated[
        str | None, typer.Option(help="evaluation or serving. If omitted: both versions.")
    ] = None,
    ranker_only: Annotated[
        bool,
        typer.Option(
            "--ranker-only",
            help="Refit the ranker alone and keep the rest of the published versions.",
        ),
    ] = False,
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """Train the cascade on a project's tables.

    Two versions are published: one for evaluation, and one for serving that is trained on all data.
    """
    from tamis.jobs import train as job

    progress = wants_progress(as_json)
    report = job(project, only=only, ranker_only=ranker_only, device=device, progress=progress)
    if as_json:
        return print_json(report.to_dict())
    print_training(report)
    if "evaluation" in report.versions:
        print_next(["evaluate", project])
    if "serving" in report.versions:
        print_next(["serve", project])
    return None


def print_training(report: TrainReport) -> None:
    """Time and memory per stage, what was chosen on the validation window, and the versions."""
    console.print(_stages_table(report.training))
    for stage, chosen in report.settings.items():
        if stage == "order":
            tried = "; ".join(f"{k} {v:.4f}" for k, v in report.validation.get(stage, {}).items())
            text = f"order: {chosen['by']} ({chosen['protocol']}: {tried})"
            console.print(escape(text), highlight=False)
            continue
        metrics = ", ".join(f"{k} {v:.4f}" for k, v in report.validation.get(stage, {}).items())
        options = escape(", ".join(f"{k} {_short(v)}" for k, v in chosen.items()))
        console.print(f"{stage}: chosen on validation: {options} ({metrics})", highlight=False)
    for kind, channels in report.hard_negatives.items():
        for name, counts in channels.items():
            parts = ", ".join(f"{n:,} from {source}" for source, n in counts.items())
            console.print(escape(f"{name} ({kind}): hard negatives: {parts}"), highlight=False)
    if report.rejects:
        rows = ", ".join(f"{n:,} {reason}" for reason, n in report.rejects.items())
        console.print(f"[yellow]rows left out[/]: {escape(rows)}; each is listed in rejects.csv")
    for note in (*report.readings, *report.notes):
        console.print(f"[yellow]note[/]: {escape(note)}", highlight=False)
    for kind, name in report.versions.items():
        console.print(f"[green]published[/] {kind} version [bold]{name}[/]", highlight=False)


def versions(
    project: ProjectDir,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check every file against its checksum.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the versions of a project; a star marks those in use."""
    from tamis.jobs import versions as job

    lines = job(project, verify=verify)
    if as_json:
        return print_json({"versions": [vars(line) for line in lines]})
    if not lines:
        console.print("No version yet: run `tamis train`.")
        return None
    table = Table("", "version", "kind", "events known until", title="Versions")
    table.add_column("MB", justify="right")
    for line in lines:
        star = "[green]★[/]" if line.current else ""
        until = datetime.fromtimestamp(line.data_until / 1000, UTC)
        table.add_row(star, line.name, line.kind, f"{until:%Y-%m-%d %H:%M}", f"{line.mb:,.1f}")
    console.print(table)
    if verify:
        console.print("[green]All files match their checksums.[/]")
    return None


def activate(
    project: ProjectDir,
    name: Annotated[str, typer.Argument(help="Name of the version; see `tamis versions`.")],
    as_json: AsJson = False,
) -> None:
    """Make a version the current one.

    Its files are checked first. A running service switches to it without failing a request.
    """
    from tamis.jobs import activate as job

    _print_current(job(project, name), as_json)


def rollback(
    project: ProjectDir,
    kind: Annotated[str, typer.Option(help="serving or evaluation.")] = "serving",
    as_json: AsJson = False,
) -> None:
    """Make the version before the current one the current one.

    A running service switches to it without failing a request.
    """
    from tamis.jobs import rollback as job

    _print_current(job(project, kind), as_json)


def _print_current(line: VersionLine, as_json: bool) -> None:
    if as_json:
        return print_json(vars(line))
    console.print(
        f"The current {line.kind} version is [bold]{line.name}[/]. Running services switch to it "
        "within seconds; `GET /health/ready` names the version that answers.",
        highlight=False,
        soft_wrap=True,
    )
    return None


def _stages_table(stages: Mapping[str, Mapping[str, float | None]]) -> Table:
    """Seconds, peak memory and speed per stage."""
    table = Table("stage", title="Training", title_justify="left")
    for heading in ("seconds", "peak MB", "samples/s"):
        table.add_column(heading, justify="right")
    for name, m in stages.items():
        speed = m["samples_per_second"]
        table.add_row(
            name, f"{m['seconds']:.1f}", f"{m['peak_mb']:,.0f}", f"{speed:,.0f}" if speed else "–"
        )
    total = sum(m["seconds"] or 0.0 for m in stages.values())
    table.add_section()
    table.add_row("all", f"{total:.1f}", "", "")
    return table


def _short(value: Any) -> str:
    """A chosen setting; numbers with three significant digits."""
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_short, value)) + "]"
    if isinstance(value, Mapping):  # a calibration map: its kind says enough
        return str(value.get("kind") or f"of {', '.join(map(str, value))}")
    return f"{value:.3g}" if isinstance(value, float) else str(value)
