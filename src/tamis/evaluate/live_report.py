"""The report of `tamis demo --live` as one HTML page: what slates are worth, with and without
updates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tamis._version import __version__
from tamis.evaluate._page import write_page
from tamis.evaluate._plots import plain_axes
from tamis.evaluate._summary import Card
from tamis.evaluate._svg import ACCENT, MUTED, WARN, inline_svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = (ACCENT, WARN)


def write_live_page(result: Mapping[str, Any], path: Path) -> Path:
    """Writes the page.

    result: that of `tamis.jobs.demo_live`, as JSON; services without a period are left out.
    """
    services: Mapping[str, Any] = result["services"]
    cards = [
        Card(
            name,
            "–" if one["reward"] is None else f"{one['reward']:.3f}",
            f"mean true worth of a slate; {one['delta']} deltas",
        )
        for name, one in services.items()
    ]
    periods = {name: one["periods"] for name, one in services.items() if one["periods"]}
    return write_page(
        path,
        "live.html",
        project=Path(result["project"]).parent.name,
        kind="live demo",
        lead="Two services of one simulated world: tastes drift and items are born; one of them "
        "learns from events as they come.",
        tags=[("version", result["version"]), ("minutes", f"{result['seconds'] / 60:g}")],
        cards=cards,
        release=__version__,
        reward_svg=reward_plot(periods),
        rows=[
            {
                "name": name,
                "visits": sum(p["visits"] for p in rows),
                "failed": sum(p["failed"] for p in rows),
                "clicks": _rate(rows),
                "new": f"{np.mean([p['new_items'] for p in rows]):.1%}",
                "ms": f"{np.median([p['milliseconds'] for p in rows]):.0f}",
            }
            for name, rows in periods.items()
        ],
    )


def reward_plot(periods: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Mean true worth of the slates over time, as a share of the best slates there were.

    Returns an `<svg>` element; "" without periods.
    """
    if not periods:
        return ""

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for (name, rows), colour in zip(periods.items(), COLOURS, strict=False):
            seconds = [row["seconds"] / 60 for row in rows]
            share = np.array([row["reward"] / row["best"] for row in rows])
            axes.plot(seconds, share, color=colour, alpha=0.3, linewidth=1)
            axes.plot(seconds, _smooth(share), color=colour, label=name, linewidth=2)
        axes.set_xlabel("minutes", color=MUTED)
        axes.set_ylabel("worth ÷ best", color=MUTED)
        axes.legend(frameon=False)
        plain_axes(axes)

    label = "Worth of the slates over time, with and without updates"
    return inline_svg(draw, size=(9, 3.4), name="reward", label=label)


def _smooth(values: Any, width: int = 9) -> Any:
    """The mean of the values around each."""
    kernel = np.ones(min(width, len(values)))
    known = np.nan_to_num(values)
    weight = np.convolve(np.isfinite(values), kernel, "same")
    return np.convolve(known, kernel, "same") / np.maximum(weight, 1)


def _rate(rows: Sequence[Mapping[str, Any]]) -> str:
    shown = sum(row["impressions"] for row in rows)
    return f"{sum(row['clicks'] for row in rows) / shown:.2%}" if shown else "–"
