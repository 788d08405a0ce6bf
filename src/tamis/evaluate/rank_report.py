"""The ranker's evaluation as one HTML page and as tables in the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape as plain
from rich.table import Table

from tamis.evaluate import _plots as plots
from tamis.evaluate._fragments import LOGO, bar, card, chips, facts, figure, section, table
from tamis.evaluate._reading import number, shown

_RATES = {
    "rows": ("rows", ",.0f"),
    "positives": ("positives", ",.0f"),
    "auc": ("AUC", ".4f"),
    "xauc": ("XAUC", ".4f"),
    "gauc": ("GAUC", ".4f"),
    "ndcg@10": ("NDCG@10", ".4f"),
    "logloss": ("log loss", ".4f"),
    "ne": ("NE", ".4f"),
    "pcoc": ("PCOC", ".3f"),
    "ece": ("ECE", ".4f"),
}
_NUMBERS = {
    "rows": ("rows", ",.0f"),
    "xauc": ("XAUC", ".4f"),
    "mae": ("MAE", ".4g"),
    "rmse": ("RMSE", ".4g"),
    "bias": ("predicted ÷ observed", ".3f"),
}
_PAGE_ONLY = ("positives", "ne", "rmse")
"""Measures that a terminal of 80 columns has no room for."""
_WORDS = (
    "AUC: how often a positive scores above a negative. GAUC: the same within a user. NE: log loss "
    "÷ that of predicting the mean for everyone; below 1 is better. PCOC: predicted ÷ observed, 1 "
    "is right. ECE: the mean distance of prediction and outcome, over 10 bins of predictions. "
    "XAUC: how often the larger of two numbers is predicted to be larger."
)
_MODELS = {"rank": "ranker", "prerank": "pre-ranker"}
_LARGE = 0.1
"""A bucket whose PCOC is further than this from 1 stands out."""


def write_rank_report(result: Mapping[str, Any], path: Path) -> Path:
    """Writes the result (the JSON of `tamis evaluate --stage rank --json`) as one page.

    It needs nothing else: no script, no link, no image from elsewhere. Returns `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_page(result), encoding="utf-8")
    return path


def render_rank(result: Mapping[str, Any], console: Console) -> None:
    """Prints the same as tables."""
    protocol = result["protocol"]
    console.print(
        f"Protocol: {plain(protocol['rows_are'])}; {protocol['rows']:,} rows of "
        f"{protocol['requests']:,} requests of {protocol['users']:,} users, {protocol['cut']} to "
        f"{protocol['until']}. Labels: {plain(protocol['labels'])}. Trained on "
        f"{plain(protocol['trained_on'])}.",
        highlight=False,
    )
    for title, heads, lines in (*_tables(result, _PAGE_ONLY), *_segment_tables(result, _PAGE_ONLY)):
        out = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
        out.add_column("")
        for head in heads:
            out.add_column(head, justify="right", no_wrap=True)
        for name, cells in lines:
            out.add_row(plain(name), *cells)
        console.print()
        console.print(out)
    for line in (*_astray(result), *result["notes"]):
        console.print(plain(line), highlight=False)


Lines = list[tuple[str, list[str]]]


def _measures(result: Mapping[str, Any], task: str) -> Mapping[str, tuple[str, str]]:
    return _NUMBERS if result["kinds"][task] == "number" else _RATES


def _tables(
    result: Mapping[str, Any], without: Sequence[str] = ()
) -> Iterator[tuple[str, list[str], Lines]]:
    """(title, heads, lines) of rates and of numbers: a line per task and model."""
    for title, measures in (("What is predicted", _RATES), ("Numbers", _NUMBERS)):
        lines: Lines = []
        tasks = [task for task in result["kinds"] if _measures(result, task) is measures]
        told_of = {key for model in result["models"].values() for t in tasks for key in model[t]}
        keys = [key for key in measures if key in told_of and key not in without]
        for task in tasks:
            for model, told in result["models"].items():
                if task in told:
                    name = task if model == "rank" else f"{task}, {_MODELS[model]}"
                    lines.append((name, _cells(told[task], keys, measures)))
        if lines:
            yield title, [measures[key][0] for key in keys], lines


def _cells(
    values: Mapping[str, Any], keys: Sequence[str], measures: Mapping[str, tuple[str, str]]
) -> list[str]:
    return [shown(number(values.get(key)), measures[key][1]) for key in keys]


def _segment_tables(
    result: Mapping[str, Any], without: Sequence[str] = ()
) -> Iterator[tuple[str, list[str], Lines]]:
    """(title, heads, lines) per task: a line per segment."""
    for task in result["kinds"]:
        measures = _measures(result, task)
        rows = {"all rows": result["models"]["rank"][task]}
        rows |= {s: told[task] for s, told in result["segments"].items()}
        keys = [
            key
            for key in measures
            if key not in without and any(number(v.get(key)) is not None for v in rows.values())
        ]
        lines = [(s, _cells(v, keys, measures)) for s, v in rows.items() if v.get("rows")]
        yield f"{task}, by segment", [measures[key][0] for key in keys], lines


def _astray(result: Mapping[str, Any]) -> Iterator[str]:
    """A sentence per rate whose predictions are off, where they are furthest."""
    for task, told in result["calibration"].items():
        values = result["models"]["rank"][task]
        pcoc, positives = number(values.get("pcoc")), values["positives"]
        if pcoc is not None and abs(pcoc - 1) > max(_LARGE, 3 / positives**0.5):
            yield f"{task}: predictions sum to {pcoc:.2f} × what happened."
        worst = max(_off(told["buckets"]), key=lambda b: b[0], default=None)
        if worst is not None:
            _, feature, bucket = worst
            yield (
                f"{task} is furthest off where {feature} is {bucket['bucket']}: predicted ÷ "
                f"observed = {bucket['pcoc']:.2f} in {bucket['rows']:,} rows."
            )


def _off(
    buckets: Mapping[str, Sequence[Mapping[str, Any]]],
) -> Iterator[tuple[float, str, Mapping[str, Any]]]:
    """(standard errors that PCOC is off, feature, bucket) of those that stand out beyond chance."""
    for feature, its in buckets.items():
        for bucket in its:
            pcoc, rate = number(bucket["pcoc"]), bucket["observed"]
            if pcoc is None or abs(pcoc - 1) <= _LARGE:
                continue
            chance = (max(rate * (1 - rate), 1e-12) / bucket["rows"]) ** 0.5
            errors = abs(bucket["predicted"] - rate) / chance
            if errors > 3:
                yield errors, feature, bucket


def _page(result: Mapping[str, Any]) -> str:
    css = files("tamis.evaluate").joinpath("report.css").read_text(encoding="utf-8")
    name, protocol = escape(str(result["project"])), result["protocol"]
    tags = {"version": result["version"]} | {k: protocol[k] for k in ("cut", "rows", "users")}
    body = (
        _whole(result),
        _reliability(result),
        _segments(result),
        _buckets(result),
        _done(result),
    )
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{name} – Tamis ranker</title><style>{css}</style></head>\n<body>"
        f'<header><div><div class="brand">{LOGO}<span>Tamis ranker</span></div>'
        f'<h1>{name}</h1><p class="lead">{escape(_lead(result))}</p>{chips(tags)}'
        f"{_headline(result)}</div></header><main>{''.join(body)}</main>"
        f"<footer>Made by Tamis {escape(str(protocol['tamis']))}.</footer></body></html>\n"
    )


def _lead(result: Mapping[str, Any]) -> str:
    task = next(iter(result["kinds"]))
    values = {m: number(told[task].get("auc")) for m, told in result["models"].items()}
    said = ""
    if values.get("rank") is not None:
        said = "Of a chosen and a passed-over item the ranker puts the chosen one first in "
        said += f"{values['rank']:.1%} of cases ({task})"
        if values.get("prerank") is not None:
            said += f", the pre-ranker in {values['prerank']:.1%}"
        said += ". "
    return said + " ".join(_astray(result))


def _headline(result: Mapping[str, Any]) -> str:
    task = next(iter(result["kinds"]))
    values = result["models"]["rank"][task]
    cards = [
        card(head, shown(number(values[key]), form), task, first=k == 0)
        for k, (key, (head, form)) in enumerate(
            (key, told)
            for key, told in _measures(result, task).items()
            if key not in ("rows", "positives") and number(values.get(key)) is not None
        )
    ]
    return f'<dl class="numbers">{"".join(cards)}</dl>'


def _whole(result: Mapping[str, Any]) -> str:
    return "".join(
        section(title, table(["", *heads], _html(lines)), _WORDS)
        for title, heads, lines in _tables(result)
    )


def _html(lines: Lines) -> list[tuple[str, list[str]]]:
    return [("", [escape(name), *map(escape, cells)]) for name, cells in lines]


def _reliability(result: Mapping[str, Any]) -> str:
    maps = result["protocol"]["calibration"]
    drawn = [
        figure(
            plots.reliability(told["curve"], f"reliability{k}"),
            f"{task}: a dot is a bin of predictions, larger with more rows. On the dashed line, "
            f"what is predicted is what happens. Map: {maps.get(task, 'that of its factors')}.",
        )
        for k, (task, told) in enumerate(result["calibration"].items())
        if told["curve"]
    ]
    if not drawn:
        return ""
    pairs = [drawn[k : k + 2] for k in range(0, len(drawn), 2)]
    body = "".join(
        f'<div class="columns">{"".join(f"<div>{d}</div>" for d in pair)}</div>' for pair in pairs
    )
    return section("Is what is predicted what happens?", body)


def _segments(result: Mapping[str, Any]) -> str:
    parts: list[str] = []
    for k, (title, heads, lines) in enumerate(_segment_tables(result)):
        task = list(result["kinds"])[k]
        key = "auc" if result["kinds"][task] == "binary" else "xauc"
        values = {"all rows": result["models"]["rank"][task]}
        values |= {s: told[task] for s, told in result["segments"].items()}
        points = {s: number(v.get(key)) for s, v in values.items()}
        label = {"auc": "AUC", "xauc": "XAUC"}[key]
        errors = {s: _chance(v) for s, v in values.items()} if key == "auc" else {}
        svg = plots.segments({s: v for s, v in points.items() if v is not None}, errors, label, k)
        band = "; the band is two standard errors to each side: what few positives leave open"
        words = f"{label} of {task} by segment{band if errors else ''}."
        parts.append(f"<h3>{escape(title)}</h3>" + figure(svg, words))
        parts.append(table(["", *heads], _html(lines)))
    told = f"Segments are told apart {result['protocol']['segments']}."
    return section("For whom, and for what", "".join(parts), told)


def _chance(values: Mapping[str, Any]) -> float:
    """The standard error of an AUC (Hanley & McNeil 1982); 0 where there is none."""
    auc, positives = number(values.get("auc")), values["positives"]
    if auc is None:
        return 0.0
    negatives = values["rows"] - positives
    above, below = auc / (2 - auc), 2 * auc * auc / (1 + auc)
    spread = auc * (1 - auc)
    spread += (positives - 1) * (above - auc**2) + (negatives - 1) * (below - auc**2)
    return float((max(spread, 0.0) / (positives * negatives)) ** 0.5)


def _buckets(result: Mapping[str, Any]) -> str:
    parts: list[str] = []
    for task, told in result["calibration"].items():
        lines: list[tuple[str, list[str]]] = []
        off = {(feature, bucket["bucket"]) for _, feature, bucket in _off(told["buckets"])}
        for feature, its in told["buckets"].items():
            most = max(number(b["observed"]) or 0.0 for b in its)
            for n, bucket in enumerate(its):
                cells = [
                    f"<b>{escape(feature)}</b>" if n == 0 else "",
                    escape(str(bucket["bucket"])),
                    f"{bucket['rows']:,}",
                    bar(bucket["predicted"], most, ".4f"),
                    bar(bucket["observed"], most, ".4f"),
                    shown(number(bucket["pcoc"]), ".3f"),
                ]
                lines.append(("ours" if (feature, bucket["bucket"]) in off else "", cells))
        heads = ["feature", "value", "rows", "predicted", "observed", "PCOC"]
        parts.append(f"<h3>{escape(task)}</h3>{table(heads, lines)}" if lines else "")
    words = (
        "Marked: more than a tenth off, and by more than three standard errors of the observed "
        "rate. A model that is right on the whole may promise too much to some and too little to "
        "others."
    )
    return section("Calibration by feature", "".join(parts), words) if any(parts) else ""


def _done(result: Mapping[str, Any]) -> str:
    told = {key: value for key, value in result["protocol"].items() if key != "tamis"}
    notes = "".join(f"<li>{escape(note)}</li>" for note in result["notes"])
    return section("Protocol", facts(told) + (f'<ul class="notes">{notes}</ul>' if notes else ""))
