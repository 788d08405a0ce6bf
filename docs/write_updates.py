"""Writes the figures of docs/updating.md from kept results; a test compares."""

from __future__ import annotations

import json
import math
from pathlib import Path
from statistics import mean
from typing import Any

PAGE = Path(__file__).with_name("updating.md")
KEPT = PAGE.parent.parent / "benchmarks"
DATA = {"movielens": "MovieLens-1M by time", "feed": "simulated feed"}
VERSIONS = {
    "before": "before",
    "update": "updated",
    "scratch": "trained again on all",
}
NAMES = {
    "none": "none: the version of day 0",
    "full": "full, every night",
    "incremental": "incremental, every 6 hours",
    "both": "both",
}

NAMES_OF_DAY = {
    "full": "full, every night",
    "both": "full, and incremental every 2 hours",
}


def page() -> str:
    """The page with its figures renewed."""
    text = PAGE.read_text("utf-8")
    writers = (("updates", table), ("calibration", course), ("follow", times), ("admission", year))
    figures = [(name, written(_read(name))) for name, written in writers]
    figures.append(("scratch", from_scratch([_read(f"update-{name}") for name in DATA])))
    figures.append(("tasks", feed_tasks(_read("update-feed"))))
    for name, inside in figures:
        begin, end = f"<!-- {name}: written by docs/write_updates.py -->", f"<!-- /{name} -->"
        head, _, rest = text.partition(begin)
        text = f"{head}{begin}\n\n{inside}\n{end}{rest.partition(end)[2]}"
    return text


def _read(name: str) -> dict[str, Any]:
    """A kept result."""
    return json.loads((KEPT / f"{name}.json").read_text("utf-8"))


def from_scratch(runs: list[dict[str, Any]]) -> str:
    """A row per data set and version: before an update, after it, and trained from scratch."""
    first, second = runs[0]["from"], runs[0]["to"]
    lines = [
        f"A version is trained on the first {first:.0%} of the events, in the order of time, and "
        f"updated with those up to {second:.0%}; another is trained from scratch on all of these. "
        f"Each is measured on the last {1 - second:.0%}, by the code of `tamis evaluate`. Rows are "
        "those of the ranker, times their passes. Means over seeds of the feed, one run of "
        "MovieLens, on a machine that did other work, too.",
        "",
        "| data | version | NDCG@10 of the slates | AUC of the ranker | seconds | rows of the "
        "ranker |",
        "|---|---|---|---|---|---|",
    ]
    for found in runs:
        for name, title in VERSIONS.items():
            every = [run[name] for run in found["runs"]]
            work = "–", "–"
            if name != "before":
                rows = mean([one["rows"].get("rank", 0) for one in every])
                work = f"{mean([one['seconds'] for one in every]):.0f}", f"{rows:,.0f}"
            users = mean([one["users"] for one in every])
            data = f"{DATA[found['data']]}, {users:,.0f} users"
            if len(every) > 1:
                data += f", {len(every)} seeds"
            lines.append(
                f"| {data} | {title} | {_range([one['ndcg'] for one in every], 4)} | "
                f"{_range([one['auc'] for one in every], 4)} | {work[0]} | {work[1]} |"
            )
    return "\n".join(lines) + "\n"


def feed_tasks(found: dict[str, Any]) -> str:
    """A row per task of the simulated feed: predictions against the truth."""
    runs = found["runs"]
    lines = [
        "Of the same feed, the sum of a task's predictions ÷ that of its true probabilities, over "
        "the impressions of the last part (of a conditional task, over those where the condition "
        "came true), and ÷ what was observed there, which chance moves. Seconds watched are "
        f"predicted by their median, and compared with the true medians. Means over {len(runs)} "
        "seeds, and the least and the largest.",
        "",
        "| task | positives of the last part | before | updated | trained again on all | updated "
        "÷ observed |",
        "|---|---|---|---|---|---|",
    ]
    for task, one in runs[0]["update"]["tasks"].items():
        if "predicted ÷ true" not in one:
            continue
        shown = [
            _range([run[name]["tasks"][task]["predicted ÷ true"] for run in runs], 3)
            for name in VERSIONS
        ]
        observed, positives = "–", "–"
        if "positives" in one:
            each = [run["update"]["tasks"][task] for run in runs]
            observed = _range([known["predicted ÷ observed"] for known in each], 3)
            positives = f"{mean([known['positives'] for known in each]):,.0f}"
        name = task.replace("|", "\\|")
        lines.append(f"| `{name}` | {positives} | {' | '.join(shown)} | {observed} |")
    return "\n".join(lines) + "\n"


def _range(values: list[float], digits: int) -> str:
    """The mean, and the least and the largest of several values."""
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    ends = f"{min(values):.{digits}f} to {max(values):.{digits}f}"
    return f"{mean(values):.{digits}f} ({ends})"


def course(found: dict[str, Any]) -> str:
    """A row per service and task: predictions against the truth in the course of the days."""
    world, parts = found["world"], found["parts"]
    seeds = {run["seed"] for run in found["runs"]}
    days = len(found["runs"][0]["by_day"])
    lines = [
        f"A shop of {world['items']:,} items and {world['users']:,} users, {found['visits']:,} "
        f"visits a day for {days} days; each day {world['drift']:.0%} of every taste is replaced "
        f"and {world['births']:.0%} of the items are born and withdrawn. Means over {len(seeds)} "
        "seeds, and the least and the largest: predicted ÷ true of the slates that the service "
        "itself chose. Before day 1 the version has learnt from another policy's slates alone; the "
        "first full update follows day 1.",
        "",
        f"| updates | task | {' | '.join(f'day {day + 1}' for day in range(days))} | after an "
        "update: first, second, … quarter of the day |",
        f"|---|---|{'---|' * days}---|",
    ]
    for mode in dict.fromkeys(run["mode"] for run in found["runs"]):
        runs = [run for run in found["runs"] if run["mode"] == mode]
        for task in runs[0]["by_day"][0]:
            by_day = [_range([run["by_day"][day][task] for run in runs], 2) for day in range(days)]
            quarters = [
                mean(
                    [
                        one[task]
                        for run in runs
                        for number, one in enumerate(run["by_part"])
                        if number >= parts and number % parts * 4 // parts == quarter
                    ]
                )
                for quarter in range(4)
            ]
            shown = ", ".join(f"{value:.2f}" for value in quarters)
            lines.append(f"| {NAMES_OF_DAY[mode]} | {task} | {' | '.join(by_day)} | {shown} |")
    return "\n".join(lines) + "\n"


def times(found: dict[str, Any]) -> str:
    """How long an event takes to its delta and to the answers."""
    rows = [
        ("from the acknowledged event to its published delta", found["seconds"]["delta"]),
        (
            "from the acknowledged event to a worker that answers with it",
            found["seconds"]["answer"],
        ),
        (
            "from the published delta to a worker that answers with it",
            found["from delta to answer"],
        ),
        ("in event time: from the event to the newest event read", found["event seconds"]),
    ]
    return "\n".join(
        [
            f"Measured beside a service of {found['workers']} workers on a machine of two cores, "
            f"with {found['rate']:g} slates per second and `--every {found['every']:g}s` "
            f'(`wait = "1s"`, `lateness = "1s"`); {found["learnt"]:,} of '
            f"{found['events']:,} events were learnt, in {found['deltas']} deltas:",
            "",
            "| seconds | median | 99 % within |",
            "|---|---|---|",
            *(f"| {what} | {one['p50']:.1f} | {one['p99']:.1f} |" for what, one in rows),
            "",
        ]
    )


def year(found: dict[str, Any]) -> str:
    """A row per quarter of the year of births."""
    world, admission = found["world"], found["admission"]
    lines = [
        f"A simulated year: {world['items']:,} items, of which {world['births']:.0%} are withdrawn "
        f"and as many born each day; {found['visits']} slates a day, an incremental update each "
        f"week. One of two services has `spare = {admission['spare']}`, `admit_after = "
        f"{admission['admit_after']}` and `expire_days = {admission['expire_days']}`, the other "
        "knows new items by their attributes. Worth is a share of the best slates by the world's "
        "truth; AUC is that of predicted clicks on items born after the training. One seed.",
        "",
        "| quarter | items so far | rows of the table | admitted | expired | crowded "
        "| worth: with, without | AUC of new items: with, without |",
        "|---|---|---|---|---|---|---|---|",
    ]
    with_rows, without = (found["services"][mode]["weeks"] for mode in ("with", "without"))
    length = len(with_rows) // 4
    for quarter in range(4):
        at = slice(quarter * length, (quarter + 1) * length)
        ours, theirs = with_rows[at], without[at]
        sums = [f"{sum(week[k] for week in ours):,}" for k in ("admitted", "expired", "crowded")]
        means = [
            f"{_mean(ours, what):.3f}, {_mean(theirs, what):.3f}" for what in ("worth", "auc_new")
        ]
        items, rows = world["items"] + ours[-1]["born"], ours[-1]["rows"]
        cells = [str(quarter + 1), f"{items:,}", f"{rows:,}", *sums, *means]
        lines.append(f"| {' | '.join(cells)} |")
    change = found["change"]
    return "\n".join(
        [
            *lines,
            "",
            f"With rows of their own, worth changes by {_ends(change['worth'], '{:+.3f}')} and AUC "
            f"of new items by {_ends(change['auc_new'], '{:+.3f}')} (interval by Student's t over "
            "quarters). The AUC is that of items that the slates themselves chose: the better they "
            "choose, the less is left to tell apart.",
            "",
        ]
    )


def _mean(weeks: list[dict[str, Any]], what: str) -> float:
    known = [week[what] for week in weeks if not math.isnan(week[what])]
    return sum(known) / len(known) if known else math.nan


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
        "clicks, last day | seconds per update | refused by the gate |",
        "|---|---|---|---|---|---|---|",
    ]
    for mode, one in found["modes"].items():
        change = one["change"]
        moved = "–" if mode == "none" or change is None else _ends(change, "{:+.3f}")
        rate = one["predicted ÷ true clicks by day"][-1]
        lines.append(
            f"| {NAMES[mode]} | {_ends(one['mean'], '{:.3f}')} | {_ends(one['last'], '{:.3f}')} | "
            f"{moved} | {rate:.2f} | {_seconds(one, days)} | {_refused(one, found)} |"
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


def _refused(one: dict[str, Any], found: dict[str, Any]) -> str:
    """Full updates that were not published, of all."""
    every = found["days"] * found["seeds"]
    return f"{one['refused']} of {every}" if one["seconds"][0]["full"] else "–"


def _seconds(one: dict[str, Any], days: int) -> str:
    """Mean seconds of a full and of an incremental update."""
    full = sum(each["full"] for each in one["seconds"]) / len(one["seconds"]) / days
    small = sum(each["incremental"] for each in one["seconds"]) / len(one["seconds"]) / days / 4
    parts = [f"{full:.0f} (full)"] if full else []
    parts += [f"{small:.1f} (incremental)"] if small else []
    return ", ".join(parts) or "–"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
