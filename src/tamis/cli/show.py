"""What commands print: readable tables on a terminal, one JSON object with --json."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from tamis.jobs import (
        ChannelEvaluation,
        Demo,
        Evaluation,
        Fetched,
        Initialised,
        RankEvaluation,
        RecallReport,
        Simulated,
        TrainReport,
        VersionLine,
    )
    from tamis.onboarding import Finding
    from tamis.service import Answer, Reason

console = Console()
_errors = Console(stderr=True)

_SEVERITY = {"error": "red", "warning": "yellow", "note": "cyan"}


def wants_progress(json_wanted: bool) -> bool:
    """Whether to report progress on standard error: on a terminal, and in logs without --json."""
    return sys.stderr.isatty() or not json_wanted


def as_json(data: Any) -> None:
    """One JSON object on standard output; NaN becomes null."""
    sys.stdout.write(json.dumps(_plain(data), ensure_ascii=False, indent=1) + "\n")


def error(problem: Exception) -> None:
    """An error made to be read, on standard error."""
    _errors.print(f"[bold red]error[/] {escape(str(problem))}", highlight=False, soft_wrap=True)


def init(report: Initialised, json_wanted: bool) -> None:
    if json_wanted:
        return as_json(report.to_dict())
    console.print(f"Wrote [bold]{report.config}[/]. What was found:")
    for note in report.notes:
        console.print(f"  • {escape(note)}", highlight=False)
    _next(f"tamis doctor {report.project}", f"tamis train {report.project}")
    return None


def fetch(report: Fetched, json_wanted: bool) -> None:
    if json_wanted:
        return as_json(report.to_dict())
    console.print(f"Wrote {', '.join(report.files)} to [bold]{report.folder}[/].")
    console.print(f"[dim]{escape(report.terms)}[/]\n[dim]{escape(report.citation)}[/]")
    if report.rows:
        train, valid = (report.folder / f"{stem}.csv" for stem in ("train", "valid"))
        _next(f"tamis compare rank --table {train} --valid {valid}")
    else:
        _next(f"tamis init {report.folder}")
    return None


def doctor(findings: Sequence[Finding], json_wanted: bool) -> None:
    if json_wanted:
        return as_json({"findings": [vars(f) for f in findings]})
    if not findings:
        console.print("[green]Nothing wrong or suspicious found.[/]")
        return None
    table = Table("", "where", "what", "how to mend it", title="tamis doctor", title_justify="left")
    for f in findings:
        colour = _SEVERITY.get(f.severity, "white")
        table.add_row(f"[{colour}]{f.severity}[/]", escape(f.where), escape(f.what), escape(f.fix))
    console.print(table)
    return None


def train(report: TrainReport, json_wanted: bool) -> None:
    if json_wanted:
        return as_json(report.to_dict())
    console.print(stages_table(report.training, "Training"))
    for stage, chosen in report.settings.items():
        seen = ", ".join(f"{k} {v:.4f}" for k, v in report.validation.get(stage, {}).items())
        made = escape(", ".join(f"{k} {_short(v)}" for k, v in chosen.items()))
        console.print(f"{stage} chose on the validation window: {made} ({seen})", highlight=False)
    if report.rejects:
        rows = ", ".join(f"{n:,} {reason}" for reason, n in report.rejects.items())
        console.print(f"[yellow]rows left out[/]: {escape(rows)}; each is listed in rejects.csv")
    for note in report.notes:
        console.print(f"[yellow]note[/]: {escape(note)}", highlight=False)
    for kind, name in report.versions.items():
        console.print(f"[green]published[/] {kind} version [bold]{name}[/]", highlight=False)
    return None


def stages_table(stages: Mapping[str, Mapping[str, float | None]], title: str) -> Table:
    """Seconds, peak memory and speed per stage."""
    table = Table("stage", title=title, title_justify="left")
    for heading in ("seconds", "peak MB", "samples/s"):
        table.add_column(heading, justify="right")
    for name, m in stages.items():
        speed = m["samples_per_second"]
        table.add_row(
            name, f"{m['seconds']:.1f}", f"{m['peak_mb']:,.0f}", f"{speed:,.0f}" if speed else "–"
        )
    total = sum(m["seconds"] or 0.0 for m in stages.values())
    table.add_section()
    table.add_row("all", f"{total:.1f}", "", "")
    return table


def versions(lines: Sequence[VersionLine], json_wanted: bool, verified: bool = False) -> None:
    if json_wanted:
        return as_json({"versions": [vars(line) for line in lines]})
    if not lines:
        console.print("No version yet: run `tamis train`.")
        return None
    table = Table("", "version", "kind", "knows events until", title="Versions")
    table.add_column("MB", justify="right")
    for line in lines:
        star = "[green]★[/]" if line.current else ""
        until = datetime.fromtimestamp(line.data_until / 1000, UTC)
        table.add_row(star, line.name, line.kind, f"{until:%Y-%m-%d %H:%M}", f"{line.mb:,.1f}")
    console.print(table)
    if verified:
        console.print("[green]Every file agrees with its checksum.[/]")
    return None


def evaluate(result: Evaluation, json_wanted: bool) -> None:
    if json_wanted:
        return as_json(result.to_dict())
    _judged(result.to_dict())
    console.print(f"report: [bold]{result.report}[/]")
    return None


def evaluate_channels(judged: ChannelEvaluation, json_wanted: bool) -> None:
    if json_wanted:
        return as_json(judged.to_dict())
    from tamis.evaluate import render_channels

    render_channels(judged.to_dict(), console)
    console.print(f"report: [bold]{judged.report}[/]")
    return None


def evaluate_rank(judged: RankEvaluation, json_wanted: bool) -> None:
    if json_wanted:
        return as_json(judged.to_dict())
    from tamis.cli import show_rank
    from tamis.evaluate import render_rank

    render_rank(judged.to_dict(), console)
    show_rank.gates(judged.to_dict().get("gates", {}), "mean gate weights of the last fit's rows")
    console.print(f"report: [bold]{judged.report}[/]")
    return None


def _judged(result: dict[str, Any]) -> None:
    from tamis.evaluate import render

    render(result, console)


def recall(report: RecallReport, json_wanted: bool) -> None:
    if json_wanted:
        return as_json(report.to_dict())
    table = Table("channel", title="tamis recall", title_justify="left")
    for heading in ("k", "users", "items", "vectors", "seconds"):
        table.add_column(heading, justify="right")
    for name, lists in report.channels.items():
        width = str(lists.vectors) if lists.vectors else ""
        seconds = f"{lists.seconds:.2f}" if lists.seconds else ""
        counts = (f"{lists.k:,}", f"{lists.users:,}", f"{lists.items:,}")
        table.add_row(escape(name), *counts, width, seconds)
    console.print(table)
    console.print(
        f"Version [bold]{report.version}[/] → {escape(report.store)}: {report.users:,} users in "
        f"{report.seconds:.1f} s, {report.users_per_second:,.0f} a second.",
        highlight=False,
        soft_wrap=True,
    )
    if report.dropped:
        console.print(f"Deleted the lists of {', '.join(report.dropped)}.", highlight=False)
    for note in report.notes:
        console.print(f"  • {escape(note)}", highlight=False)
    return None


def answer(reply: Answer, json_wanted: bool) -> None:
    if json_wanted:
        return as_json(reply.to_dict())
    who = f"user {reply.user}" if reply.user is not None else "a stranger"
    if reply.user is not None and not reply.known:
        who += " (not in this version: what suits everybody)"
    console.print(
        f"[bold]{escape(who)}[/] · version {reply.version} · {reply.took_ms:.1f} ms",
        highlight=False,
    )
    for line in reply.degraded:
        console.print(f"[yellow]degraded[/] {escape(line)}")
    console.print(_slate(reply))
    if reply.why_not is not None:
        lost = reply.why_not
        console.print(
            f"[bold]{escape(lost.title)}[/] ({escape(lost.item)}): "
            f"{lost.stage or 'shown'} · {escape(lost.detail)}",
            highlight=False,
        )
    return None


def demo(made: Demo, json_wanted: bool) -> None:
    if json_wanted:
        return as_json(
            {
                "project": str(made.project),
                "training": made.training.to_dict(),
                "evaluation": made.evaluation.to_dict(),
                "answer": made.answer.to_dict(),
            }
        )
    console.print(f"[dim]{escape(made.terms)}\n{escape(made.citation)}[/]\n")
    train(made.training, False)
    console.print()
    _judged({k: v for k, v in made.evaluation.to_dict().items() if k != "training"})
    console.print(f"report: [bold]{made.evaluation.report}[/]\n")
    answer(made.answer, False)
    _next(
        f"tamis recommend {made.project} --user 42 --explain",
        f"tamis recommend {made.project} --user 1 --why-not 260",
        f"tamis serve {made.project}",
    )
    return None


def simulate(result: Simulated, json_wanted: bool) -> None:
    if json_wanted:
        return as_json(result.to_dict())
    report = result.report
    console.print(
        f"[bold]{report.users:,}[/] users met [bold]{report.items:,}[/] items "
        f"in {report.requests:,} requests ({report.seconds:.0f} s): {result.project}",
        highlight=False,
    )
    table = Table("behaviour")
    table.add_column("events", justify="right")
    table.add_column("rate", justify="right")
    for name, count in report.events.items():
        rate = report.rates.get(name)
        table.add_row(name, f"{count:,}", f"{rate:.1%}" if rate is not None else "")
    console.print(table)
    _next(f"tamis train {result.project}", f"tamis evaluate {result.project}")
    return None


def _slate(reply: Answer) -> Table:
    """One line a place; with reasons, what the person and what the engineer wants to know below."""
    table = Table(box=None, padding=(0, 1), show_header=False, pad_edge=False)
    table.add_column(justify="right", style="bold")
    table.add_column()
    table.add_column(justify="right")
    for place in reply.items:
        title = f"[bold]{escape(place.title)}[/]"
        if place.title != place.item:
            title += f" [dim]{escape(place.item)}[/]"
        lines = [title, *(_reasons(place.reasons) if place.reasons else ())]
        table.add_row(str(place.place), "\n".join(lines), f"{place.score:.3f}")
    return table


def _reasons(reason: Reason) -> list[str]:
    """For a person in words; for an engineer the way through the stages."""
    found = " · ".join(f"{c['channel']} #{c['rank']}" for c in reason.channels)
    way = [f"recall {found}"]
    if reason.prerank["place"] is not None:
        way.append(f"pre-rank #{reason.prerank['place']}")
    predicted = ", ".join(f"{task} {p:.3f}" for task, p in reason.predictions.items())
    way.append(f"rank #{reason.value_place} ({predicted})")
    way += [f"{rule} {note:.2f}" for rule, note in reason.rerank.items() if note]
    return [f"[cyan]{escape(reason.text)}[/]", f"[dim]{escape(' → '.join(way))}[/]"]


def _short(value: Any) -> str:
    """A chosen setting, its numbers to three places."""
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_short, value)) + "]"
    if isinstance(value, Mapping):  # a map of scores, by what made it; see tamis.train.Calibration
        return str(value.get("kind") or f"of {', '.join(map(str, value))}")
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _next(*commands: str) -> None:
    console.print("[dim]next:[/] " + "  ".join(f"[bold cyan]{escape(c)}[/]" for c in commands))


def _plain(data: Any) -> Any:
    """JSON values only: NaN and infinities become null, NumPy numbers Python's."""
    if isinstance(data, Mapping):
        return {str(k): _plain(v) for k, v in data.items()}
    if isinstance(data, list | tuple):
        return [_plain(v) for v in data]
    if hasattr(data, "item") and not isinstance(data, str):
        data = data.item()
    if isinstance(data, float) and data - data != 0:
        return None
    if isinstance(data, str | int | float | bool) or data is None:
        return data
    return str(data)
