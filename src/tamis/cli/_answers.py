"""Prints recommended items and the reasons of each as tables in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from tamis.cli._console import console

if TYPE_CHECKING:
    from tamis.service import Answer, Reason, WhyNot


def print_answer(answer: Answer) -> None:
    """The recommended items, with reasons if they were requested."""
    if answer.user_id is None:
        who = "no user: showing non-personalised items"
    elif answer.known:
        who = f"user {answer.user_id}"
    else:
        who = f"user {answer.user_id} is unknown to this version; showing non-personalised items"
    console.print(
        f"[bold]{escape(who)}[/] · version {answer.version} · {answer.took_ms:.1f} ms",
        highlight=False,
    )
    for line in answer.degraded:
        console.print(f"[yellow]degraded[/] {escape(line)}")
    for line in answer.broken_rules:
        console.print(f"[yellow]re-rank[/] {escape(line)}")
    if answer.why_not is not None:
        console.print(f"{_why_not(answer.why_not)}\n", highlight=False, soft_wrap=True)
    console.print(_items_table(answer))
    if answer.items:
        console.print(f"[dim]score: {escape(_score_text(answer))}[/]", highlight=False)


def _why_not(lost: WhyNot) -> str:
    """Where an item was lost, in words; the codes of the stages are those of the JSON."""
    name = f"[bold]{escape(lost.title)}[/]"
    if lost.title != lost.item_id:
        name += f" ({escape(lost.item_id)})"
    stage = _LOST.get(lost.stage or "", "")
    if lost.stage == "filtered" and lost.detail.startswith(("filter ", "the request")):
        stage = "removed by "
    return f"{name}: {stage}{escape(lost.detail)}"


_LOST = {
    "prerank_cut": "removed before the ranker: ",
    "rank_cut": "ranked below the slate: ",
    "rerank_displaced": "moved out of the slate by re-rank: ",
}
"""What the terminal says before the detail of a stage; the other details are sentences."""


def _score_text(answer: Answer) -> str:
    """What the number at the right of each item is."""
    reasons = answer.items[0].reasons
    if reasons is None or answer.degraded:
        what = "the fused value, or its combination with recall channels"
    elif reasons.by_recall:
        what = "1 ÷ the place in recall's list"
    elif reasons.fused in (None, reasons.value):
        what = "the fused value"
    else:
        what = f"made of the place by {reasons.order}"
    return f"{what}, by which the list is ordered before re-rank"


def _items_table(answer: Answer) -> Table:
    """One row per item; the reasons stand below its title."""
    table = Table(box=None, padding=(0, 1), show_header=False, pad_edge=False)
    table.add_column(justify="right", style="bold")
    table.add_column()
    table.add_column(justify="right")
    for place in answer.items:
        title = f"[bold]{escape(place.title)}[/]"
        if place.title != place.item_id:
            title += f" [dim]{escape(place.item_id)}[/]"
        lines = [title, *(_reason_lines(place.reasons) if place.reasons else ())]
        table.add_row(str(place.place), "\n".join(lines), f"{place.score:.3f}")
    return table


def _reason_lines(reason: Reason) -> list[str]:
    """The reason as a sentence for users, and the item's places in the stages for engineers."""
    channels = " · ".join(f"{c['channel']} #{c['rank']}" for c in reason.channels)
    stages = [f"recall {channels}", *_order_parts(reason)]
    stages += [f"{rule} {note:.2f}" for rule, note in reason.rerank.items() if note]
    return [f"[cyan]{escape(reason.text)}[/]", f"[dim]{escape(' → '.join(stages))}[/]"]


def _order_parts(reason: Reason) -> list[str]:
    """The places in pre-rank and rank; of a new user whom recall orders, that order alone."""
    if reason.by_recall:
        return [f"order: {reason.order}"]
    place = reason.prerank["place"]
    predicted = ", ".join(f"{task} {p:.3f}" for task, p in reason.predictions.items())
    by = "" if reason.fused in (None, reason.value) else f"; ordered by {reason.order}"
    rank = f"rank #{reason.value_place} ({predicted}{by})"
    return [rank] if place is None else [f"pre-rank #{place}", rank]
