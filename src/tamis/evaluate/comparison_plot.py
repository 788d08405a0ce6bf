"""Rankers compared in one figure: quality, training speed, latency and size."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isfinite, nan
from pathlib import Path
from typing import Any

PANELS: tuple[tuple[str, Callable[[Mapping[str, Any]], float], str], ...] = (
    ("AUC, mean over the tasks", lambda one: one["quality"], "{:.4f}"),
    ("training samples/s", lambda one: one["samples_per_second"], "{:,.0f}"),
    ("ms for 300 candidates (p50)", lambda one: one["latency_ms"].get("p50", nan), "{:.2f}"),
    ("MB on disk", lambda one: one["mb"], "{:.1f}"),
)
"""Heading, value of a ranker, number format."""
OTHERS, BEST = "#7aa6a1", "#1f6f68"


def plot_comparison(standings: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Writes a figure with one panel per measure and one bar per ranker.

    Args:
        standings: `Standing.to_dict()` of each ranker, best first.
        path: the image; its suffix chooses the format (`.svg`, `.png`, …).

    Raises KeyError for a missing measure, ValueError for an unknown format.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = [one["name"] for one in standings]
    figure = Figure(figsize=(12, 1.4 + 0.34 * len(names)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(PANELS), sharey=True)
    for axis, (heading, value, form) in zip(axes, PANELS, strict=True):
        values = [value(one) for one in standings]
        close = heading.startswith("AUC")
        _draw(axis, names, values, form, dots=close)
        axis.set_title(heading, fontsize=9)
        axis.tick_params(labelsize=9)
        axis.set_xlim(*_limits([v for v in values if isfinite(v)], close))
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].invert_yaxis()
    figure.savefig(path, dpi=120)


def _draw(axis: Any, names: Sequence[str], values: Sequence[float], form: str, dots: bool) -> None:
    """Bars from 0, or dots where the axis does not start at 0, each labelled with its value."""
    lengths = [v if isfinite(v) else 0.0 for v in values]
    texts = [form.format(v) if isfinite(v) else "–" for v in values]
    colours = [BEST, *[OTHERS] * (len(names) - 1)]
    bars = axis.barh(names, lengths, color="none" if dots else colours)
    if dots:
        axis.scatter(lengths, range(len(names)), c=colours, s=36, zorder=3)
        axis.grid(axis="x", linewidth=0.4)
    axis.bar_label(bars, texts, padding=8 if dots else 3, fontsize=8)


def _limits(values: Sequence[float], close: bool) -> tuple[float, float]:
    """Limits of the axis: from 0, or from just below the smallest value where `close`."""
    high, low = max(values, default=1.0), min(values, default=0.0)
    span = (high - low) or 0.05
    if close:
        return low - 0.2 * span, high + 0.5 * span
    return 0.0, (high or 1.0) * 1.3
