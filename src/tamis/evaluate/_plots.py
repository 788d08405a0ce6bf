"""The reports' plots as SVG: stage loss, learning curves, calibration, segments, overlap."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from tamis.evaluate._summary import number
from tamis.evaluate._svg import ACCENT, ACCENT_SOFT, INK, LINE, MUTED, WARN, inline_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Step(NamedTuple):
    """A stage of the cascade and the held-out positives in it, as shares of all of them."""

    label: str
    left: float
    """Share that the stage still holds."""
    lost: float
    """Share that the stage lost."""


class Point(NamedTuple):
    """A metric of one segment."""

    segment: str
    value: float
    error: float
    """Standard error; 0 where it is unknown."""


def stage_loss_plot(steps: Sequence[Step]) -> str:
    """A bar per stage: the share of the held-out positives left, and the share it lost.

    Returns an `<svg>` element; "" for no steps.
    """
    if not steps:
        return ""
    labels, left, lost = zip(*steps, strict=True)

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        place = range(len(steps))
        axes.barh(place, left, color=ACCENT, height=0.62)
        axes.barh(place, lost, left=left, color=WARN, height=0.62, alpha=0.35)
        for y, step in enumerate(steps):
            end = step.left + step.lost + 0.012
            axes.text(end, y, f"{step.left:.1%}", va="center", color=INK, fontweight="bold")
            if step.lost:
                axes.text(end + 0.075, y, f"−{step.lost:.1%}", va="center", color=WARN)
        axes.set_yticks(place, labels, color=INK)
        axes.set_xlim(0, 1.18)
        axes.set_xticks([])
        axes.invert_yaxis()
        plain_axes(axes, "x")

    label = "Share of the held-out positives left after each stage"
    return inline_svg(draw, size=(9, 2.9), name="stage-loss", label=label)


def learning_curves(curves: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """A row per trained stage: training loss and validation metric by epoch, the best epoch ringed.

    Args:
        curves: {stage: epochs}; an epoch holds `epoch`, `train_loss` and a validation metric, under
            the name `valid_metric` or its own.

    Returns an `<svg>` element; "" where no stage has an epoch.
    """
    panels = [(stage, epochs) for stage, epochs in curves.items() if epochs]
    if not panels:
        return ""

    def draw(figure: Figure) -> None:
        grid = figure.subplots(len(panels), 2, squeeze=False)
        for row, (stage, epochs) in zip(grid, panels, strict=True):
            _curve(row[0], epochs, "train_loss", f"{stage}: training loss", MUTED)
            metric = validation_metric(epochs) or "valid_metric"
            word = "metric" if metric == "valid_metric" else metric
            _curve(row[1], epochs, metric, f"{stage}: validation {word}", ACCENT)

    size = (10, 0.3 + 1.9 * len(panels))
    label = "Training loss and validation metric by epoch"
    return inline_svg(draw, size=size, name="curves", label=label)


def validation_metric(epochs: Sequence[Mapping[str, Any]]) -> str | None:
    """The key under which a learning curve keeps its validation metric, or None."""
    others = ("epoch", "train_loss", "seconds")
    found = (
        str(key)
        for epoch in epochs
        for key, value in epoch.items()
        if key not in others and number(value) is not None
    )
    return next(found, None)


def smaller_is_better(metric: str) -> bool:
    """Whether a metric is a loss or an error, by its name."""
    return any(word in metric.lower() for word in ("loss", "mse", "mae", "error"))


def _curve(
    axes: Axes, epochs: Sequence[Mapping[str, Any]], key: str, title: str, color: str
) -> None:
    from matplotlib.ticker import MaxNLocator

    values = [(number(e.get("epoch", i + 1)), number(e.get(key))) for i, e in enumerate(epochs)]
    points = [(x, y) for x, y in values if x is not None and y is not None]
    axes.set_title(title, loc="left", fontsize=9, color=INK)
    plain_axes(axes)
    if not points:
        axes.text(0.5, 0.5, "not recorded", transform=axes.transAxes, ha="center", color=MUTED)
        axes.set_xticks([])
        axes.set_yticks([])
        return
    axes.plot(*zip(*points, strict=True), color=color, linewidth=2, marker="o", markersize=3)
    if key != "train_loss":
        sign = -1 if smaller_is_better(key) else 1
        best = max(points, key=lambda point: sign * point[1])
        axes.plot(*best, marker="o", markersize=8, markerfacecolor="none", color=WARN)
        axes.annotate(
            f"{best[1]:.4f}", best, (0, -13), textcoords="offset points", ha="center", color=INK
        )
        axes.margins(y=0.3)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4))


def calibration_plot(bins: Sequence[Mapping[str, Any]], name: str = "calibration") -> str:
    """Observed rate against mean prediction; the dashed diagonal is perfect calibration.

    Args:
        bins: {`predicted`, `observed`, `count`} of each bin of predictions, ascending.
        name: prefix of the element ids, unique within the page.

    Returns an `<svg>` element; "" where no bin has two finite numbers.
    """
    known = [
        (x, y, number(one.get("count")) or 0.0)
        for one in bins
        if (x := number(one.get("predicted"))) is not None
        and (y := number(one.get("observed"))) is not None
    ]
    if not known:
        return ""
    predicted, observed, counts = zip(*known, strict=True)
    end = max(*predicted, *observed) * 1.08 or 1.0
    most = max(counts) or 1.0

    def draw(figure: Figure) -> None:
        from matplotlib.ticker import MaxNLocator

        axes = figure.add_subplot()
        axes.plot([0, end], [0, end], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        axes.plot(predicted, observed, color=ACCENT, linewidth=2)
        sizes = [18 + 70 * count / most for count in counts]
        axes.scatter(predicted, observed, s=sizes, color=ACCENT, zorder=3)
        axes.set_xlim(0, end)
        axes.set_ylim(0, end)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, prune="lower"))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=6))
        axes.set_xlabel("mean prediction")
        axes.set_ylabel("observed rate")
        plain_axes(axes, "both")

    label = "Observed rate against mean prediction, by bins of predictions"
    return inline_svg(draw, size=(5, 4), name=name, label=label)


def segments_plot(points: Sequence[Point], metric: str, name: str = "segments") -> str:
    """A dot per segment with a band of two standard errors to each side.

    Args:
        points: all rows first, where a dashed line is drawn; then the segments.
        metric: label of the axis.
        name: prefix of the element ids, unique within the page.

    Returns an `<svg>` element; "" for fewer than two points.
    """
    if len(points) < 2:
        return ""

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        place = list(range(len(points)))
        values = [point.value for point in points]
        axes.axvline(values[0], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        for y, (_, value, error) in enumerate(points):
            band = [value - 2 * error, value + 2 * error]
            axes.plot(band, [y, y], color=ACCENT_SOFT, linewidth=5)
            axes.annotate(
                f"{value:.4f}", (value, y), (0, 7), textcoords="offset points", ha="center",
                color=INK, fontsize=8,
            )  # fmt: skip
        axes.scatter(values, place, s=45, color=ACCENT, zorder=3)
        axes.set_yticks(place, [point.segment for point in points], color=INK)
        axes.set_xlabel(metric)
        axes.margins(x=0.12, y=0.12)
        axes.invert_yaxis()
        plain_axes(axes, "x")

    size = (9, 0.7 + 0.42 * len(points))
    return inline_svg(draw, size=size, name=name, label=f"{metric} by segment")


def overlap_plot(names: Sequence[str], matrix: Sequence[Sequence[float]]) -> str:
    """A square per pair of channels, darker for more similar lists.

    Args:
        names: (C,) the channels.
        matrix: (C, C) similarities in [0, 1].

    Returns an `<svg>` element; "" for fewer than two channels.
    """
    n = len(names)
    if n < 2:
        return ""

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for row, column, value in _squares(matrix):
            _square(axes, row, column, value)
        axes.set_xlim(-0.5, n - 0.5)
        axes.set_ylim(n - 0.5, -0.5)
        tilt = {"rotation": 35, "ha": "right"} if n > 6 else {}
        axes.set_xticks(range(n), list(names), color=INK, **tilt)
        axes.set_yticks(range(n), list(names), color=INK)
        plain_axes(axes, "none")

    size = (9, 0.7 + 0.45 * n)
    label = "Similarity of the lists of every two channels"
    return inline_svg(draw, size=size, name="overlap", label=label)


def _squares(matrix: Sequence[Sequence[float]]) -> Iterator[tuple[int, int, float]]:
    for row, column in product(range(len(matrix)), repeat=2):
        yield row, column, number(matrix[row][column]) or 0.0


def _square(axes: Axes, row: int, column: int, value: float) -> None:
    from matplotlib.patches import Rectangle

    corner = (column - 0.5, row - 0.5)
    axes.add_patch(Rectangle(corner, 1, 1, facecolor=ACCENT, alpha=0.6 * value, linewidth=0))
    axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=INK)


def plain_axes(axes: Axes, grid: Literal["x", "y", "both", "none"] = "y") -> None:
    """No frame, no background and no tick marks; grid lines along `grid`."""
    if grid != "none":
        axes.grid(axis=grid, color=LINE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    axes.patch.set_visible(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
