"""`tamis update`: the serving version learns what came since."""

from __future__ import annotations

import re
import signal
import threading
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from tamis.cli._console import (
    AsJson,
    DeclaredDir,
    Device,
    console,
    print_json,
    print_next,
    wants_progress,
)
from tamis.schema import ConfigError

if TYPE_CHECKING:
    from tamis.jobs import FollowReport, UpdateReport


def update(
    project: DeclaredDir,
    full: Annotated[
        bool,
        typer.Option(
            "--full",
            help="Learn all events since the serving version was made, and publish a new version.",
        ),
    ] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Publish although checks fail; the version's manifest records it."
        ),
    ] = False,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow",
            help="Learn from events as they come, and publish deltas of the serving version, until "
            "stopped.",
        ),
    ] = False,
    every: Annotated[
        str, typer.Option(help="With --follow: time from one update to the next, as 30s or 5m.")
    ] = "60s",
    once: Annotated[
        bool,
        typer.Option("--once", help="With --follow: one update from what the journal holds now."),
    ] = False,
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """Let the serving version learn what came since it was made.

    With --follow, the vectors of users, items and authors (features with `online = true`) learn in
    the order of the events, and running services take up each delta within a second.

    With --full, a new version starts from the weights of the serving version. It is published only
    if it passes the checks of [gate] in tamis.toml; otherwise the command ends with code 1, and the
    serving version stays as it is.
    """
    from tamis.runtime import run_in_background
    from tamis.service import ProjectFolder

    if full == follow:
        raise ConfigError("tamis update: give one kind of update: --full, or --follow")
    options = ProjectFolder(project).config.update
    run_in_background(options.nice, options.threads)
    if follow:
        return _follow(project, _seconds(every), once, as_json)
    from tamis.jobs import update as job

    report = job(project, force=force, device=device, progress=wants_progress(as_json))
    if as_json:
        print_json(report.to_dict())
    else:
        print_update(report)
        if report.version is not None:
            print_next(["serve", project], ["rollback", project])
    if report.refused:
        raise typer.Exit(1)
    return None


def _follow(project: Path, every: float, once: bool, as_json: bool) -> None:
    """Follows the journal until SIGINT or SIGTERM; the update that runs is finished."""
    from tamis.jobs import follow as job

    ended, progress = threading.Event(), wants_progress(as_json)
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: ended.set()) for number in signals]
    try:
        report = job(project, every=every, once=once, ended=ended, progress=progress)
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
    if as_json:
        return print_json(report.to_dict())
    for note in () if progress else report.notes:  # the progress has said them
        console.print(f"[yellow]note[/]: {escape(note)}", highlight=False)
    console.print(_followed(report), highlight=False, soft_wrap=True)
    return None


def _followed(report: FollowReport) -> str:
    """What a follower has done, in words."""
    deltas = "delta" if report.deltas == 1 else "deltas"
    text = (
        f"[green]published[/] {report.deltas:,} {deltas} of version [bold]{report.version}[/], the "
        f"newest is number {report.delta}: {report.events:,} events, {report.rows:,} of them "
        f"impressions, {report.changed:,} vectors; journal up to entry {report.position:,}, "
        f"{report.waiting:,} entries wait"
    )
    if report.late:
        text += f"; {report.late:,} events came too late to be learnt from"
    if report.seconds_p50 is not None and report.event_seconds_p50 is not None:
        text += (
            f". From an event to its delta: median {report.seconds_p50:.1f} s, 99 % within "
            f"{report.seconds_p99:.1f} s; in event time {report.event_seconds_p50:.1f} s and "
            f"{report.event_seconds_p99:.1f} s"
        )
    return text


def _seconds(text: str) -> float:
    """Seconds of a duration such as 30s, 5m or 1h."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if found is None:
        raise ConfigError(f"--every {text!r}: give a time such as 30s, 5m or 1h")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


def print_update(report: UpdateReport) -> None:
    """What was learnt, the checks, and what became of the version."""
    if report.learnt:
        console.print(_learnt_table(report))
    if report.checks:
        console.print(_checks_table(report))
    for note in report.notes:
        console.print(f"[yellow]note[/]: {escape(note)}", highlight=False)
    if report.version is not None:
        share = report.share_of_training
        cost = f" in {report.seconds:.1f} s"
        cost += f", {share:.0%} of the time of the last training" if share is not None else ""
        console.print(
            f"[green]published[/] serving version [bold]{report.version}[/] from {report.former}: "
            f"{report.new_events:,} new events{cost}",
            highlight=False,
            soft_wrap=True,
        )
    if report.forced:
        names = ", ".join(check.name for check in report.checks if not check.passed)
        text = f"[yellow]forced[/]: failed are {escape(names)}; the manifest records it"
        console.print(text, highlight=False, soft_wrap=True)
    if report.refused:
        console.print(
            f"[bold red]not published[/]: the serving version stays {report.former}. Correct the "
            "data, change \\[gate] in tamis.toml, or publish with --force:",
            highlight=False,
            soft_wrap=True,
        )
        for check in report.checks:
            if not check.passed:
                console.print(f"  {escape(str(check))}", highlight=False, soft_wrap=True)


def _learnt_table(report: UpdateReport) -> Table:
    """How each stage learnt, and its time."""
    words = {"warm": "from its weights", "carried": "unchanged", "refitted": "on all data"}
    table = Table("stage", "learnt", title="Update", title_justify="left")
    for heading in ("rows", "seconds"):
        table.add_column(heading, justify="right")
    for name, entry in report.learnt.items():
        seconds = (report.training.get(name) or {}).get("seconds") or 0.0
        how = words.get(entry["how"], entry["how"])
        table.add_row(name, how, f"{entry['rows']:,}", f"{seconds:.1f}")
    others = report.seconds - sum(
        (report.training.get(name) or {}).get("seconds") or 0.0 for name in report.learnt
    )
    table.add_section()
    table.add_row("all other stages", "", "", f"{others:.1f}")
    table.add_row("all", "", "", f"{report.seconds:.1f}")
    return table


def _checks_table(report: UpdateReport) -> Table:
    """The failed checks of the gate, then those of quality; how many others passed."""
    table = Table("", "check", "what was found", "threshold", title="Gate", title_justify="left")
    failed = [check for check in report.checks if not check.passed]
    shown = [*failed, *(one for one in report.checks if one.passed and one.kind == "quality")]
    for check in shown:
        mark = "[green]✓[/]" if check.passed else "[red]✗[/]"
        mark = "–" if check.passed and isnan(check.figure) else mark  # it could not be judged
        limit = f"{check.key} = {check.limit:g}"
        table.add_row(mark, escape(check.name), escape(check.text), limit)
    if others := len(report.checks) - len(shown):
        table.add_section()
        table.add_row("[green]✓[/]", f"{others} others", "--json shows them all", "")
    return table
