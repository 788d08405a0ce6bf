"""Writes the table and figure of several objectives on docs/evaluation.md from kept results.

A test compares the table; the figure is docs/img/objectives.svg.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("evaluation.md")
FIGURE = PAGE.parent / "img" / "objectives.svg"
KEPT = PAGE.parent.parent / "benchmarks" / "objectives.json"
BEGIN, END = "<!-- objectives: written by docs/write_objectives.py -->", "<!-- /objectives -->"


def page() -> str:
    """The page with its table renewed."""
    text, found = PAGE.read_text("utf-8"), json.loads(KEPT.read_text("utf-8"))
    head, _, rest = text.partition(BEGIN)
    tail = rest.partition(END)[2]
    return f"{head}{BEGIN}\n\n{table(found)}\n{END}{tail}"


def table(found: dict[str, Any]) -> str:
    """A row per term and weight: what it gains itself, and what it does to the other measures."""
    world = found["world"]
    lines = [
        f"{found['requests']:,} users after the test cut of a simulated shop of "
        f"{world['items']:,} items and {world['users']:,} users over {world['days']} days, one "
        "seed: changes from weight 0, with 95 % intervals, paired by user.",
        "",
        "| term | weight | its own mean | true worth of a slate | NDCG@10 | items of the last "
        "7 days | diversity |",
        "|---|---|---|---|---|---|---|",
    ]
    for term, rows in found["terms"].items():
        for row in rows:
            of = row["measures"]
            cells = [
                _cell(of.get(n)) for n in (term, "reward", "ndcg@10", "new_items", "diversity")
            ]
            lines.append(f"| {term} | {row['weight']:g} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(measure: dict[str, Any] | None) -> str:
    if measure is None:
        return "–"
    change = measure["change"]
    if change["low"] == change["high"] == 0:
        return f"{measure['mean']:.3f}"
    return f"{change['mean']:+.3f} ({change['low']:+.3f} to {change['high']:+.3f})"


def main() -> None:
    from tamis.evaluate import plot_tradeoffs

    plot_tradeoffs(json.loads(KEPT.read_text("utf-8")), FIGURE)
    PAGE.write_text(page(), "utf-8")


if __name__ == "__main__":
    main()
