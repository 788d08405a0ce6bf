"""The evaluation of a whole cascade as one HTML page and as tables in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from tamis.evaluate._cascade_summary import summarise
from tamis.evaluate._page import write_page
from tamis.evaluate._plots import Step, calibration_plot, learning_curves, stage_loss_plot
from tamis.evaluate._terminal import print_facts, print_table, print_text, titled

_BAR_WIDTH = 28
"""Characters of the longest bar in the terminal."""


def write_report(evaluation: Mapping[str, Any], path: Path) -> Path:
    """Writes the evaluation of a cascade as one HTML page without scripts or external files.

    Args:
        evaluation: the JSON of `tamis evaluate --json`; docs/evaluation.md describes its keys. A
            missing key leaves its section out; what is not a finite number becomes a dash.
        path: the HTML file; missing folders are created.

    Returns `path`. Raises OSError where the file cannot be written.
    """
    summary = summarise(evaluation)
    return write_page(
        path,
        "cascade.html",
        kind="evaluation",
        project=summary.project,
        release=summary.release,
        lead=summary.verdict,
        tags=summary.tags,
        cards=summary.cards,
        summary=summary,
        stage_loss_svg=stage_loss_plot(summary.steps),
        calibration_svg=calibration_plot(evaluation.get("calibration") or []),
        curves_svg=learning_curves(evaluation.get("curves") or {}),
    )


def render(evaluation: Mapping[str, Any], console: Console) -> None:
    """Prints the same summary as `write_report`; missing keys leave parts out."""
    summary = summarise(evaluation)
    print_table(console, summary.comparison)
    print_table(console, summary.truth)
    print_text(console, summary.verdict)
    _print_steps(console, summary.steps)
    print_text(console, summary.largest_loss)
    print_facts(console, "Other metrics", summary.other_metrics)
    print_table(console, summary.features)
    print_table(console, summary.training)
    print_text(console, summary.users, *summary.notes)


def _print_steps(console: Console, steps: tuple[Step, ...]) -> None:
    if not steps:
        return
    out = titled("Positives lost at each stage")
    out.add_column("", no_wrap=True)
    out.add_column("left", justify="right", no_wrap=True)
    out.add_column("", no_wrap=True)
    out.add_column("lost", justify="right", no_wrap=True)
    for label, left, lost in steps:
        kept, before = _characters(left), _characters(left + lost)
        bar = Text("█" * kept, style="green") + Text("░" * (before - kept), style="yellow")
        out.add_row(label, f"{left:.1%}", bar, f"{lost:.1%}" if lost else "")
    console.print()
    console.print(out)


def _characters(share: float) -> int:
    """Characters of a bar: at least one for anything above 0."""
    return max(round(_BAR_WIDTH * share), 1) if share > 0 else 0
