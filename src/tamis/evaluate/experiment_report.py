"""The report of an experiment as one HTML page and as tables in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from tamis.evaluate._effect_plots import effects_by_segment, effects_over_time
from tamis.evaluate._experiment_summary import summarise_experiment
from tamis.evaluate._page import write_page
from tamis.evaluate._terminal import print_table, print_text

_COLOURS = {"ship": "green", "roll back": "red", "not healthy": "red"}


def write_experiment_report(report: Mapping[str, Any], path: Path, release: str = "") -> Path:
    """Writes the report of an experiment as one HTML page without scripts or external files.

    Args:
        report: the JSON of `tamis experiment report --json`.
        path: the HTML file; missing folders are created.
        release: the release of Tamis, for the last line.

    Returns `path`. Raises OSError where the file cannot be written.
    """
    summary = summarise_experiment(report)
    return write_page(
        path,
        "experiment.html",
        kind="experiment",
        project=f"{summary.project}: {summary.experiment}",
        release=release,
        lead=summary.verdict,
        tags=summary.tags,
        cards=summary.cards,
        summary=summary,
        over_time_svg=effects_over_time(summary.panels),
        segments_svg=effects_by_segment(*summary.segment_plot),
    )


def render_experiment(report: Mapping[str, Any], console: Console) -> None:
    """Prints the same summary as `write_experiment_report`, without plots."""
    summary = summarise_experiment(report)
    colour = _COLOURS.get(summary.state, "yellow")
    console.print(
        f"[bold {colour}]{escape(summary.state)}[/]  {escape(summary.text)}", highlight=False
    )
    print_table(console, summary.health)
    print_table(console, summary.effects)
    print_text(console, summary.effects_note)
    print_table(console, summary.without)
    print_table(console, summary.over_time)
    print_table(console, summary.segments)
    print_text(console, summary.segments_note)
    print_table(console, summary.raw)
    print_text(console, *summary.notes)
