"""Plots of experiments as SVG: effects with their intervals over time, and by segment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from tamis.evaluate._plots import plain_axes
from tamis.evaluate._svg import ACCENT, ACCENT_SOFT, INK, LINE, MUTED, WARN, inline_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class EffectPoint(NamedTuple):
    """A difference between two arms with its interval."""

    at: float
    """Days since the start, or the place of a segment."""
    value: float
    low: float
    high: float
    watched: tuple[float, float] | None = None
    """The interval that holds at every look; None where there is none."""


class EffectPanel(NamedTuple):
    """The effect of one arm on one metric over time."""

    title: str
    points: Sequence[EffectPoint]
    relative: bool
    """Whether the numbers are shares of the control's value."""


def effects_over_time(panels: Sequence[EffectPanel]) -> str:
    """A panel per metric and arm: the cumulative difference by day, with its interval.

    Returns an `<svg>` element; "" where no panel has two points.
    """
    panels = [panel for panel in panels if len(panel.points) > 1]
    if not panels:
        return ""
    columns = min(len(panels), 2)
    rows = -(-len(panels) // columns)

    def draw(figure: Figure) -> None:
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, panel in zip(grid, panels, strict=False):
            _over_time(axes, panel)
        for axes in grid[len(panels) :]:
            axes.set_visible(False)

    label = "Difference to the control by day, with intervals"
    return inline_svg(draw, size=(10, 0.3 + 2.4 * rows), name="effects", label=label)


def _over_time(axes: Axes, panel: EffectPanel) -> None:
    day, value, low, high, _ = zip(*panel.points, strict=True)
    axes.axhline(0, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    axes.fill_between(day, low, high, color=ACCENT_SOFT, linewidth=0)
    watched = [(p.at, p.watched) for p in panel.points if p.watched is not None]
    for side in (0, 1):
        ends = [ends[side] for _, ends in watched]
        axes.plot([at for at, _ in watched], ends, color=WARN, linewidth=1, linestyle=(0, (2, 2)))
    axes.plot(day, value, color=ACCENT, linewidth=2)
    axes.set_title(panel.title, loc="left", fontsize=9, color=INK)
    axes.set_xlabel("days since the start")
    _scale(axes, [*low, *high], panel.relative)
    plain_axes(axes)


def _scale(axes: Axes, ends: Sequence[float], relative: bool) -> None:
    """Limits that hold the later intervals: the first ones are as wide as they mean little."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    later = ends[len(ends) // 6 :]
    most = max(map(abs, later), default=0.0) * 1.6 or 1.0
    axes.set_ylim(-most, most)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    if relative:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:+.1%}"))


def effects_by_segment(
    points: Sequence[tuple[str, EffectPoint]], title: str, relative: bool
) -> str:
    """A dot with its interval per segment; the first one is all units.

    Returns an `<svg>` element; "" for fewer than two points.
    """
    if len(points) < 2:
        return ""

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.axvline(0, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        for y, (_, point) in enumerate(points):
            axes.plot(
                [point.low, point.high], [y, y], color=ACCENT_SOFT if y else LINE, linewidth=5
            )
        values = [point.value for _, point in points]
        axes.scatter(values, range(len(points)), s=40, color=ACCENT, zorder=3)
        axes.set_yticks(range(len(points)), [name for name, _ in points], color=INK)
        axes.set_xlabel(title)
        axes.margins(x=0.08, y=0.12)
        axes.invert_yaxis()
        plain_axes(axes, "x")
        if relative:
            from matplotlib.ticker import FuncFormatter

            axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:+.1%}"))

    size = (9, 0.7 + 0.4 * len(points))
    return inline_svg(draw, size=size, name="segments", label=f"{title} by segment")
