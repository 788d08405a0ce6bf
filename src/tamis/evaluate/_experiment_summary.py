"""What the report of an experiment says: the summary that the page and the terminal print."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tamis.evaluate._effect_plots import EffectPanel, EffectPoint
from tamis.evaluate._summary import (
    MISSING,
    Card,
    Cell,
    Facts,
    IntervalMark,
    ReportColumn,
    ReportTable,
    Row,
    number,
    shown,
)

MOST_PANELS = 8
MOST_DAYS = 12
"""Rows of the table of effects over time, the last ones."""


@dataclass(frozen=True)
class ExperimentSummary:
    """What the page and the terminal output hold. Parts without data are "", (), or None."""

    project: str
    experiment: str
    state: str
    text: str
    verdict: str
    tags: Facts
    cards: tuple[Card, ...]
    health: ReportTable
    effects: ReportTable | None
    effects_note: str
    without: ReportTable | None
    panels: tuple[EffectPanel, ...]
    over_time: ReportTable | None
    segments: ReportTable | None
    segments_note: str
    segment_plot: tuple[Sequence[tuple[str, EffectPoint]], str, bool]
    raw: ReportTable
    steps: ReportTable
    notes: tuple[str, ...]


def summarise_experiment(report: Mapping[str, Any]) -> ExperimentSummary:
    """Reads the JSON of `tamis experiment report --json`."""
    result = report["result"]
    sound = result["state"] != "not healthy"
    findings = result["findings"] if sound else []
    segments = report["segments"] if sound else []
    days = report["over_time"] if sound else []
    goal = findings[0]["measure"] if findings else ""
    return ExperimentSummary(
        project=report["project"],
        experiment=report["experiment"],
        state=result["state"],
        text=result["text"],
        verdict=f"{result['state'].capitalize()}. {result['text']}",
        tags=_tags(report),
        cards=tuple(_cards(report, findings)),
        health=_health(result["checks"]),
        effects=_effects(findings, report["control"]),
        effects_note=_effects_note(findings, report),
        without=_without(findings),
        panels=tuple(_panels(days)),
        over_time=_over_time(days, goal),
        segments=_segments(segments, report["segment"]),
        segments_note=_segments_note(segments, report["segment"]),
        segment_plot=_segment_plot(segments, findings, goal),
        raw=_raw(report["raw"], report["unit"]),
        steps=_steps(report["steps"]),
        notes=tuple(_notes(report)),
    )


def _tags(report: Mapping[str, Any]) -> Facts:
    days = (report["until"] - report["since"]) / 86_400_000
    phase = {"test": "arms side by side", "rollout": "rollout against the reverse bucket"}
    return (
        ("layer", report["layer"]),
        ("unit", report["unit"]),
        ("compared", phase[report["phase"]]),
        ("stage", report["stage"]),
        ("from", f"{_date(report['since'])} ({days:.1f} days)"),
    )


def _cards(report: Mapping[str, Any], findings: Sequence[Mapping[str, Any]]) -> Iterator[Card]:
    result = report["result"]
    winner = result["winner"]
    note = f"the winner is {winner}" if winner else "no winner is named"
    yield Card("state", result["state"], note)
    users = result["users"]
    split = " : ".join(f"{n:,}" for n in users.values())
    planned = f", {report['planned']:,} planned" if report["planned"] else ""
    yield Card(f"{report['unit']}s", f"{sum(users.values()):,}", f"{split}{planned}")
    for one in findings[:1]:
        text = _change_text(one["effect"])
        value, _, interval = text.partition(" [")
        yield Card(f"{one['measure']}, {one['arm']}", value, f"[{interval}" if interval else "")
    if result["days_left"] is not None:
        yield Card("days left", f"{result['days_left']:.1f}", "until a result may be read")


def _health(checks: Sequence[Mapping[str, Any]]) -> ReportTable:
    rows = tuple(
        Row(c["name"], (Cell("ok" if c["sound"] else "bad"), Cell(c["text"])), not c["sound"])
        for c in checks
    )
    columns = (ReportColumn(""), ReportColumn("found", prose=True))
    return ReportTable("Health", columns, rows, "check")


def _effects(findings: Sequence[Mapping[str, Any]], control: str) -> ReportTable | None:
    if not findings:
        return None
    watched = any(one["watched"] for one in findings)
    columns = [
        ReportColumn("role"),
        ReportColumn("arm"),
        ReportColumn(control),
        ReportColumn("arm's"),
        ReportColumn("change [interval]"),
        ReportColumn("p"),
        *([ReportColumn("at every look")] if watched else []),
    ]
    marks = _marks([one["effect"] for one in findings], [one["better"] for one in findings])
    rows: list[Row] = []
    for one, change in zip(findings, marks, strict=True):
        effect = one["effect"]
        cells = [
            Cell(one["role"]),
            Cell(one["arm"]),
            Cell(shown(effect["control"], ".4g")),
            Cell(shown(effect["treatment"], ".4g")),
            change,
            Cell(shown(one["adjusted_p"], ".2g")),
        ]
        if watched:
            always = one["watched"]
            ends = "" if always is None else f"{always['low']:+.4g} to {always['high']:+.4g}"
            cells.append(Cell(ends or MISSING))
        rows.append(Row(one["measure"], tuple(cells), one["role"] == "goal"))
    return ReportTable("Effects", tuple(columns), tuple(rows), "metric")


def _effects_note(findings: Sequence[Mapping[str, Any]], report: Mapping[str, Any]) -> str:
    if not findings:
        return ""
    text = (
        f"Intervals hold {report['confidence']:.0%} of the time. p is corrected for several "
        "metrics and arms of one role (Holm)."
    )
    if any(one["watched"] for one in findings):
        text += " The interval at every look is absolute, and holds however often one looks."
    return text


def _without(findings: Sequence[Mapping[str, Any]]) -> ReportTable | None:
    known = [one for one in findings if one["without_before"] is not None]
    if not known:
        return None
    columns = (
        ReportColumn("role"),
        ReportColumn("arm"),
        ReportColumn("with CUPED"),
        ReportColumn("p"),
        ReportColumn("without"),
        ReportColumn("p"),
        ReportColumn("variance kept"),
    )
    rows = tuple(
        Row(
            one["measure"],
            (
                Cell(one["role"]),
                Cell(one["arm"]),
                Cell(_change_text(one["effect"])),
                Cell(shown(one["effect"]["p"], ".2g")),
                Cell(_change_text(one["without_before"])),
                Cell(shown(one["without_before"]["p"], ".2g")),
                Cell(shown(one["effect"]["variance_kept"], ".0%")),
            ),
        )
        for one in known
    )
    return ReportTable("With and without CUPED", columns, rows, "metric")


def _panels(days: Sequence[Mapping[str, Any]]) -> Iterator[EffectPanel]:
    keys = list(dict.fromkeys((one["measure"], one["arm"]) for one in days))
    for measure, arm in keys[:MOST_PANELS]:
        own = [one for one in days if (one["measure"], one["arm"]) == (measure, arm)]
        relative = all(_is_relative(one["effect"]) for one in own)
        points = tuple(
            EffectPoint(
                one["day"],
                *_ends(one["effect"], relative),
                _watched(one, relative),
            )
            for one in own
        )
        if all(number(x) is not None for point in points for x in point[:4]):
            yield EffectPanel(f"{measure}, {arm}", points, relative)


def _watched(one: Mapping[str, Any], relative: bool) -> tuple[float, float] | None:
    """The ends of the interval that holds at every look; relative ones by the control's value."""
    always = one["watched"]
    if always is None or number(always["low"]) is None or number(always["high"]) is None:
        return None
    base = one["effect"]["control"] if relative else 1.0
    return always["low"] / base, always["high"] / base


def _over_time(days: Sequence[Mapping[str, Any]], goal: str) -> ReportTable | None:
    own = [one for one in days if one["measure"] == goal]
    last = own[-MOST_DAYS:]
    if len(own) < 2:
        return None
    rows = tuple(
        Row(
            f"{one['day']:.1f}",
            (
                Cell(one["arm"]),
                Cell(f"{one['units']:,}"),
                Cell(_change_text(one["effect"])),
                Cell(shown(one["effect"]["p"], ".2g")),
            ),
        )
        for one in last
    )
    columns = tuple(ReportColumn(name) for name in ("arm", "units", "change [interval]", "p"))
    return ReportTable(f"{goal} over time, cumulative", columns, rows, "day")


def _segments(segments: Sequence[Mapping[str, Any]], column: str | None) -> ReportTable | None:
    if not segments:
        return None
    marks = _marks([one["effect"] for one in segments], [one["better"] for one in segments])
    rows = tuple(
        Row(
            one["segment"],
            (
                Cell(one["measure"]),
                Cell(one["arm"]),
                Cell(f"{one['units']:,}"),
                change,
                Cell(shown(one["adjusted_p"], ".2g")),
            ),
            one["better"] is not None,
        )
        for one, change in zip(segments, marks, strict=True)
    )
    headings = ("metric", "arm", "units", "change [interval]", "p")
    columns = tuple(ReportColumn(name) for name in headings)
    return ReportTable(f"By {column}", columns, rows, column or "")


def _segments_note(segments: Sequence[Mapping[str, Any]], column: str | None) -> str:
    if column is None:
        return ""
    if not segments:
        return f"No segment of {column} has 30 units in every arm."
    return (
        "p is corrected for the number of segments (Holm). A segment decides nothing: the goal "
        "over all units does."
    )


def _segment_plot(
    segments: Sequence[Mapping[str, Any]], findings: Sequence[Mapping[str, Any]], goal: str
) -> tuple[Sequence[tuple[str, EffectPoint]], str, bool]:
    """The goal of the first arm: all units, then each segment."""
    if not segments or not findings:
        return (), "", False
    arm = findings[0]["arm"]
    own = [("all", findings[0]["effect"])]
    own += [
        (one["segment"], one["effect"])
        for one in segments
        if one["measure"] == goal and one["arm"] == arm
    ]
    relative = all(_is_relative(effect) for _, effect in own)
    points = [
        (name, EffectPoint(k, *_ends(effect, relative))) for k, (name, effect) in enumerate(own)
    ]
    if not all(number(x) is not None for _, point in points for x in point[:4]):
        return (), "", False
    return points, f"change of {goal} in arm {arm}", relative


def _raw(raw: Sequence[Mapping[str, Any]], unit: str) -> ReportTable:
    rows = tuple(
        Row(
            one["measure"],
            (
                Cell(one["arm"]),
                Cell(f"{one['units']:,}"),
                Cell(f"{one['above']:,.6g} {one['numerator']}"),
                Cell(f"{one['below']:,.6g} {one['denominator']}"),
                Cell(shown(one["value"], ".4g")),
            ),
        )
        for one in raw
    )
    columns = tuple(ReportColumn(name) for name in ("arm", f"{unit}s", "sum", "of", "value"))
    return ReportTable("Raw counts", columns, rows, "metric")


def _steps(steps: Sequence[Mapping[str, Any]]) -> ReportTable:
    rows = tuple(
        Row(
            _date(step["time"]),
            (
                Cell(step["step"]),
                Cell(step["by"]),
                Cell(
                    ", ".join(
                        f"{name} {step[name]:.2%}" if name != "arm" else f"arm {step[name]}"
                        for name in ("traffic", "arm", "reverse")
                        if name in step
                    )
                ),
                Cell(step.get("note", "")),
            ),
        )
        for step in steps
    )
    columns = (
        ReportColumn("step"),
        ReportColumn("by"),
        ReportColumn("what", prose=True),
        ReportColumn("note", prose=True),
    )
    return ReportTable("Steps", columns, rows, "time")


def _notes(report: Mapping[str, Any]) -> Iterator[str]:
    if report["several"]:
        yield (
            f"{report['several']:,} {report['unit']}s were seen in several arms; they are in none "
            "of the figures."
        )
    if report["overridden"]:
        yield f"{report['overridden']:,} answers of testers, who chose their arm, do not count."


def _marks(effects: Sequence[Mapping[str, Any]], better: Sequence[bool | None]) -> list[Cell]:
    """Changes with their intervals; those that are relative are drawn on one scale."""
    relative = [effect for effect in effects if _is_relative(effect)]
    ends = [0.0, *(x for effect in relative for x in _ends(effect, True))]
    margin = (max(ends) - min(ends)) * 0.06 or 1.0
    low, width = min(ends) - margin, max(ends) - min(ends) + 2 * margin
    cells: list[Cell] = []
    for effect, good in zip(effects, better, strict=True):
        mark = None
        if _is_relative(effect):
            value, first, last = ((x - low) / width for x in _ends(effect, True))
            mark = IntervalMark(value, first, last, (0.0 - low) / width, positive=good is True)
        cells.append(Cell(_change_text(effect), interval=mark))
    return cells


def _is_relative(effect: Mapping[str, Any]) -> bool:
    keys = ("relative", "relative_low", "relative_high")
    return all(number(effect[key]) is not None for key in keys)


def _ends(effect: Mapping[str, Any], relative: bool) -> tuple[float, float, float]:
    """The difference and the ends of its interval."""
    if relative:
        return effect["relative"], effect["relative_low"], effect["relative_high"]
    return effect["difference"], effect["low"], effect["high"]


def _change_text(effect: Mapping[str, Any]) -> str:
    """`+2.1% [+0.3%, +3.9%]`, or the difference where a ratio has no meaning."""
    relative = _is_relative(effect)
    form = "+.1%" if relative else "+.4g"
    value, low, high = _ends(effect, relative)
    if number(value) is None:
        return MISSING
    return f"{value:{form}} [{low:{form}}, {high:{form}}]"


def _date(time: int) -> str:
    return datetime.fromtimestamp(time / 1000, UTC).strftime("%Y-%m-%d %H:%M")
