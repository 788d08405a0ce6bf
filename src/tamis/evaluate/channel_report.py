"""The evaluation of the recall channels as one HTML page and as tables in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from tamis.evaluate._page import write_page
from tamis.evaluate._plots import overlap_plot
from tamis.evaluate._summary import (
    Card,
    Cell,
    Facts,
    ReportColumn,
    ReportTable,
    Row,
    bar_cell,
    cells,
    facts,
    interval_cells,
    shown,
)
from tamis.evaluate._terminal import print_table, print_text

_METRICS = {"hit@10": "Hit@10", "recall@50": "Recall@50", "ndcg@10": "NDCG@10"}
_SPREAD = {"coverage@50": ("Coverage@50", ".1%"), "popularity@50": ("Popularity@50", ".2f")}
_CARDS = {
    "recall@limit": ("Recall@limit", "of the whole merged list"),
    "recall@50": ("Recall@50", "of the first 50 of the merged list"),
    "hit@10": ("Hit@10", "users with a positive among the first 10"),
    "coverage@50": ("Coverage@50", "of the catalogue is in the first 50 of at least one user"),
}
_HEAD = ("users", "targets", "seen_masked")
"""Keys of the protocol that stand at the top of the page."""
_COSTS = {
    "quota": ("quota", ",.0f"),
    "fit_seconds": ("fit, s", ".2f"),
    "fit_mb": ("fit, MB", ",.0f"),
    "users_per_second": ("users/s", ",.0f"),
}


@dataclass(frozen=True)
class ChannelSummary:
    """What the page and the terminal output hold. Channels are in order of their contribution."""

    project: str
    release: str
    tags: Facts
    lead: str
    setting: str
    """The protocol in two sentences."""
    cards: tuple[Card, ...]
    comparison: ReportTable
    contribution: ReportTable
    overlap: ReportTable
    cost: ReportTable
    protocol: Facts


def write_channel_report(result: Mapping[str, Any], path: Path) -> Path:
    """Writes the evaluation of the channels as one HTML page without scripts or external files.

    Args:
        result: the JSON of `tamis evaluate channels --json`, with all keys that
            docs/evaluation.md describes.
        path: the HTML file; missing folders are created.

    Returns `path`. Raises KeyError for a missing key, OSError where the file cannot be written.
    """
    summary, overlap = summarise(result), result["overlap"]
    return write_page(
        path,
        "channels.html",
        kind="channels",
        project=summary.project,
        release=summary.release,
        lead=summary.lead,
        tags=summary.tags,
        cards=summary.cards,
        summary=summary,
        overlap_svg=overlap_plot(overlap["names"], overlap["matrix"]),
    )


def render_channels(result: Mapping[str, Any], console: Console) -> None:
    """Prints the same summary as `write_channel_report`. Raises KeyError for a missing key."""
    summary = summarise(result)
    print_text(console, summary.setting, summary.lead)
    for table in (summary.comparison, summary.contribution, summary.overlap, summary.cost):
        print_table(console, table)


def summarise(result: Mapping[str, Any]) -> ChannelSummary:
    """Reads the JSON of `tamis evaluate channels --json` once."""
    protocol, merged = result["protocol"], result["merged"]
    ordered = dict(
        sorted(result["channels"].items(), key=lambda pair: -pair[1]["marginal"]["mean"])
    )
    return ChannelSummary(
        project=str(result["project"]),
        release=str(protocol["tamis"]),
        tags=facts({"protocol": protocol["name"]} | {key: protocol[key] for key in _HEAD}),
        lead=_lead(ordered, merged),
        setting=_setting(protocol),
        cards=tuple(Card(label, shown(merged[k]), note) for k, (label, note) in _CARDS.items()),
        comparison=_comparison(ordered, merged),
        contribution=_contribution(ordered),
        overlap=_overlap(result["overlap"]),
        cost=_cost(ordered),
        protocol=facts(
            {"description": protocol["words"]}
            | {k: v for k, v in protocol.items() if k not in ("name", "tamis", "words")}
        ),
    )


Channels = Mapping[str, Mapping[str, Any]]


def _setting(protocol: Mapping[str, Any]) -> str:
    return (
        f"Protocol: {protocol['words']}; {protocol['candidates']}; masked: {protocol['masked']}; "
        f"{protocol['known_targets']:.1%} of the targets are known to their user; "
        f"{protocol['cold_targets']:.1%} of the targets are cold and count as misses. "
        f"Trained on {protocol['trained_on']}; early stopping by {protocol['stopped_by']}."
    )


def _lead(channels: Channels, merged: Mapping[str, Any]) -> str:
    """The merged recall, the channel that contributes most, and those that contribute nothing."""
    lead = (
        f"The merged list recalls {merged['recall@limit']:.1%} of the targets with "
        f"{merged['candidates']:,.0f} candidates per user."
    )
    first, values = next(iter(channels.items()))
    if values["marginal"]["low"] > 0:
        points = values["marginal"]["mean"] * 100
        lead += f" {first} contributes most: without it, recall is {points:.1f} points lower."
    idle = [name for name, values in channels.items() if values["marginal"]["low"] <= 0]
    if not idle:
        return lead
    subject = f"{idle[0]} alone" if len(idle) == 1 else f"any one of {', '.join(idle)}"
    return f"{lead} Removing {subject} causes no significant loss of recall."


def _comparison(channels: Channels, merged: Mapping[str, Any]) -> ReportTable:
    everyone = {"merged": merged, **channels}
    longest = {key: max(values[key] for values in everyone.values()) for key in _METRICS}
    rows = tuple(
        Row(
            name,
            (
                *(bar_cell(v[key], longest[key], accent=v is merged) for key in _METRICS),
                *(Cell(shown(v[key], form)) for key, (_, form) in _SPREAD.items()),
            ),
            highlight=v is merged,
        )
        for name, v in everyone.items()
    )
    headings = (*_METRICS.values(), *(heading for heading, _ in _SPREAD.values()))
    return ReportTable(
        "Each channel alone, and all channels merged", tuple(map(ReportColumn, headings)), rows
    )


def _contribution(channels: Channels) -> ReportTable:
    whole = interval_cells([values["marginal"] for values in channels.values()])
    first = [Cell(shown(values["marginal@50"]["mean"], "+.3f")) for values in channels.values()]
    rows = tuple(
        Row(name, pair) for name, pair in zip(channels, zip(whole, first, strict=True), strict=True)
    )
    columns = (ReportColumn("Recall@limit [95% interval]"), ReportColumn("Recall@50"))
    return ReportTable("Recall lost without each channel", columns, rows)


def _overlap(overlap: Mapping[str, Any]) -> ReportTable:
    names: Sequence[str] = overlap["names"]
    rows = tuple(
        Row(name, cells(line, [".2f"] * len(names)))
        for name, line in zip(names, overlap["matrix"], strict=True)
    )
    title = f"Overlap of the first {overlap['at']} items (mean Jaccard similarity)"
    return ReportTable(title, tuple(map(ReportColumn, names)), rows)


def _cost(channels: Channels) -> ReportTable:
    forms = [form for _, form in _COSTS.values()]
    rows = tuple(
        Row(name, cells((values[key] for key in _COSTS), forms))
        for name, values in channels.items()
    )
    return ReportTable("Cost", tuple(ReportColumn(heading) for heading, _ in _COSTS.values()), rows)
