"""What each objective costs the others: a table per term, and a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

FIRST = ("reward", "ndcg@10")
"""Measures of what slates are worth, the first of which that is there is the vertical axis."""
LINE = "#1f6f68"


def render_tradeoffs(result: Mapping[str, Any], console: Console) -> None:
    """Prints a table per term: the mean of each measure, and its change from weight 0.

    Args:
        result: `ObjectiveTradeoffs.to_dict()`.
    """
    for name, rows in result["terms"].items():
        table = Table(
            "weight", title=f"{name}: mean over slates, change with its 95% interval below"
        )
        measures = list(rows[0]["measures"])
        for measure in (*measures, "catalogue coverage"):
            table.add_column(escape(measure), justify="right")
        for row in rows:
            cells = [_cell(row["measures"][measure]) for measure in measures]
            table.add_row(f"{row['weight']:g}", *cells, f"{row['catalogue_coverage']:.4f}")
        console.print(table)


def _cell(value: Mapping[str, Any]) -> str:
    change = value["change"]
    if change["low"] == change["high"] == 0:
        return f"{value['mean']:.4f}"
    ends = f"{change['low']:+.4f} to {change['high']:+.4f}"
    return f"{value['mean']:.4f}\n{change['mean']:+.4f} ({ends})"


def plot_tradeoffs(result: Mapping[str, Any], path: Path) -> None:
    """Writes a figure with a panel per term: what slates are worth against the term's own mean,
    a point with its 95% intervals per weight.

    Args:
        result: `ObjectiveTradeoffs.to_dict()`.
        path: the image; its suffix chooses the format (`.svg`, `.png`).

    Raises ValueError for an unknown format.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    terms = result["terms"]
    figure = Figure(figsize=(4.2 * max(len(terms), 1), 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(1, max(len(terms), 1), squeeze=False)[0]
    for axis, (name, rows) in zip(grid, terms.items(), strict=False):
        worth = next(m for m in FIRST if m in rows[0]["measures"])
        _draw(axis, rows, name, worth)
    figure.savefig(path, dpi=120)


def _draw(axis: Any, rows: Sequence[Mapping[str, Any]], name: str, worth: str) -> None:
    """The points of one term in the order of their weights, joined by a line."""
    across, up = ([row["measures"][m] for row in rows] for m in (name, worth))
    axis.errorbar(
        [one["mean"] for one in across],
        [one["mean"] for one in up],
        xerr=_errors(across),
        yerr=_errors(up),
        color=LINE,
        ecolor="#b9cfcc",
        marker="o",
        markersize=4,
    )
    for row, x, y in zip(rows, across, up, strict=True):
        place = (x["mean"], y["mean"])
        axis.annotate(f"{row['weight']:g}", place, (4, 4), textcoords="offset points", fontsize=8)
    axis.set_xlabel(f"mean {name} of the slate")
    axis.set_ylabel(worth)
    axis.set_title(f"weight of {name}", fontsize=9)
    axis.spines[["top", "right"]].set_visible(False)


def _errors(values: Sequence[Mapping[str, Any]]) -> list[list[float]]:
    """Distances from the means down to the lower and up to the upper ends."""
    return [
        [max(one["mean"] - one["low"], 0.0) for one in values],
        [max(one["high"] - one["mean"], 0.0) for one in values],
    ]
