"""Writes the table of what updates bring on docs/updating.md from kept results; a test compares."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("updating.md")
KEPT = PAGE.parent.parent / "benchmarks" / "updates.json"
BEGIN, END = "<!-- updates: written by docs/write_updates.py -->", "<!-- /updates -->"
NAMES = {
    "none": "none: the version of day 0",
    "full": "full, every night",
    "incremental": "incremental, every 6 hours",
    "both": "both",
}


def page() -> str:
    """The page with its table renewed."""
    text, found = PAGE.read_text("utf-8"), json.loads(KEPT.read_text("utf-8"))
    head, _, rest = text.partition(BEGIN)
    tail = rest.partition(END)[2]
    return f"{head}{BEGIN}\n\n{table(found)}\n{END}{tail}"


def table(found: dict[str, Any]) -> str:
    """A row per way of learning."""
    world = found["world"]
    days = found["days"]
    lines = [
        f"A simulated shop of {world['items']:,} items and {world['users']:,} users, of which "
        f"{found['visits']} visit each day for {days} days; each day {world['drift']:.0%} of every "
        f"taste is replaced and {world['births']:.0%} of the items are born and withdrawn. "
        f"{_seeds(found['seeds'])} Worth is the expected worth "
        "of the slates by the world's truth, as a share of the best that there was; the change is "
        "from day 2 on, paired by seed.",
        "",
        "| updates | worth, all days | worth on the last day | change from none | predicted ÷ true "
        "clicks, last day | seconds per update |",
        "|---|---|---|---|---|---|",
    ]
    for mode, one in found["modes"].items():
        change = one["change"]
        moved = "–" if mode == "none" or change is None else _ends(change, "{:+.3f}")
        rate = one["predicted ÷ true clicks by day"][-1]
        lines.append(
            f"| {NAMES[mode]} | {_ends(one['mean'], '{:.3f}')} | {_ends(one['last'], '{:.3f}')} | "
            f"{moved} | {rate:.2f} | {_seconds(one, days)} |"
        )
    return "\n".join(lines) + "\n"


def _seeds(seeds: int) -> str:
    """How often the world was played."""
    if seeds == 1:
        return "One seed: there are no intervals, and chance may be as large as the differences."
    return f"{seeds} seeds; intervals by Student's t over seeds."


def _ends(one: dict[str, float], form: str) -> str:
    if one["low"] == one["high"]:  # one seed has no interval
        return form.format(one["mean"])
    ends = f"({form.format(one['low'])} to {form.format(one['high'])})"
    return f"{form.format(one['mean'])} {ends}"


def _seconds(one: dict[str, Any], days: int) -> str:
    """Mean seconds of a full and of an incremental update."""
    full = sum(each["full"] for each in one["seconds"]) / len(one["seconds"]) / days
    small = sum(each["incremental"] for each in one["seconds"]) / len(one["seconds"]) / days / 4
    parts = [f"{full:.0f} (full)"] if full else []
    parts += [f"{small:.1f} (incremental)"] if small else []
    return ", ".join(parts) or "–"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
