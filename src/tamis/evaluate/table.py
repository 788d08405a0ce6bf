"""The evaluation in the terminal: the same results as the page, as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from tamis.evaluate import _reading as reading
from tamis.evaluate._reading import number, seconds, shown

_WIDTH = 28


def render(evaluation: Mapping[str, Any], console: Console) -> None:
    """Prints the evaluation (the JSON of `tamis evaluate --json`); missing keys leave parts out."""
    for part in (
        _comparison(evaluation),
        reading.verdict(evaluation),
        _funnel(evaluation),
        reading.biggest_loss(reading.losses(evaluation)),
        _quality(evaluation),
        _training(evaluation),
        _users(evaluation),
        *map(str, evaluation.get("notes") or []),
    ):
        if isinstance(part, str) and part:
            console.print(escape(part), highlight=False)
        elif isinstance(part, Table):
            console.print()
            console.print(part)


def _table(title: str, first: str, *others: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _comparison(evaluation: Mapping[str, Any]) -> Table | None:
    methods = reading.rows(evaluation)
    if not methods:
        return None
    certain = any(reading.interval(evaluation, name) for name, _ in methods)
    heads = ["NDCG@10", "hit@10", "recall@50"] + (["cascade − this, 95 %"] if certain else [])
    table = _table("The cascade against its channels", "", *heads)
    for name, values in methods:
        cells = [shown(values[metric]) for metric in reading.METRICS]
        if certain:
            cells.append(
                _difference(reading.interval(evaluation, name)) if name != "cascade" else ""
            )
        table.add_row(escape(name), *cells, style="bold" if name == "cascade" else "")
    return table


def _difference(interval: Mapping[str, float] | None) -> str:
    if interval is None:
        return "–"
    told = f"{interval['mean']:+.3f} ({interval['low']:+.3f} … {interval['high']:+.3f})"
    return f"[{'green' if interval['low'] > 0 else 'yellow'}]{told}[/]"


def _funnel(evaluation: Mapping[str, Any]) -> Table | None:
    shares = reading.losses(evaluation)
    if not shares:
        return None
    table = _table("Where wanted items are lost", "", "left", "")
    table.columns[2].justify = "left"
    table.add_column("lost", justify="right", no_wrap=True)
    for label, share, lost in reading.survivors(shares):
        kept, gone = _cells(share), _cells(share + lost) - _cells(share)
        bar = Text("█" * kept, style="green") + Text("░" * gone, style="yellow")
        table.add_row(label, f"{share:.1%}", bar, f"{lost:.1%}" if lost else "")
    return table


def _cells(share: float) -> int:
    """Cells of a bar: at least one for anything above 0."""
    return max(round(_WIDTH * share), 1) if share > 0 else 0


def _quality(evaluation: Mapping[str, Any]) -> Table | None:
    """Ranker, variety and latency in one line each."""
    table = _table("Beside that", "", "")
    for task, values in reading.ranker_tasks(evaluation).items():
        told = (("auc", "AUC"), ("gauc", "GAUC"), ("logloss", "log loss"), ("ece", "ECE"))
        parts = [f"{name} {values[key]:.4f}" for key, name in told if key in values]
        table.add_row(escape(task), " · ".join(parts))
    for key, form in (("coverage", ".1%"), ("diversity", ".3f"), ("popularity", ".3f")):
        values = reading.per_method(evaluation, key)
        if values:
            parts = [
                format(v, form) if name == "cascade" else f"{name} {v:{form}}"
                for name, v in values.items()
            ]
            table.add_row(key, escape(" · ".join(parts)))
    latency = evaluation.get("latency_ms") or {}
    if number(latency.get("p50")) is not None or number(latency.get("p99")) is not None:
        p50, p99 = (shown(number(latency.get(key)), ".2f") for key in ("p50", "p99"))
        table.add_row("a request", f"p50 {p50} ms · p99 {p99} ms")
    spent = reading.shares(evaluation)
    if spent:
        table.add_row("of its time", escape(" · ".join(f"{n} {v:.0%}" for n, v in spent.items())))
    cut = reading.agreement(evaluation)
    if cut:
        table.add_row("pre-rank", cut)
    table.columns[1].justify = "left"
    table.columns[1].no_wrap = False
    return table if table.row_count else None


def _training(evaluation: Mapping[str, Any]) -> Table | None:
    stages = evaluation.get("training") or {}
    if not stages:
        return None
    table = _table("Training", "", "time", "peak MB", "samples/s")
    for name, stage in stages.items():
        table.add_row(
            escape(str(name)),
            seconds(number(stage.get("seconds"))),
            shown(number(stage.get("peak_mb")), ",.0f"),
            shown(number(stage.get("samples_per_second")), ",.0f"),
        )
    return table


def _users(evaluation: Mapping[str, Any]) -> str:
    users = evaluation.get("users") or {}
    asked, strangers = number(users.get("evaluated")), number(users.get("without_history"))
    if asked is None:
        return ""
    told = f"{asked:,.0f} users asked at the cut"
    return told + (f"; {strangers:,.0f} without history apart." if strangers else ".")
