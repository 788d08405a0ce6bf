"""Matplotlib figures as SVG elements inside an HTML page, in the colours of the page's theme."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, MUTED, LINE = "#1c1a17", "#6f6a61", "#e4dfd5"
ACCENT, ACCENT_SOFT, WARN = "#0e7c66", "#cfe8e1", "#c2571a"
_VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
    ACCENT: "var(--accent)",
    ACCENT_SOFT: "var(--accent-soft)",
    WARN: "var(--warn)",
}
"""The light theme's colours, and the CSS variables of templates/report.css that hold them."""

_RC: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: it can be selected, and has the page's font
    "svg.hashsalt": "tamis",  # the same figure gives the same ids
    "text.parse_math": False,  # a name may contain dollar signs
    "font.family": "DejaVu Sans",  # part of matplotlib, so the layout is the same everywhere
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_SVG, _HREF = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}href"


def inline_svg(
    draw: Callable[[Figure], None], *, size: tuple[float, float], name: str, label: str
) -> str:
    """Draws a figure and returns it as an `<svg>` element for an HTML page.

    Colours of this module become CSS variables, so the figure follows the light and the dark theme.

    Args:
        draw: draws on an empty figure, in the colours of this module.
        size: width and height, in inches.
        name: prefix of the element ids, unique within the page.
        label: what the figure shows, for screen readers.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    out = io.StringIO()
    with matplotlib.rc_context(_RC), warnings.catch_warnings():
        # The browser draws the text; matplotlib only measures it.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=size, layout="constrained")
        figure.patch.set_visible(False)
        draw(figure)
        FigureCanvasSVG(figure).print_svg(out, metadata=dict.fromkeys(("Date", "Creator")))
    root = ElementTree.fromstring(out.getvalue())
    _remove(root, f"{_SVG}metadata", f"{_SVG}style")
    _rename_ids(root, name)
    for element in root.iter():
        element.tag = element.tag.removeprefix(_SVG)
        if "style" in element.attrib:
            element.set("style", _themed(element.attrib["style"]))
    root.attrib = {"role": "img", "aria-label": label, "viewBox": root.attrib["viewBox"]}
    return ElementTree.tostring(root, encoding="unicode")


def _remove(root: ElementTree.Element, *tags: str) -> None:
    """Removes all elements of these tags, and the white space that only indents."""
    for parent in root.iter():
        parent.text = (parent.text or "").strip() or None
        for child in list(parent):
            child.tail = None
            if child.tag in tags:
                parent.remove(child)


def _rename_ids(root: ElementTree.Element, name: str) -> None:
    """Prefixes the ids that the figure refers to, and removes all others."""
    used: set[str] = set()
    for element in root.iter():
        if _HREF in element.attrib:
            target = element.attrib.pop(_HREF).removeprefix("#")
            element.set("href", f"#{name}-{target}")
            used.add(target)
        if "clip-path" in element.attrib:
            target = element.attrib["clip-path"].removeprefix("url(#").removesuffix(")")
            element.set("clip-path", f"url(#{name}-{target})")
            used.add(target)
    for element in root.iter():
        own = element.attrib.pop("id", None)
        if own in used:
            element.set("id", f"{name}-{own}")


def _themed(style: str) -> str:
    """The declarations with the theme's CSS variables as colours, without a font family."""
    pairs = (part.partition(":") for part in style.split(";"))
    declarations = {key.strip(): value.strip() for key, _, value in pairs if key.strip()}
    declarations.pop("font-family", None)
    return "; ".join(f"{key}: {_VARIABLES.get(v, v)}" for key, v in declarations.items())
