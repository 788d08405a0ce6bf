"""The report's plots as inline SVG whose colours follow the page's theme.

Matplotlib draws with stand-in colours that are replaced by CSS variables, and with text as text, so
that one picture serves light, dark and print.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from tamis.evaluate._reading import number, smaller_is_better, survivors, valid_metric

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, LINE, ACCENT, SOFT, WARN = (f"#01020{digit}" for digit in range(1, 7))
_THEME = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
    ACCENT: "var(--accent)",
    SOFT: "var(--accent-soft)",
    WARN: "var(--warn)",
}
_RC: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "tamis",
    "font.family": "DejaVu Sans",  # lies in matplotlib itself
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def _drawn(name: str, size: tuple[float, float], draw: Callable[[Figure], None]) -> str:
    """SVG of what `draw` puts on a figure of `size` inches; ids start with `name`."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_RC):
        figure = Figure(figsize=size, layout="constrained")
        figure.patch.set_alpha(0)
        draw(figure)
        out = io.StringIO()
        FigureCanvasSVG(figure).print_svg(out, metadata={"Date": None, "Creator": None})
    return _inline(out.getvalue(), name)


def _inline(svg: str, name: str) -> str:
    """Only the <svg> element: no XML head, metadata, namespaces or fixed size; own ids."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # Its style sheet would rule the whole page; report.css says the same of figures alone.
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg)
    svg = re.sub(r'(<svg[^>]*?)\swidth="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?)\sheight="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r"url\(#", f"url(#{name}-", svg)
    svg = re.sub(r'href="#', f'href="#{name}-', svg)
    svg = svg.replace("'DejaVu Sans'", "inherit").replace("<svg", '<svg role="img"', 1)
    for stand_in, variable in _THEME.items():
        svg = svg.replace(stand_in, variable)
    return svg


def _quiet(axes: Axes, grid: Literal["x", "y", "both"] = "y") -> None:
    axes.grid(axis=grid, color=LINE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    axes.patch.set_alpha(0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def funnel(shares: Mapping[str, float]) -> str:
    """What is left of the held-out positives after every stage."""
    steps = survivors(shares)

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        place = range(len(steps))
        left = [share for _, share, _ in steps]
        lost = [loss for _, _, loss in steps]
        axes.barh(place, left, color=ACCENT, height=0.62)
        axes.barh(place, lost, left=left, color=WARN, height=0.62, alpha=0.35)
        for y, (_, share, loss) in enumerate(steps):
            end = share + loss + 0.012
            axes.text(end, y, f"{share:.1%}", va="center", color=INK, fontweight="bold")
            if loss:
                axes.text(end + 0.075, y, f"−{loss:.1%}", va="center", color=WARN)
        axes.set_yticks(place, [label for label, _, _ in steps], color=INK)
        axes.set_xlim(0, 1.18)
        axes.set_xticks([])
        axes.invert_yaxis()
        _quiet(axes, "x")

    return _drawn("funnel", (9, 2.9), draw)


def learning_curves(curves: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """A row per stage: its training loss and its validation metric by epoch; the best marked."""
    panels = [(stage, epochs) for stage, epochs in curves.items() if epochs]
    if not panels:
        return ""

    def draw(figure: Figure) -> None:
        grid = figure.subplots(len(panels), 2, squeeze=False)
        for row, (stage, epochs) in zip(grid, panels, strict=True):
            _curve(row[0], epochs, "train_loss", f"{stage}: training loss", MUTED)
            metric = valid_metric(epochs) or "valid_metric"
            word = "metric" if metric == "valid_metric" else metric
            _curve(row[1], epochs, metric, f"{stage}: validation {word}", ACCENT)

    return _drawn("curves", (10, 0.3 + 1.9 * len(panels)), draw)


def _curve(
    axes: Axes, epochs: Sequence[Mapping[str, Any]], key: str, title: str, color: str
) -> None:
    from matplotlib.ticker import MaxNLocator

    values = [(number(e.get("epoch", i + 1)), number(e.get(key))) for i, e in enumerate(epochs)]
    points = [(x, y) for x, y in values if x is not None and y is not None]
    axes.set_title(title, loc="left", fontsize=9, color=INK)
    _quiet(axes)
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


def reliability(bins: Sequence[Mapping[str, Any]], name: str = "reliability") -> str:
    """Observed share against prediction; the dashed diagonal is a calibrated model."""
    points = [
        (number(b.get("predicted")), number(b.get("observed")), number(b.get("count")) or 0.0)
        for b in bins
    ]
    known = [(x, y, n) for x, y, n in points if x is not None and y is not None]
    if not known:
        return ""
    end = max(max(x, y) for x, y, _ in known) * 1.08 or 1.0
    most = max(n for _, _, n in known) or 1.0

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        x, y, n = zip(*known, strict=True)
        axes.plot([0, end], [0, end], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        axes.plot(x, y, color=ACCENT, linewidth=2)
        axes.scatter(x, y, s=[18 + 70 * count / most for count in n], color=ACCENT, zorder=3)
        axes.set_xlim(0, end)
        axes.set_ylim(0, end)
        axes.set_xlabel("predicted")
        axes.set_ylabel("observed")
        _quiet(axes, "both")

    return _drawn(name, (5, 4), draw)


def segments(
    values: Mapping[str, float], errors: Mapping[str, float], label: str, number: int = 0
) -> str:
    """A dot per segment with two standard errors to each side, and a line where all rows (the first
    of `values`) are."""
    if len(values) < 2:
        return ""

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        place = range(len(values))
        whole = next(iter(values.values()))
        axes.axvline(whole, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        for y, value in zip(place, values.values(), strict=True):
            wide = 2 * errors.get(list(values)[y], 0.0)
            axes.plot([value - wide, value + wide], [y, y], color=SOFT, linewidth=5)
            axes.annotate(
                f"{value:.4f}", (value, y), (0, 7), textcoords="offset points", ha="center",
                color=INK, fontsize=8,
            )  # fmt: skip
        axes.scatter(list(values.values()), list(place), s=45, color=ACCENT, zorder=3)
        axes.set_yticks(list(place), list(values), color=INK)
        axes.set_xlabel(label)
        axes.margins(x=0.12, y=0.12)
        axes.invert_yaxis()
        _quiet(axes, "x")

    return _drawn(f"segments{number}", (9, 0.7 + 0.42 * len(values)), draw)


def overlap(names: Sequence[str], matrix: Sequence[Sequence[float]]) -> str:
    """How alike the lists of every two are: a square per pair, the fuller the more alike."""
    n = len(names)
    if n < 2:
        return ""

    def draw(figure: Figure) -> None:
        from matplotlib.patches import Rectangle

        axes = figure.add_subplot()
        for row in range(n):
            for column in range(n):
                value = number(matrix[row][column]) or 0.0
                corner = (column - 0.5, row - 0.5)
                shade = Rectangle(corner, 1, 1, facecolor=ACCENT, alpha=0.85 * value, linewidth=0)
                axes.add_patch(shade)
                axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=INK)
        axes.set_xlim(-0.5, n - 0.5)
        axes.set_ylim(n - 0.5, -0.5)
        tilt = {"rotation": 35, "ha": "right"} if n > 6 else {}
        axes.set_xticks(range(n), list(names), color=INK, **tilt)
        axes.set_yticks(range(n), list(names), color=INK)
        axes.tick_params(length=0)
        axes.patch.set_alpha(0)
        for spine in axes.spines.values():
            spine.set_visible(False)

    return _drawn("overlap", (9, 0.7 + 0.45 * n), draw)
