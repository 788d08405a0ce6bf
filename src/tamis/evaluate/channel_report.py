"""The channels' evaluation as one HTML page and as tables in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape as plain
from rich.table import Table

from tamis.evaluate import _plots as plots
from tamis.evaluate._fragments import (
    LOGO,
    bar,
    card,
    chips,
    facts,
    figure,
    interval_strip,
    section,
    table,
)
from tamis.evaluate._reading import number, shown

_METRICS = {"hit@10": "hit@10", "recall@50": "recall@50", "ndcg@10": "NDCG@10"}
_SPREAD = {"coverage@50": ".1%", "popularity@50": ".2f"}


def write_channel_report(result: Mapping[str, Any], path: Path) -> Path:
    """Writes the result (the JSON of `tamis evaluate --channels --json`) as one page.

    It needs nothing else: no script, no link, no image from elsewhere. Returns `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_page(result), encoding="utf-8")
    return path


def render_channels(result: Mapping[str, Any], console: Console) -> None:
    """Prints the same as tables."""
    protocol = result["protocol"]
    masked = "seen items masked" if protocol["seen_masked"] else "seen items not masked"
    console.print(
        f"Protocol: {plain(protocol['words'])}; {protocol['candidates']}; {masked}; "
        f"{protocol['cold_targets']:.1%} of the targets are cold and count as misses. "
        f"Fits: {protocol['trained_on']}; stopped by {protocol['stopped_by']}.",
        highlight=False,
    )
    console.print()
    console.print(_quality(result))
    console.print()
    console.print(_costs(result))
    console.print()
    console.print(_likeness(result["overlap"]))


def _ordered(result: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The channels, those that the merge would miss most first."""
    return sorted(result["channels"].items(), key=lambda pair: -pair[1]["marginal"]["mean"])


def _table(title: str, *heads: str) -> Table:
    out = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    out.add_column("", no_wrap=True)
    for head in heads:
        out.add_column(head, justify="right", no_wrap=True)
    return out


def _quality(result: Mapping[str, Any]) -> Table:
    beside = ("coverage@50", "popularity@50", "the merge loses without it", "in its 50")
    out = _table("Each channel alone, and all merged", *_METRICS.values(), *beside)
    merged = result["merged"]
    for name, values in [*_ordered(result), ("merged", merged)]:
        cells = [shown(number(values[key])) for key in _METRICS]
        cells += [format(values[key], form) for key, form in _SPREAD.items()]
        if values is merged:
            cells += [f"recall {merged['recall@limit']:.4f}", f"{merged['recall@50']:.4f}"]
        else:
            cells += [_told(values["marginal"]), f"{values['marginal@50']['mean']:+.4f}"]
        out.add_row(plain(name), *cells, style="bold" if values is merged else "")
    return out


def _told(interval: Mapping[str, float]) -> str:
    return f"{interval['mean']:+.4f} ({interval['low']:+.4f} … {interval['high']:+.4f})"


def _costs(result: Mapping[str, Any]) -> Table:
    out = _table("What they cost", "quota", "fit, s", "fit, MB", "users/s")
    for name, values in _ordered(result):
        out.add_row(plain(name), *_cost_cells(values))
    return out


def _cost_cells(values: Mapping[str, Any]) -> list[str]:
    return [
        f"{values['quota']:,}",
        shown(number(values["fit_seconds"]), ".2f"),
        shown(number(values["fit_mb"]), ",.0f"),
        shown(number(values["users_per_second"]), ",.0f"),
    ]


def _likeness(overlap: Mapping[str, Any]) -> Table:
    """Mean Jaccard likeness of the lists, pair by pair."""
    out = _table(f"How alike their first {overlap['at']} are (Jaccard)", *overlap["names"])
    for name, line in zip(overlap["names"], overlap["matrix"], strict=True):
        out.add_row(plain(name), *(f"{value:.2f}" for value in line))
    return out


def _page(result: Mapping[str, Any]) -> str:
    css = files("tamis.evaluate").joinpath("report.css").read_text(encoding="utf-8")
    name, protocol = escape(str(result["project"])), result["protocol"]
    body = (
        _comparison(result),
        _marginal(result),
        _pairs(result["overlap"]),
        _spent(result),
        _done(protocol),
    )
    tags = {key: protocol[key] for key in ("name", "users", "targets", "seen_masked")}
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{name} – Tamis channels</title><style>{css}</style></head>\n<body>"
        f'<header><div><div class="brand">{LOGO}<span>Tamis channels</span></div>'
        f'<h1>{name}</h1><p class="lead">{escape(_lead(result))}</p>{chips(tags)}'
        f"{_headline(result['merged'])}</div></header><main>{''.join(body)}</main>"
        f"<footer>Made by Tamis {escape(str(protocol['tamis']))}.</footer></body></html>\n"
    )


def _lead(result: Mapping[str, Any]) -> str:
    """Who carries the merge, and who could go."""
    ordered = _ordered(result)
    first, best = ordered[0]
    said = (
        f"Together the channels find {result['merged']['recall@limit']:.1%} of what users went on "
        f"to like, among {result['merged']['candidates']:,.0f} candidates each."
    )
    if best["marginal"]["low"] > 0:
        said += f" Without {first} it would be {best['marginal']['mean'] * 100:.1f} points less."
    idle = [name for name, values in ordered if values["marginal"]["low"] <= 0]
    if not idle:
        return said
    return said + f" Of {', '.join(idle)} any one could go without a sure loss of recall."


def _headline(merged: Mapping[str, Any]) -> str:
    words = {
        "recall@limit": "of the merge's whole list",
        "recall@50": "of its first 50",
        "hit@10": "users with a find in the first 10",
        "coverage@50": "of the catalogue in somebody's first 50",
    }
    cards = [
        card(key.capitalize(), f"{merged[key]:.3f}", small, first=key == "recall@limit")
        for key, small in words.items()
    ]
    return f'<dl class="numbers">{"".join(cards)}</dl>'


def _comparison(result: Mapping[str, Any]) -> str:
    merged, ordered = result["merged"], _ordered(result)
    everyone: Sequence[Mapping[str, Any]] = [merged, *(values for _, values in ordered)]
    top = {key: max(values[key] for values in everyone) for key in _METRICS}
    lines: list[tuple[str, list[str]]] = []
    for name, values in [("merged", merged), *ordered]:
        cells = [escape(name), *(bar(values[key], top[key]) for key in _METRICS)]
        cells += [format(values[key], form) for key, form in _SPREAD.items()]
        lines.append(("ours" if values is merged else "", cells))
    heads = ["", *_METRICS.values(), "coverage@50", "popularity@50"]
    words = (
        "Popularity: the mean percentile of what is shown; a random list has .50. The merge's "
        "first 50 are taken in turns; the rankers put its whole list in order."
    )
    return section("Each channel alone, and all merged", table(heads, lines), words)


def _marginal(result: Mapping[str, Any]) -> str:
    ordered = _ordered(result)
    ends = [0.0, *(v["marginal"][end] for _, v in ordered for end in ("low", "high"))]
    lines = [
        (
            "",
            [
                escape(name),
                interval_strip(values["marginal"], ends),
                f"{values['marginal@50']['mean']:+.3f}",
            ],
        )
        for name, values in ordered
    ]
    words = (
        "What the recall of the merge loses when the channel alone is taken out, with its 95 % "
        "interval over users: of its whole list, which the rankers get, and of its first 50."
    )
    heads = ["", "of the whole list", "of the first 50"]
    return section("What each channel adds", table(heads, lines), words)


def _pairs(overlap: Mapping[str, Any]) -> str:
    svg = plots.overlap(overlap["names"], overlap["matrix"])
    if not svg:
        return ""
    caption = f"Mean Jaccard likeness of the first {overlap['at']} items; 1 = the same items."
    words = "Channels that bring the same items compete for the same places."
    return section("How alike the lists are", figure(svg, caption), words)


def _spent(result: Mapping[str, Any]) -> str:
    lines = [("", [escape(name), *_cost_cells(values)]) for name, values in _ordered(result)]
    words = "Memory: the peak of the fit above what the process held before it."
    heads = ["", "quota", "fit, s", "fit, MB", "users/s"]
    return section("What they cost", table(heads, lines), words)


def _done(protocol: Mapping[str, Any]) -> str:
    told = {key: value for key, value in protocol.items() if key not in ("name", "tamis")}
    return section("Protocol", facts(told))
