"""Pieces of the report's HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from tamis.evaluate._reading import shown

LOGO = (
    '<svg viewBox="0 0 32 32" fill="none" stroke="currentColor" stroke-width="2" '
    'aria-hidden="true"><ellipse cx="16" cy="9" rx="13" ry="5"/>'
    '<path d="M3 9v8c0 2.8 5.8 5 13 5s13-2.2 13-5V9"/>'
    '<path d="M10 26v.01M16 27v.01M22 26v.01M16 31v.01" stroke-width="2.6" '
    'stroke-linecap="round"/>'
    '<path d="M8 6.5l12 7M12 5l12 6.5M20 5L9 12.5M24.5 6.5L13 13.5" stroke-width="1"/></svg>'
)


def section(title: str, body: str, words: str = "") -> str:
    told = f"<p>{escape(words)}</p>" if words else ""
    return f"<section><h2>{escape(title)}</h2>{told}{body}</section>"


def card(label: str, value: str, small: str, first: bool = False) -> str:
    mark = ' class="first"' if first else ""
    return (
        f"<div{mark}><dt>{escape(label)}</dt>"
        f"<dd>{escape(value)}<small>{escape(small)}</small></dd></div>"
    )


def chips(tags: Mapping[str, Any]) -> str:
    found = {key: value for key, value in tags.items() if value is not None}
    items = "".join(
        f"<li>{escape(str(key).replace('_', ' '))} <b>{escape(text(value))}</b></li>"
        for key, value in found.items()
    )
    return f'<ul class="chips">{items}</ul>' if items else ""


def facts(told: Mapping[str, Any]) -> str:
    """A list of names and values; nested values are written as text."""
    items = "".join(
        f"<dt>{escape(str(key).replace('_', ' '))}</dt><dd>{escape(text(value))}</dd>"
        for key, value in told.items()
        if value is not None
    )
    return f'<dl class="facts">{items}</dl>' if items else ""


def text(value: Any) -> str:
    """A value as a person writes it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Mapping) and {"kind", "x", "y"} <= value.keys():  # a calibration
        return (
            f"{value['kind']} ({len(value['x'])} knots)" if len(value["x"]) > 1 else value["kind"]
        )
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {text(part)}" for key, part in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(text, value))
    return str(value)


def table(
    heads: Sequence[str], lines: Sequence[tuple[str, Sequence[str]]], words: bool = False
) -> str:
    """Lines are (class, cells); cells are HTML. `words`: the last column is text, not numbers."""

    def row(tag: str, cells: Sequence[str], kind: str = "") -> str:
        opening = [f"<{tag}>"] * len(cells)
        if words:
            opening[-1] = f'<{tag} class="words">'
        inner = "".join(f"{o}{cell}</{tag}>" for o, cell in zip(opening, cells, strict=True))
        return f'<tr class="{kind}">{inner}</tr>' if kind else f"<tr>{inner}</tr>"

    head = row("th", [escape(name) for name in heads])
    body = "".join(row("td", cells, kind) for kind, cells in lines)
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def bar(value: float | None, most: float, form: str = ".3f", on: bool = False) -> str:
    """A number behind a bar whose full length is `most`."""
    width = 100 * (value or 0.0) / most if most else 0.0
    mark = "bar on" if on else "bar"
    value_shown = f"<span>{shown(value, form)}</span>"
    return f'<span class="{mark}"><i style="--w:{width:.1f}%"></i>{value_shown}</span>'


def interval_strip(interval: Mapping[str, float] | None, ends: Sequence[float]) -> str:
    """The difference as text and as a dot with its interval on a scale that holds all `ends`."""
    if interval is None:
        return "–"
    low, high = min(ends), max(ends)
    margin = (high - low) * 0.06 or 1.0
    low, high = low - margin, high + margin

    def at(value: float) -> float:
        return 100 * (value - low) / (high - low)

    wide = at(interval["high"]) - at(interval["low"])
    style = (
        f"--zero:{at(0):.1f}%;--low:{at(interval['low']):.1f}%;"
        f"--wide:{wide:.1f}%;--mean:{at(interval['mean']):.1f}%"
    )
    kind = "sure" if interval["low"] > 0 else "unsure"
    told = f"{interval['mean']:+.3f} [{interval['low']:+.3f}, {interval['high']:+.3f}]"
    return f'{told}<span class="range {kind}" style="{style}"><i></i><b></b></span>'


def figure(svg: str, caption: str) -> str:
    return (
        f"<figure><div>{svg}</div><figcaption>{escape(caption)}</figcaption></figure>"
        if svg
        else ""
    )
