"""Writes the tables of docs/cold-start.md from the kept results; a test compares."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("cold-start.md")
KEPT = PAGE.parent.parent / "benchmarks" / "cold_start.json"
BEGIN, END = "<!-- {}: written by docs/write_cold_start.py -->", "<!-- /{} -->"


def page() -> str:
    """The page with its tables renewed."""
    text, found = PAGE.read_text("utf-8"), json.loads(KEPT.read_text("utf-8"))
    for name, table in (("users", users(found)), ("items", items(found))):
        head, _, rest = text.partition(BEGIN.format(name))
        tail = rest.partition(END.format(name))[2]
        text = f"{head}{BEGIN.format(name)}\n\n{table}\n{END.format(name)}{tail}"
    return text


def users(found: dict[str, Any]) -> str:
    """A row per way of serving new users."""
    world, visits = found["world"], found["visits"]
    lines = [
        f"{found['new_users']} new users with {visits} visits each, in a simulated shop of "
        f"{world['items']:,} items and {world['users']:,} users over {world['days']} days.",
        "",
        f"| way | worth of the first slate | of slate {visits} | regret of {visits} slates "
        "| change |",
        "|---|---|---|---|---|",
    ]
    for name, one in found["users"].items():
        cells = [f"{one['first']['mean']:.3f}", f"{one['last']['mean']:.3f}"]
        cells += [ends(one["regret"], "{:.2f}"), change(name, one["change"], "{:+.2f}")]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def items(found: dict[str, Any]) -> str:
    """A row per way of serving new items."""
    lines = [
        f"{found['new_items']} new items, {found['requests']:,} visits of users of the log.",
        "",
        "| way | impressions of a new item | with 100 or more | regret per impression of the first "
        "100 | regret of a slate | change |",
        "|---|---|---|---|---|---|",
    ]
    for name, one in found["items"].items():
        cells = [ends(one["impressions"], "{:.0f}"), f"{one['reached']:.0%}"]
        cells += [ends(one["of_impressions"], "{:.3f}"), ends(one["regret"], "{:.3f}")]
        cells.append(change(name, one["change"], "{:+.3f}"))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def ends(value: dict[str, float] | None, form: str) -> str:
    """A mean with its interval; – where there is none."""
    if value is None:
        return "–"
    low, high = form.format(value["low"]), form.format(value["high"])
    return f"{form.format(value['mean'])} ({low} to {high})"


def change(name: str, value: dict[str, float], form: str) -> str:
    """The change from `nothing`, empty in its own row."""
    return "" if name == "nothing" else ends(value, form)


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
