"""The evaluation as a page: one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from tamis.evaluate import _plots as plots
from tamis.evaluate import _reading as reading
from tamis.evaluate._fragments import (
    LOGO,
    bar,
    card,
    chips,
    facts,
    figure,
    interval_strip,
    section,
    table,
)
from tamis.evaluate._reading import number, seconds, shown


def write_report(evaluation: Mapping[str, Any], path: Path) -> Path:
    """Writes the evaluation (the JSON of `tamis evaluate --json`) as one self-contained page.

    Keys that are missing leave their section out; docs/evaluation.md describes them.
    Returns `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(evaluation), encoding="utf-8")
    return path


def page(evaluation: Mapping[str, Any]) -> str:
    """The HTML: no script, no link, no font, no image from elsewhere."""
    css = files("tamis.evaluate").joinpath("report.css").read_text(encoding="utf-8")
    name = escape(str(evaluation.get("project") or "Evaluation"))
    sections = (
        _comparison(evaluation),
        _stage_loss(evaluation),
        _ranker(evaluation),
        _beyond_accuracy(evaluation),
        _speed(evaluation),
        _notes(evaluation),
    )
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{name} – Tamis evaluation</title><style>{css}</style></head>\n<body>"
        f"{_header(evaluation, name)}<main>{''.join(sections)}</main>{_footer(evaluation)}"
        f"</body></html>\n"
    )


_CHIPS = ("cut", "items", "positives_held_out", "slate")


def _header(evaluation: Mapping[str, Any], name: str) -> str:
    users, protocol = evaluation.get("users") or {}, evaluation.get("protocol") or {}
    tags = {
        "version": evaluation.get("version"),
        "made": evaluation.get("created"),
        "users": _count(users.get("evaluated")),
        **{key: protocol[key] for key in _CHIPS if key in protocol},
    }
    lead = escape(reading.verdict(evaluation))
    return (
        f'<header><div><div class="brand">{LOGO}<span>Tamis evaluation</span></div>'
        f"<h1>{name}</h1>"
        + (f'<p class="lead">{lead}</p>' if lead else "")
        + chips(tags)
        + _headline(evaluation)
        + "</div></header>"
    )


def _count(value: Any) -> str | None:
    found = number(value)
    return None if found is None else f"{found:,.0f}"


def _headline(evaluation: Mapping[str, Any]) -> str:
    cascade, latency = evaluation.get("cascade") or {}, evaluation.get("latency_ms") or {}
    ranker = evaluation.get("ranker") or {}
    cards = [
        card(
            metric.replace("ndcg", "NDCG").capitalize() if metric != reading.LEAD else "NDCG@10",
            shown(number(cascade.get(metric))),
            _against_hot(evaluation, metric) or reading.METRIC_WORDS[metric],
            first=metric == reading.LEAD,
        )
        for metric in reading.METRICS
        if number(cascade.get(metric)) is not None
    ]
    if number(latency.get("p99")) is not None:
        small = f"p99; half the requests take {shown(number(latency.get('p50')), '.1f')} ms"
        cards.append(card("Latency", f"{latency['p99']:.1f} ms", small))
    if number(ranker.get("auc")) is not None:
        small = f"log loss {shown(number(ranker.get('logloss')), '.4f')}"
        cards.append(card("Ranker AUC", f"{ranker['auc']:.4f}", small))
    coverage = reading.per_method(evaluation, "coverage").get("cascade")
    if coverage is not None:
        cards.append(card("Coverage", f"{coverage:.0%}", "of the catalogue shown to somebody"))
    diversity = reading.per_method(evaluation, "diversity").get("cascade")
    if diversity is not None:
        cards.append(card("Diversity", f"{diversity:.2f}", "within a slate; 1 = nothing alike"))
    training = _training_seconds(evaluation)
    if training:
        cards.append(card("Training", seconds(training), "all stages together"))
    return f'<dl class="numbers">{"".join(cards)}</dl>' if cards else ""


def _against_hot(evaluation: Mapping[str, Any], metric: str) -> str:
    ours = number((evaluation.get("cascade") or {}).get(metric))
    hot = number(((evaluation.get("channels") or {}).get("hot") or {}).get(metric))
    return f"{ours / hot:.2f} × the most popular items" if ours and hot else ""


def _training_seconds(evaluation: Mapping[str, Any]) -> float:
    stages = (evaluation.get("training") or {}).values()
    return sum(number(stage.get("seconds")) or 0.0 for stage in stages)


def _comparison(evaluation: Mapping[str, Any]) -> str:
    methods = reading.rows(evaluation)
    if not methods:
        return ""
    top = {
        m: max((values[m] or 0.0 for _, values in methods), default=0.0) for m in reading.METRICS
    }
    strips = {name: reading.interval(evaluation, name) for name, _ in methods}
    ends = [end for i in strips.values() if i for end in (i["low"], i["high"])]
    lines = []
    for name, values in methods:
        cells = [escape(name), *(bar(values[m], top[m]) for m in reading.METRICS)]
        if ends:
            cells.append(interval_strip(strips[name], [0.0, *ends]) if name != "cascade" else "")
        lines.append(("ours" if name == "cascade" else "", cells))
    heads = ["", "NDCG@10", "Hit@10", "Recall@50"]
    heads += ["cascade − this: NDCG@10, 95 %"] if ends else []
    return section(
        "The cascade against its channels",
        table(heads, lines),
        "Every channel answers the same users alone, with the same items masked. The last column "
        "is the cascade minus the channel, by a paired bootstrap over users: where the interval "
        "stays right of the line, the cascade is better and not by luck of the users drawn.",
    )


def _stage_loss(evaluation: Mapping[str, Any]) -> str:
    shares = reading.losses(evaluation)
    if not shares:
        return ""
    caption = (
        "Of all items that people chose after the cut: what each stage still holds, and in orange "
        "what it let go. Every item is counted at the one stage that lost it."
    )
    cut = reading.agreement(evaluation)
    return section(
        "Where wanted items are lost",
        f'<p class="say">{escape(reading.biggest_loss(shares))}</p>'
        + figure(plots.funnel(shares), caption)
        + (f"<p>{escape(cut)}</p>" if cut else ""),
    )


def _ranker(evaluation: Mapping[str, Any]) -> str:
    curves = plots.learning_curves(evaluation.get("curves") or {})
    reliability = plots.reliability(evaluation.get("calibration") or [])
    left = _measures(reading.ranker_tasks(evaluation))
    right = figure(
        reliability,
        "Calibration: a dot is a bin of predictions, larger with more rows. On the dashed line, "
        "what is predicted is what happens; below it the ranker promises too much.",
    )
    body = left + right
    if left and right:
        body = f'<div class="columns"><div>{left}</div><div>{right}</div></div>'
    if curves:
        body += "<h3>Learning curves</h3>" + figure(curves, "The ring marks the best epoch.")
    return section("The ranker and its training", body) if body else ""


_MEASURES = {
    "auc": ("AUC", "how often a chosen item scores above another one"),
    "gauc": ("GAUC", "the same within one user's candidates"),
    "logloss": ("Log loss", "surprise per prediction; smaller is better"),
    "ece": ("ECE", "mean distance of prediction and outcome"),
    "pcoc": ("PCOC", "predicted ÷ observed; 1 is right"),
}


def _measures(tasks: Mapping[str, Mapping[str, float]]) -> str:
    """A row per measure, a column per task."""
    if not tasks:
        return ""
    lines = [
        (
            "",
            [
                f"<b>{label}</b>",
                *(shown(values.get(key), ".4f") for values in tasks.values()),
                f"<small>{escape(words)}</small>",
            ],
        )
        for key, (label, words) in _MEASURES.items()
        if any(key in values for values in tasks.values())
    ]
    return table(["", *tasks, ""], lines, words=True)


def _beyond_accuracy(evaluation: Mapping[str, Any]) -> str:
    columns = {
        "coverage": ("Coverage", ".1%"),
        "diversity": ("Diversity in a slate", ".3f"),
        "popularity": ("Popularity percentile", ".3f"),
    }
    values = {key: reading.per_method(evaluation, key) for key in columns}
    present = [key for key in columns if values[key]]
    if not present:
        return ""
    names = list(dict.fromkeys(name for key in present for name in values[key]))
    lines = [
        (
            "ours" if name == "cascade" else "",
            [escape(name), *(shown(values[key].get(name), columns[key][1]) for key in present)],
        )
        for name in names
    ]
    return section(
        "Beyond accuracy",
        table(["", *(columns[key][0] for key in present)], lines),
        "Coverage: the share of the catalogue that somebody was shown. Diversity: 1 − the mean "
        "likeness of two items of a slate by their categories. Popularity: .5 is a random item, "
        "1 only hits.",
    )


def _speed(evaluation: Mapping[str, Any]) -> str:
    parts = [_latency(evaluation), _training(evaluation)]
    body = "".join(parts)
    return section("Speed and memory", body) if body else ""


def _latency(evaluation: Mapping[str, Any]) -> str:
    say = reading.latency(evaluation)
    told = (evaluation.get("latency_ms") or {}).get("stages") or {}
    stages = {str(name): number(value) for name, value in told.items()}
    most = max((value or 0.0 for value in stages.values()), default=0.0)
    share = (evaluation.get("latency_ms") or {}).get("shares") or {}
    lines = [
        ("", [escape(k), bar(v, most, ".2f", on=True), shown(number(share.get(k)), ".0%")])
        for k, v in stages.items()
    ]
    return (f'<p class="say">{say}</p>' if say else "") + (
        table(["stage of a request", "ms", "share"], lines) if lines else ""
    )


def _training(evaluation: Mapping[str, Any]) -> str:
    stages = evaluation.get("training") or {}
    if not stages:
        return ""
    most = max((number(s.get("seconds")) or 0.0 for s in stages.values()), default=0.0)
    lines = [
        (
            "",
            [
                escape(name),
                bar(number(s.get("seconds")), most, ".1f", on=True),
                shown(number(s.get("peak_mb")), ",.0f"),
                shown(number(s.get("samples_per_second")), ",.0f"),
            ],
        )
        for name, s in stages.items()
    ]
    heads = ["stage of training", "seconds", "peak MB", "samples/s"]
    return "<h3>Training</h3>" + table(heads, lines)


def _notes(evaluation: Mapping[str, Any]) -> str:
    users = evaluation.get("users") or {}
    told = {
        "Users evaluated": _count(users.get("evaluated")),
        "Users without history": _count(users.get("without_history")),
        **{str(key): value for key, value in (evaluation.get("protocol") or {}).items()},
        **{
            f"settings of {key}": value for key, value in (evaluation.get("settings") or {}).items()
        },
    }
    notes = [
        "The log is cut at one moment for everybody. Models know nothing that arrived after it; "
        "each user asks once at the cut, and what they chose afterwards is what must be found.",
        "All items of the catalogue compete; none is sampled. Items that a user had already met "
        "are masked for every method alike.",
        "Settings were chosen on windows before the cut; the test window was looked at once, here.",
        *map(str, evaluation.get("notes") or []),
    ]
    if strangers := _strangers(evaluation):
        notes.insert(2, strangers)
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return section(
        "How this was measured",
        f'{facts(told)}<h3>In plain words</h3><ul class="notes">{items}</ul>',
    )


def _strangers(evaluation: Mapping[str, Any]) -> str:
    """What happened to users without history, who are not in the figures above."""
    count = number((evaluation.get("users") or {}).get("without_history"))
    if not count:
        return ""
    say = f"{count:,.0f} users had no history before the cut. They are not in the figures above"
    figures = {
        metric: value
        for metric in reading.METRICS
        if (value := number((evaluation.get("without_history") or {}).get(metric))) is not None
    }
    if not figures:
        return say + "."
    parts = ", ".join(f"{metric.replace('ndcg', 'NDCG')} {v:.3f}" for metric, v in figures.items())
    return f"{say}; the cascade reached {parts} for them."


def _footer(evaluation: Mapping[str, Any]) -> str:
    release = evaluation.get("tamis") or (evaluation.get("protocol") or {}).get("tamis")
    return f"<footer>Made by Tamis{' ' + escape(str(release)) if release else ''}.</footer>"
