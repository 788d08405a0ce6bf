"""Writes the tables of the benchmarks' pages from the kept results; a test compares."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
SUITES = ("recall", "rank")
HEADLINE = {
    "recall": ("hit@10", "ndcg@10", "recall@20", "ndcg@20", "recall@50", "hit@50"),
    "rank": (),
}
"""Metrics of the first table of a suite; empty if its lines have no metric in common."""
BEGIN, END = "<!-- results: written by docs/write_benchmarks.py -->", "<!-- /results -->"


def path(suite: str) -> Path:
    """The page of a suite."""
    return DOCS / f"{suite}-benchmarks.md"


def page(suite: str) -> str:
    """The page with its tables renewed."""
    text = path(suite).read_text("utf-8")
    kept = DOCS.parent / "benchmarks" / suite / "results.json"
    results = json.loads(kept.read_text("utf-8")) if kept.exists() else {}
    head, _, rest = text.partition(BEGIN)
    return f"{head}{BEGIN}\n\n{tables(suite, results)}\n{END}{rest.partition(END)[2]}"


def tables(suite: str, results: dict[str, dict[str, Any]]) -> str:
    """The overview table, then each line's protocol and all its metrics."""
    if not results:
        return f"No line has been run and kept yet: `make bench-{suite} KEEP=1`.\n"
    shown = [key for key in HEADLINE[suite] if any(key in r["metrics"] for r in results.values())]
    lines = [
        f"| line | {' | '.join(shown)} | seeds | seconds | peak MB |",
        f"|---|{'---|' * (len(shown) + 3)}",
    ]
    for name, result in results.items():
        cells = [figure(result, key) for key in shown]
        cells += [str(result["seeds"]), f"{result['seconds']:,.0f}", f"{result['peak_mb']:,}"]
        lines.append(f"| [{name}](#{name}) | {' | '.join(cells)} |")
    parts = ["\n".join(lines) + "\n"]
    for name, result in results.items():
        rest = [key for key in result["metrics"] if key not in shown]
        rows = "".join(f"| {key} | {figure(result, key)} |\n" for key in rest)
        measured = f"\n| other metrics | mean ± sd |\n|---|---|\n{rows}" if rest else ""
        protocol = result["protocol"].rstrip(".")
        parts.append(f"### {name}\n\n{protocol[:1].upper()}{protocol[1:]}.\n{measured}")
    return "\n".join(parts)


def figure(result: dict[str, Any], key: str) -> str:
    """The mean, with its standard deviation where more than one seed measured it; – if unknown."""
    mean, sd = result["metrics"].get(key), result["sd"].get(key)
    if mean is None:
        return "–"
    many = abs(mean) >= 10
    text = f"{mean:,.1f}" if many else f"{mean:.4f}"
    if sd is None or result["seeds"] == 1:
        return text
    return text + (f" ± {sd:,.1f}" if many else f" ± {sd:.4f}")


if __name__ == "__main__":
    for name in SUITES:
        path(name).write_text(page(name), "utf-8")
