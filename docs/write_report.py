"""Writes what a report costs on docs/experiments.md from kept results; a test compares."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("experiments.md")
KEPT = PAGE.parent.parent / "benchmarks" / "report.json"
BEGIN, END = "<!-- report: written by docs/write_report.py -->", "<!-- /report -->"


def page() -> str:
    """The page with its table renewed."""
    text, found = PAGE.read_text("utf-8"), json.loads(KEPT.read_text("utf-8"))
    head, _, rest = text.partition(BEGIN)
    return f"{head}{BEGIN}\n\n{table(found)}\n{END}{rest.partition(END)[2]}"


def table(runs: list[dict[str, Any]]) -> str:
    """A row per length of the journal."""
    lines = [
        "| entries | answers | users in the experiment | seconds of one core | peak memory |",
        "|---|---|---|---|---|",
    ]
    for one in runs:
        counts = " | ".join(f"{one[name]:,}" for name in ("entries", "answers", "units"))
        lines.append(f"| {counts} | {one['cpu_seconds']:.0f} | {one['peak_mb']:,} MB |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
